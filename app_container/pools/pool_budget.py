"""How much of the server the pools of all processes may take at the worst, and whether it has that much.

What the server's limit ``server.bolt.thread_pool_max_size`` limits was measured, with Neo4j 5.26 and 5 threads. It is
not connections: 31 idle ones were no burden. A connection takes a thread while a query of it runs, and from the start
of a transaction to its end, also in between, when it waits for its client. When all threads are taken, the next query
is refused at once, on an open connection as on a new one, with ``Neo.TransientError.Request.NoThreadsAvailable``. A
managed transaction is tried again by the driver: 20 clients on 5 threads lost none of 600. An auto-commit query is not:
they lost 488 of 600. So pools that are larger than the server make errors, not speed. A thread is back a moment after
its answer, so as many clients as threads lost 6 queries of 7500, and one fewer lost none of 6000: one stays free.

At the worst each connection of each pool is in a transaction at the same time. That is why a budget is made of pool
sizes, although it is seldom used up: LightRAG's storage has four sessions at a time.

In a cluster the limit is each server's, and so is the size of a pool. Aura has such a limit, too, but publishes no
number (https://neo4j.com/docs/aura/tutorials/troubleshooting/ says that rapid session creation can exceed the maximum
of concurrent connections), so unless it tells the setting, the limit is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

DRIVERS_PER_PROCESS = 2
"""The sync driver of plain tasks, and the async one of the worker loop, where LightRAG and ``async_task`` run."""

LIMIT_SETTING = "server.bolt.thread_pool_max_size"


@dataclass(frozen=True, slots=True)
class PoolBudget:
    """What some processes may take at the worst, and what there is.

    Args:
        processes: how many processes have drivers.
        pool_size: ``max_connection_pool_size`` of each driver.
        limit: threads of the server for queries and transactions; None if it does not tell.
    """

    processes: int
    pool_size: int
    limit: int | None

    @property
    def worst_case(self) -> int:
        """Queries and transactions at the same time, if every connection of every pool has one."""
        return self._drivers * self.pool_size

    @property
    def sum(self) -> str:
        """How the worst case is made up, in words."""
        processes = "process" if self.processes == 1 else "processes"
        return (
            f"{self.processes} {processes} x {DRIVERS_PER_PROCESS} drivers x {self.pool_size} connections "
            f"= {self.worst_case}"
        )

    @property
    def warning(self) -> str | None:
        """One line if there is not a thread for each and one to spare, with the numbers and the fix."""
        if self.limit is None or self.worst_case < self.limit:
            return None
        fitting = (self.limit - 1) // self._drivers
        fix = f"set NEO4J_MAX_POOL_SIZE to {fitting} or lower" if fitting else "use fewer processes"
        return (
            f"the pools may send Neo4j more queries at the same time than it has threads for: {self.sum}, but "
            f"{LIMIT_SETTING} is {self.limit}; what finds no free thread is refused (NoThreadsAvailable); "
            f"{fix}, or raise {LIMIT_SETTING}"
        )

    @property
    def _drivers(self) -> int:
        return self.processes * DRIVERS_PER_PROCESS
