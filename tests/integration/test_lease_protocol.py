"""The lease as a protocol: whatever holders do, in whichever order, one of them writes, and each gets its turn.

Hypothesis makes up the orders. The server is real; only time is not waited for: a lease ends because the test says so
on the server, while its holder goes on believing that it has it, as one does that was stopped or whose clock is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from neo4j import AsyncGraphDatabase

from tests.support.servers import Server
from wiring.lightrag.errors import LeaseLostError
from wiring.lightrag.leases.fenced_writes import fenced
from wiring.lightrag.leases.holders import Holder
from wiring.lightrag.leases.lease import Lease
from wiring.lightrag.leases.store import LeaseStore, Refused

HOLDERS = [Holder(f"holder{number}", "host", "machine", 1) for number in range(3)]
ONE = st.sampled_from(HOLDERS)


class Driver:
    """An async driver on a loop of its own, for a test that is not a coroutine."""

    def __init__(self, server: Server) -> None:
        self.loop = asyncio.new_event_loop()
        self.driver = AsyncGraphDatabase.driver(
            server.uri, auth=(server.username, server.password), notifications_min_severity="OFF"
        )

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def query(self, query: str, **parameters: Any) -> list[Any]:
        return list(self.run(self.driver.execute_query(query, parameters))[0])

    def close(self) -> None:
        self.run(self.driver.close())
        self.loop.close()


@pytest.fixture
def driver(neo4j_server: Server) -> Iterator[Driver]:
    driver = Driver(neo4j_server)
    yield driver
    driver.close()


class Protocol(RuleBasedStateMachine):
    driver: Driver
    workspace: str

    @initialize()
    def begin(self) -> None:
        self.driver.query("MATCH (n:LightRAGLease|LightRAGFence|LightRAGWaiter|Written) DETACH DELETE n")
        self.store = LeaseStore(lambda: self.driver.driver, "neo4j", 60.0)
        self.believe: dict[Holder, Lease] = {}
        self.valid: Holder | None = None
        self.has_it: Holder | None = None
        self.written: list[str] = []
        self.line: dict[Holder, bool] = {}
        self.tokens: list[int] = []

    def first_alone(self) -> Holder | None:
        return next((holder for holder, is_alone in self.line.items() if is_alone), None)

    @rule(holder=ONE, alone=st.booleans())
    def take(self, holder: Holder, alone: bool) -> None:  # noqa: FBT001 - hypothesis gives it
        first = self.first_alone()
        found = self.driver.run(self.store.take(self.workspace, holder, alone=alone))
        if isinstance(found, Lease):
            assert self.has_it in (None, holder)
            assert first in (None, holder)
            assert all(found.token > token for token in self.tokens)
            assert found.was_cut == (self.has_it is None and self.was_left is not None and self.was_left != holder)
            self.tokens.append(found.token)
            self.believe[holder] = found
            self.has_it = self.was_left = holder
            self.line.pop(holder, None)
        else:
            assert isinstance(found, Refused)
            assert self.has_it not in (None, holder) or first not in (None, holder)
            self.line[holder] = alone

    was_left: Holder | None = None
    """Who had it last without giving it back."""

    @rule(holder=ONE)
    def renew(self, holder: Holder) -> None:
        if lease := self.believe.get(holder):
            try:
                waiting = self.driver.run(self.store.renew(lease))
            except LeaseLostError:
                assert not self.may_renew(holder)
                del self.believe[holder]
            else:
                assert self.may_renew(holder)
                assert (waiting.waiting, waiting.alone) == (len(self.line), sum(self.line.values()))
                self.has_it = holder

    def may_renew(self, holder: Holder) -> bool:
        """Also one that has ended, if nobody has taken it since."""
        return self.was_left == holder and self.believe[holder].token == self.tokens[-1]

    @rule(holder=ONE)
    def give_back(self, holder: Holder) -> None:
        if lease := self.believe.pop(holder, None):
            held = self.was_left == holder and lease.token == self.tokens[-1]
            self.driver.run(self.store.give_back(lease))
            if held:
                self.has_it = self.was_left = None

    @rule(holder=ONE)
    def write(self, holder: Holder) -> None:
        """Also one who was stopped writes, when it goes on."""
        lease = self.believe.get(holder)
        if lease is None:
            return

        async def work(transaction: Any) -> None:
            query = "CREATE (n:Written {holder: $holder}) WITH n MATCH (n) RETURN n"
            await (await transaction.run(query, holder=holder.name)).consume()

        async def write() -> None:
            async with self.driver.driver.session() as session:
                await session.execute_write(fenced(work, lease))

        try:
            self.driver.run(write())
        except LeaseLostError:
            assert lease.token != self.tokens[-1]
            del self.believe[holder]
        else:
            assert lease.token == self.tokens[-1]
            self.written.append(holder.name)

    @rule()
    def it_ends(self) -> None:
        self.driver.query("MATCH (l:LightRAGLease) WHERE l.holder IS NOT NULL SET l.expires = 0")
        self.has_it = None

    @rule(holder=ONE)
    def leaves_the_line(self, holder: Holder) -> None:
        self.driver.run(self.store.leave(self.workspace, holder))
        self.line.pop(holder, None)
        if self.was_left == holder:  # it took the lease, and never got the answer
            self.has_it = self.was_left = None
            self.believe.pop(holder, None)

    @rule(holder=ONE)
    def dies_in_line(self, holder: Holder) -> None:
        self.driver.query("MATCH (w:LightRAGWaiter {holder: $holder}) SET w.until = 0", holder=holder.name)
        self.line.pop(holder, None)

    @rule()
    def an_operator_releases_it(self) -> None:
        released = self.driver.run(self.store.release(self.workspace))
        assert (released is not None) == bool(self.tokens)
        if released is not None:
            assert released.was_held == (self.was_left is not None)
            self.tokens.append(self.tokens[-1] + 1)
        self.has_it = self.was_left = None

    @invariant()
    def only_who_had_it_has_written(self) -> None:
        rows = self.driver.query("MATCH (n:Written) RETURN n.holder AS holder")
        assert sorted(row["holder"] for row in rows) == sorted(self.written)

    def teardown(self) -> None:
        """Everybody in line gets it in the end, those first who need it alone, when whoever has it ends."""
        self.it_ends()
        while self.line:
            holder = self.first_alone() or next(iter(self.line))
            self.take(holder, self.line[holder])
            assert self.has_it == holder
            self.it_ends()


def test_one_writes_and_each_gets_its_turn(driver: Driver, workspace: str) -> None:
    machine = type("Case", (Protocol,), {"driver": driver, "workspace": workspace})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
