"""Settings -> driver. Pure functions: who keeps a driver, and how long, is decided in ``lifetimes.py``.

Building a driver does no I/O: the first query opens the first connection.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from app_container.errors import ServerUnavailableError
from app_container.foreign_loop import refuse_foreign_loops

if TYPE_CHECKING:  # the driver takes 0.3 s to import; only who builds one pays
    from neo4j import AsyncDriver, Driver

    from app_container.settings import Neo4jSettings


_LOCKED = "Neo.ClientError.Security.AuthenticationRateLimit"


def driver_options(settings: Neo4jSettings) -> dict[str, Any]:
    """The keyword arguments for ``GraphDatabase.driver``, credentials included."""
    return {
        "auth": (settings.username, settings.password.get_secret_value()),
        "user_agent": f"lightrag-neo4j-wiring/{version('lightrag-neo4j-wiring')} neo4j-python/{version('neo4j')}",
        "notifications_min_severity": settings.notifications_min_severity,
    } | settings.model_dump(
        exclude={
            "uri",
            "username",
            "password",
            "database",
            "notifications_min_severity",
            "transaction_timeout",
            "check_timeout",
        }
    )


def build_sync_driver(settings: Neo4jSettings) -> Driver:
    """A new driver for threads. It may be used by all threads of one process, and by no other process."""
    from neo4j import GraphDatabase

    return GraphDatabase.driver(settings.uri, **driver_options(settings))


def build_async_driver(settings: Neo4jSettings) -> AsyncDriver:
    """A new driver for the event loop that runs now. On another loop its methods raise ``ForeignLoopError``."""
    from neo4j import AsyncGraphDatabase

    return refuse_foreign_loops(AsyncGraphDatabase.driver(settings.uri, **driver_options(settings)))


def check_connection(settings: Neo4jSettings) -> str:
    """Connect once with a driver of its own, and close it again.

    Args:
        settings: where to connect, and how long to wait for a connection (``check_timeout``).

    Returns:
        The server's name and version, e.g. ``Neo4j/5.26.20``.

    Raises:
        ServerUnavailableError: with one line that says why and what to do.
    """
    from neo4j import GraphDatabase
    from neo4j.exceptions import AuthError, ClientError, DriverError, Neo4jError

    bounded = driver_options(settings) | {
        "connection_acquisition_timeout": settings.check_timeout,
        "connection_timeout": settings.check_timeout,
        "max_transaction_retry_time": 0.0,
        "max_connection_pool_size": 1,
    }
    where = f"Neo4j at {settings.uri}"
    try:
        with (
            GraphDatabase.driver(settings.uri, **bounded) as driver,
            driver.session(database=settings.database) as session,
        ):
            server = session.run("RETURN 1").consume().server
            return str(server.agent)
    except AuthError:
        raise ServerUnavailableError(
            f"{where} refuses user {settings.username!r} with the password it was given; "
            "set NEO4J_USERNAME and NEO4J_PASSWORD"
        ) from None
    except ClientError as error:
        if error.code == _LOCKED:
            raise ServerUnavailableError(
                f"{where} has locked user {settings.username!r} for some seconds, after several wrong passwords; "
                "wait, then start again with the right NEO4J_PASSWORD"
            ) from None
        fix = "set NEO4J_DATABASE to one that exists" if "Database" in (error.code or "") else "see the server's log"
        message = f"{where}, database {settings.database!r}: {_one_line(error)}; {fix}"
        raise ServerUnavailableError(message) from None
    except (DriverError, Neo4jError, OSError, ValueError) as error:
        fix = "start it, or set NEO4J_URI (a local one: lightrag-neo4j neo4j start)"
        raise ServerUnavailableError(f"{where} does not answer: {_one_line(error)}; {fix}") from None


def _one_line(error: BaseException) -> str:
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
