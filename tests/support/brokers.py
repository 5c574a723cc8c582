"""The brokers a worker can have: a folder, RabbitMQ, Redis. The servers are real ones, of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wiring.testing import brokers
from wiring.testing.brokers import BrokerServer

GIVEN_BACK_SOON = {
    "CELERY_VISIBILITY_TIMEOUT": "60",  # seconds until Redis gives back what a dead worker had; else 20 minutes
    "CELERY_TASK_TIME_LIMIT": "59",
    "CELERY_TASK_SOFT_TIME_LIMIT": "58",
    "CELERY_RETRY_BACKOFF_MAX": "30",
}


@dataclass(frozen=True)
class Broker:
    """Where messages and results are; an empty ``url`` or ``result_backend`` is the default, a folder."""

    url: str = ""
    result_backend: str = ""
    server: BrokerServer | None = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a worker that uses it."""
        return {
            "CELERY_BROKER_URL": self.url,
            "CELERY_RESULT_BACKEND": self.result_backend,
            **self.settings,
        }

    def start(self) -> None:
        """Start its server, if it has one, and wait until it answers."""
        if self.server is not None:
            self.server.start()

    def end(self) -> None:
        assert self.server is not None, "a folder does not end"
        self.server.server.end()

    def restart(self) -> None:
        self.end()
        self.start()

    def close(self) -> None:
        if self.server is not None:
            self.server.server.close()


def folder(_: Path) -> Broker:
    return Broker()


def rabbitmq(home: Path) -> Broker:
    server = brokers.rabbitmq(home)
    return Broker(server.url, "", server)


def redis(home: Path) -> Broker:
    """Redis for messages and results."""
    server = brokers.redis(home)
    return Broker(server.url, _second_database(server), server, GIVEN_BACK_SOON)


def redis_for_results(home: Path) -> Broker:
    server = brokers.redis(home)
    return Broker("", _second_database(server), server)


def _second_database(server: BrokerServer) -> str:
    return server.url.removesuffix("0") + "1"


BROKERS: dict[str, Callable[[Path], Broker]] = {
    "folder": folder,
    "rabbitmq": rabbitmq,
    "redis": redis,
    "redis for results": redis_for_results,
}
"""Each is given a folder of its own."""
