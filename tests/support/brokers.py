"""The brokers a worker can have: a folder, RabbitMQ, Redis. The servers are real ones, of the test's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu import Connection

from tests.support.own_servers import AsProcess, InContainer, OwnServer, free_port, until_it_answers
from tests.support.servers import docker_answers

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
    server: OwnServer | None = None
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
            until_it_answers(self._connect, self.url or self.result_backend)

    def end(self) -> None:
        assert self.server is not None, "a folder does not end"
        self.server.end()

    def restart(self) -> None:
        self.end()
        self.start()

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

    def _connect(self) -> None:
        with Connection(self.url or self.result_backend, connect_timeout=5) as connection:
            connection.connect()
            channel: Any = connection.default_channel
            channel.queue_declare("are_you_there", auto_delete=True)


def folder(_: Path) -> Broker:
    return Broker()


def rabbitmq(home: Path) -> Broker:
    port = free_port()
    if docker_answers():
        server: OwnServer = InContainer("rabbitmq:3", 5672, port)
    else:  # Debian's own script of that name runs as one user only, and keeps the signals to itself
        command = [_binary("rabbitmq-server", "/usr/lib/rabbitmq/bin")]
        server = AsProcess(command, home, _rabbitmq_environment(home, port))
    return Broker(f"amqp://guest:guest@127.0.0.1:{port}//", "", server)


def _rabbitmq_environment(home: Path, port: int) -> dict[str, str]:
    return {
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "no_plugins"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


def redis(home: Path) -> Broker:
    """Redis for messages and results."""
    server, address = _redis_server(home)
    return Broker(f"{address}/0", f"{address}/1", server, GIVEN_BACK_SOON)


def redis_for_results(home: Path) -> Broker:
    server, address = _redis_server(home)
    return Broker("", f"{address}/1", server)


def _redis_server(home: Path) -> tuple[OwnServer, str]:
    port = free_port()
    # Without it, a Redis that is killed forgets what it was sent since its last snapshot.
    options = ["--appendonly", "yes"]
    if docker_answers():
        server: OwnServer = InContainer("redis:7", 6379, port, ["redis-server", *options])
    else:
        command = [_binary("redis-server"), "--bind", "127.0.0.1", "--port", str(port), *options]
        server = AsProcess(command, home)
    return server, f"redis://127.0.0.1:{port}"


def _binary(name: str, *folders: str) -> str:
    """No server is an error, never a skip."""
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    assert found, f"neither Docker answers nor is there a {name}; start the one or install the other"
    return found


BROKERS: dict[str, Callable[[Path], Broker]] = {
    "folder": folder,
    "rabbitmq": rabbitmq,
    "redis": redis,
    "redis for results": redis_for_results,
}
"""Each is given a folder of its own."""
