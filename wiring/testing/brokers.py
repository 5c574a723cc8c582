"""Brokers for workers: RabbitMQ and Redis, in Docker where it answers, else as processes of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app_container.errors import AppContainerError
from wiring.testing.docker_server import DockerServer, docker_answers
from wiring.testing.own_server import OwnServer, free_port
from wiring.testing.process_server import ProcessServer
from wiring.testing.waiting import until_it_answers

RABBITMQ_IMAGE = "rabbitmq:3"
REDIS_IMAGE = "redis:7"


class NoServerError(AppContainerError):
    """A server was asked for, and there is neither Docker nor the server's program."""

    def __init__(self, program: str) -> None:
        super().__init__(f"neither Docker answers nor is there a {program}; start the one or install the other")


@dataclass(frozen=True)
class BrokerServer:
    """A broker of the tests' own.

    Args:
        url: its address, for ``CELERY_BROKER_URL``.
        server: what can be killed, stopped and started again.
    """

    url: str
    server: OwnServer

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it answers.

        Raises:
            TimeoutError: it does not; the message has the end of its log.
        """
        self.server.start()
        until_it_answers(self._connect, self.url, self.server.log)

    @contextmanager
    def running(self) -> Iterator[BrokerServer]:
        """Start it, and close it afterwards."""
        try:
            self.start()
            yield self
        finally:
            self.server.close()

    def _connect(self) -> None:
        from kombu import Connection

        with Connection(self.url, connect_timeout=5) as connection:
            connection.connect()
            # A server that takes connections may not answer yet.
            connection.default_channel.queue_declare("are_you_there", auto_delete=True)  # type: ignore[attr-defined]


def rabbitmq(home: Path) -> BrokerServer:
    """A RabbitMQ, which is not started yet.

    Args:
        home: the folder of its data, if it is a process.

    Raises:
        NoServerError: there is neither Docker nor RabbitMQ.
    """
    port = free_port()
    if docker_answers():
        container = DockerServer(RABBITMQ_IMAGE, 5672, port=port)
        return BrokerServer(f"amqp://guest:guest@{container.host}:{port}//", container)
    # Debian's own script of that name runs as one user only, and keeps the signals to itself.
    command = [_program("rabbitmq-server", "/usr/lib/rabbitmq/bin")]
    server = ProcessServer(command, home, _rabbitmq_environment(home, port))
    return BrokerServer(f"amqp://guest:guest@127.0.0.1:{port}//", server)


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


def redis(home: Path) -> BrokerServer:
    """A Redis, which is not started yet; the address is that of its first database.

    Args:
        home: the folder of its data, if it is a process.

    Raises:
        NoServerError: there is neither Docker nor Redis.
    """
    port = free_port()
    # Without it, a Redis that is killed forgets what it was sent since its last snapshot.
    options = ["--appendonly", "yes"]
    if docker_answers():
        container = DockerServer(REDIS_IMAGE, 6379, port=port, command=["redis-server", *options])
        return BrokerServer(f"redis://{container.host}:{port}/0", container)
    command = [_program("redis-server"), "--bind", "127.0.0.1", "--port", str(port), *options]
    return BrokerServer(f"redis://127.0.0.1:{port}/0", ProcessServer(command, home))


def _program(name: str, *folders: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if found is None:
        raise NoServerError(name)
    return found
