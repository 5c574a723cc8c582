"""The server's own settings that decide how long a client waits for it, and how many it serves at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app_container.drivers import ask_server, server_agent
from app_container.pools.pool_budget import LIMIT_SETTING

if TYPE_CHECKING:
    from neo4j import AsyncDriver

    from app_container.settings import Neo4jSettings

ADVICE = {
    "db.lock.acquisition.timeout": (
        "0s", "a write waits for a lock without a bound; set it to 10s, below neo4j.transaction_timeout"
    ),
    "db.transaction.timeout": (
        "0s", "a transaction that its client forgot keeps its locks; set it to 5m, above neo4j.transaction_timeout"
    ),
    "server.bolt.connection_keep_alive": (
        "1m", "a client notices only after twice this time that the server hangs; set it to 10s"
    ),
}  # fmt: skip
"""By setting, the default that lets clients wait; what that means, and what should be there instead."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the server tells of its settings.

    Args:
        values: by name, as the server writes them; a setting that the user may not see is missing.
    """

    values: Mapping[str, str]

    @property
    def threads(self) -> int | None:
        """How many queries and transactions it serves at the same time; None if it does not tell."""
        value = self.values.get(LIMIT_SETTING, "")
        return int(value) if value.isdecimal() else None

    @property
    def advice(self) -> list[str]:
        """One line for each setting that should be changed."""
        return [
            f"{name} is {default}: {what}"
            for name, (default, what) in ADVICE.items()
            if self.values.get(name) == default
        ]


def check_server(settings: Neo4jSettings) -> tuple[str, ServerSettings]:
    """Do what ``check_connection`` does, and read the settings on the same connection.

    Raises:
        ServerUnavailableError: with one line that says why and what to do.
    """

    async def look(driver: AsyncDriver) -> tuple[str, ServerSettings]:
        return await server_agent(driver, settings.database), await read_server_settings(driver, settings.database)

    return ask_server(settings, look)


async def read_server_settings(driver: AsyncDriver, database: str) -> ServerSettings:
    """Ask the server. One that refuses, as it may refuse any user but its administrator, tells nothing."""
    from neo4j.exceptions import ClientError

    names = [LIMIT_SETTING, *ADVICE]
    async with driver.session(database=database) as session:
        try:
            rows = await session.run(
                "SHOW SETTINGS YIELD name, value WHERE name IN $names RETURN name, value", names=names
            )
            return ServerSettings({row["name"]: row["value"] for row in await rows.data()})
        except ClientError:
            return ServerSettings({})
