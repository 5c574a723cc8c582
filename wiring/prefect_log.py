"""The log of Prefect's processes: as Prefect writes it, or as JSON in the ready deployment, and never with a secret.

Prefect sets up its log while it is imported, and takes the class of its formatter from the environment. So it has to be
told before, and this module is outside of ``wiring.prefect``, which needs Prefect.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from app_container.masking import hide_in_log
from app_container.settings import Settings
from wiring.json_lines import JsonLines, write_lightrag_with, writes_json

JSON_LOG = {
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": "wiring.prefect_log.RunLines",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json",
    "PREFECT_LOGGING_HANDLERS_DEBUG_FORMATTER": "json",
    "PREFECT_LOGGING_COLORS": "false",
}
"""The environment of a process whose Prefect is to write JSON."""


class RunLines(JsonLines):
    """JSON, with the ids of the flow run and of the task run."""

    def __init__(self, *_: Any) -> None:  # Prefect hands over a format
        super().__init__()

    def work(self, record: logging.LogRecord) -> dict[str, Any]:  # noqa: ARG002 - it is not told there
        """The runs that this is part of."""
        from prefect.context import FlowRunContext, TaskRunContext

        flow, task = FlowRunContext.get(), TaskRunContext.get()
        ids = {
            "flow_run_id": flow and flow.flow_run and flow.flow_run.id,
            "task_run_id": task and task.task_run.id,
        }
        return {name: str(found) for name, found in ids.items() if found}


def begin_log(settings: Settings) -> None:
    """Let this process, which has not imported Prefect yet, and those of its runs log as the settings say."""
    hide_in_log(settings)
    if settings.logging.format == "json":
        os.environ.update(JSON_LOG)


def continue_log() -> None:
    """Once Prefect is imported: let its handlers write LightRAG's lines and warnings, too, if they write JSON."""
    if writes_json():
        write_lightrag_with(logging.getLogger())
        logging.captureWarnings(capture=True)
