"""What the rest of the project tells of itself, and where OpenTelemetry is not asked for: to nobody."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from neo4j import AsyncDriver, Driver

    from app_container.metrics import Metrics

Work = Literal["insert_document", "query", "delete_document", "set_aside", "process_document"]
"""What is done with documents; process_document is what LightRAG does in the process that works on a workspace."""


class Telemetry:
    """Tells nobody; the base of what tells OpenTelemetry."""

    def watch_driver(self, driver: Driver | AsyncDriver, lifetime: str) -> None:
        """Tell what happens in the pool of a driver that was just made, and of its queries.

        Args:
            driver: the driver.
            lifetime: how long it lives: ``process``, ``worker_loop`` or ``loop``.
        """

    def work(
        self,
        what: Work,  # noqa: ARG002 - all of them: nobody is told
        workspace: str,  # noqa: ARG002
        document_id: str | None = None,  # noqa: ARG002
        accepted: str | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """What is done meanwhile is this work.

        Args:
            what: the work.
            workspace: where.
            document_id: on which document.
            accepted: what ``place`` said where the document was accepted, if that was elsewhere.
        """
        return nullcontext()

    def place(self) -> str | None:
        """What is being done here, as a text that other processes understand; None if nobody wants to know."""
        return None

    def work_failed(self, error: BaseException) -> None:
        """The work that is done here failed, and its error is not raised.

        Args:
            error: why.
        """


OFF = Telemetry()


def open_telemetry(enabled: bool, metrics: Metrics) -> Telemetry:  # noqa: FBT001 - the container's
    """What this process tells.

    Args:
        enabled: whether OpenTelemetry is told.
        metrics: the figures of the process.
    """
    if not enabled:
        return OFF
    from wiring.opentelemetry.told import ToldTelemetry

    return ToldTelemetry(metrics)
