"""A look into the pool of a driver. The driver offers none, so this reads what it keeps for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neo4j import AsyncDriver, Driver


def connections_in_use(driver: Driver | AsyncDriver) -> int:
    """How many connections of ``driver`` are lent to sessions at this moment; from any thread."""
    pool: Any = driver._pool  # noqa: SLF001 - neo4j 6 has no public way
    return sum(pool.in_use_connection_count(address) for address in list(pool.connections))
