"""Settings -> driver. Pure functions: who keeps a driver, and how long, is decided in ``lifetimes.py``.

Building a driver does no I/O: the first query opens the first connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from app_container.asking import ask, without_a_loop
from app_container.certificates import address, tls_options, why_not_encrypted
from app_container.errors import ServerUnavailableError
from app_container.execution import lasts
from app_container.foreign_loop import refuse_foreign_loops
from app_container.password_file import PasswordInFile

if TYPE_CHECKING:  # the driver takes 0.3 s to import; only who builds one pays
    from neo4j import AsyncDriver, Driver

    from app_container.metrics import Metrics
    from app_container.settings import Neo4jSettings

T = TypeVar("T")


def open_sync_driver(settings: Neo4jSettings, **options: Any) -> Driver:
    """A new driver that nobody watches.

    Args:
        settings: where it connects, and how.
        options: of ``GraphDatabase.driver``, which are to be others than the settings say.
    """
    from neo4j import GraphDatabase

    from app_container.credentials import credentials

    uri = address(settings.uri, settings.trusted_certificates)
    return GraphDatabase.driver(uri, auth=credentials(settings), **_options(settings) | options)


def open_async_driver(settings: Neo4jSettings, **options: Any) -> AsyncDriver:
    """The same for the event loop that runs now."""
    from neo4j import AsyncGraphDatabase

    from app_container.credentials import async_credentials

    uri = address(settings.uri, settings.trusted_certificates)
    return AsyncGraphDatabase.driver(uri, auth=async_credentials(settings), **_options(settings) | options)


def _options(settings: Neo4jSettings) -> dict[str, Any]:
    return {
        "user_agent": f"lightrag-neo4j-wiring/{version('lightrag-neo4j-wiring')} neo4j-python/{version('neo4j')}",
        **tls_options(settings.trusted_certificates),
        **settings.model_dump(
            exclude={
                "uri",
                "username",
                "password",
                "database",
                "trusted_certificates",
                "transaction_timeout",
                "check_timeout",
                "leak_detection_threshold",
            }
        ),
    }


class DriverWatcher(Protocol):
    """Is told of drivers before anybody uses them."""

    def watch_driver(self, driver: Driver | AsyncDriver, lifetime: str) -> None:
        """Watch a driver that was just made, and lives as long as ``process``, ``worker_loop`` or ``loop``."""


def build_sync_driver(
    settings: Neo4jSettings, metrics: Metrics | None = None, telemetry: DriverWatcher | None = None
) -> Driver:
    """A new driver for threads. It may be used by all threads of one process, and by no other process.

    Args:
        settings: where it connects, and how.
        metrics: counts what happens in its pool.
        telemetry: tells of its pool and its queries.
    """
    driver = open_sync_driver(settings)
    _watch(driver, "process", settings, metrics, telemetry)
    return driver


def build_async_driver(
    settings: Neo4jSettings, metrics: Metrics | None = None, telemetry: DriverWatcher | None = None
) -> AsyncDriver:
    """A new driver for the event loop that runs now. On another loop its methods raise ``ForeignLoopError``.

    Args:
        settings: where it connects, and how.
        metrics: counts what happens in its pool.
        telemetry: tells of its pool and its queries.
    """
    driver = open_async_driver(settings)
    lifetime = "worker_loop" if lasts(asyncio.get_running_loop()) else "loop"
    _watch(driver, lifetime, settings, metrics, telemetry)
    return refuse_foreign_loops(driver)


def _watch(
    driver: Driver | AsyncDriver,
    lifetime: str,
    settings: Neo4jSettings,
    metrics: Metrics | None,
    telemetry: DriverWatcher | None,
) -> None:
    if metrics is not None:
        metrics.watch_driver(driver, lifetime)
        metrics.watch_leaks(driver, settings.leak_detection_threshold)
    if telemetry is not None:
        telemetry.watch_driver(driver, lifetime)


def build_asking_driver(settings: Neo4jSettings) -> AsyncDriver:
    """A new driver for ``ask``: one connection, on the event loop that runs now."""
    return open_async_driver(settings, max_connection_pool_size=1)


def check_connection(settings: Neo4jSettings) -> str:
    """Connect once with a driver of its own, and close it again.

    Args:
        settings: where to connect, and how long to wait for an answer (``check_timeout``).

    Returns:
        The server's name and version, e.g. ``Neo4j/5.26.20``.

    Raises:
        ServerUnavailableError: with one line that says why and what to do.
    """
    return ask_server(settings, lambda driver: server_agent(driver, settings.database))


async def server_agent(driver: AsyncDriver, database: str) -> str:
    """The name and version of the server, after a query that shows that ``database`` answers."""
    async with driver.session(database=database) as session:
        summary = await (await session.run("RETURN 1")).consume()
        return str(summary.server.agent)


def ask_server(settings: Neo4jSettings, question: Callable[[AsyncDriver], Awaitable[T]]) -> T:
    """Ask the server with a driver of its own, and close it again; from any thread.

    Args:
        settings: where to connect, and how long to wait for the answer (``check_timeout``).
        question: uses the driver.

    Raises:
        ServerUnavailableError: with one line that says why and what to do.
    """
    seconds = settings.check_timeout
    try:
        return without_a_loop(lambda: ask(lambda: build_asking_driver(settings), question, seconds), seconds)
    except Exception as error:
        if (why := why_unavailable(settings, error)) is None:
            raise
        raise ServerUnavailableError(why) from None


def why_unavailable(settings: Neo4jSettings, error: Exception) -> str | None:
    """One line for what the server, or the way to it, answered to ``ask``; None if ``error`` is another's."""
    from neo4j.exceptions import ClientError, DriverError, Neo4jError, TransientError

    where = f"Neo4j at {settings.uri}"
    not_encrypted = why_not_encrypted(settings.uri, settings.trusted_certificates, error)
    if (refusal := not_encrypted or _why_refused(settings, error)) is not None:
        return f"{where} {refusal}"
    if isinstance(error, ClientError):
        fix = "set NEO4J_DATABASE to one that exists" if "Database" in (error.code or "") else "see the server's log"
        return f"{where}, database {settings.database!r}: {_one_line(error)}; {fix}"
    if isinstance(error, TransientError):  # it has no thread free, or its database is not started
        return f"{where}, database {settings.database!r}: {_one_line(error)}; this may pass, so try again"
    if isinstance(error, DriverError | Neo4jError | OSError | ValueError):
        fix = "start it, or set NEO4J_URI (a local one: lightrag-neo4j neo4j start)"
        return f"{where} does not answer: {_one_line(error)}; {fix}"
    return None


def _why_refused(settings: Neo4jSettings, error: Exception) -> str | None:
    from neo4j.exceptions import AuthError, Neo4jError

    from app_container.credentials import LOCKED

    secret, user = settings.password, repr(settings.username)
    in_file = f" in {str(secret.file)!r}" if isinstance(secret, PasswordInFile) else None
    if isinstance(error, AuthError):
        fix = "write there what it is" if in_file else "set NEO4J_USERNAME and NEO4J_PASSWORD"
        return f"refuses user {user} with the password{in_file or ' it was given'}; {fix}"
    if isinstance(error, Neo4jError) and error.code == LOCKED:
        right = f"right password{in_file}" if in_file else "right NEO4J_PASSWORD"
        return (
            f"has locked user {user} for some seconds, after several wrong passwords; "
            f"wait, then start again with the {right}"
        )
    return None


def _one_line(error: BaseException) -> str:
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
