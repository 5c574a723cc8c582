"""Merge what is in a workspace's graph twice, so that the uniqueness constraint can be made.

An entity gets there twice when two processes create it while there is no constraint. From then on LightRAG reads one of
its nodes and writes all of them, and makes each new relation once for every pair of end points. Merged, an entity is
what LightRAG would have made of the same extractions one after the other: lists united, oldest first, within its
limits; the most frequent type; of what there can be once only, the newest. Descriptions are joined, and summarized by
LightRAG when it next merges something into them. A pair has one relation of LightRAG's, whatever the direction. All
other relations, also those to nodes outside of the workspace, are moved as they are, and copies become one.

LightRAG's relation between two nodes of one entity is dropped, for LightRAG extracts none from an entity to itself; the
entity keeps its sources. One of another type stays, from the entity to itself.

Only the graph is repaired: LightRAG's other storages know an entity by its name, and have it once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app_container.drivers import check_connection
from app_container.errors import AppContainerError, describe
from wiring.lightrag.merge_entity import PAGE, EntityMerge, Merged
from wiring.lightrag.merge_rules import MergeRules
from wiring.lightrag.schema import DuplicateEntitiesError, make_constraint, quoted
from wiring.lightrag.workspaces import check_workspace

if TYPE_CHECKING:
    from neo4j import Driver, ManagedTransaction, Session

    from app_container import Container

TIMEOUT = 300.0
"""Seconds for one entity, waiting for locks included; then the server stops it."""

_ROUNDS = 5


class RepairError(AppContainerError):
    """The workspace could not be repaired to the end; what was merged stays merged."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was merged in ``workspace``, or would be."""

    workspace: str
    dry_run: bool
    merged: list[Merged] = field(default_factory=list)


def repair(container: Container, workspace: str | None = None, *, dry_run: bool = False) -> Report:
    """Merge all entities that are there twice, each in a transaction of its own, and make the constraint.

    It may be killed at any moment and run again, also while workers use the workspace. A dry run does the same, and
    undoes each transaction.

    Args:
        container: where the driver, LightRAG's limits and the configured workspace come from.
        workspace: any name that LightRAG takes; None for the configured one.
        dry_run: whether to change nothing.

    Raises:
        InvalidDocumentError: the workspace cannot be one.
        MissingExtraError: LightRAG is not installed.
        ServerUnavailableError: Neo4j does not answer.
        RepairError: Neo4j failed in the middle, or others make duplicates as fast as they are merged.
    """
    settings = container.settings()
    rules = MergeRules(settings.lightrag)
    label = _check_label(settings.lightrag.workspace if workspace is None else workspace)
    check_connection(settings.neo4j)
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        return _in_rounds(container, label, rules, dry_run=dry_run)
    except (DriverError, Neo4jError, OSError) as error:
        why = f"the repair of workspace {label!r} stopped: {describe(error)}"
        raise RepairError(f"{why}; what was merged stays merged, run it again") from None


def _in_rounds(container: Container, label: str, rules: MergeRules, *, dry_run: bool) -> Report:
    settings = container.settings()
    report, done, trouble = Report(label, dry_run), set[str](), "new ones came"
    from neo4j.exceptions import ConstraintError

    for _ in range(_ROUNDS):
        driver = container.sync_driver()
        with driver.session(database=settings.neo4j.database) as session:
            for name in _duplicates(session, label):
                try:
                    with _end_after(2 * TIMEOUT, driver):
                        merged = _merge_one(session, label, name, rules, done if dry_run else set(), dry_run=dry_run)
                except ConstraintError as error:  # somebody related something to a node meanwhile; nothing was changed
                    trouble = describe(error)
                    continue
                if merged:
                    report.merged.append(merged)
                    done.add(merged.entity)
            # A name that was mistyped must not leave a constraint behind.
            if dry_run or not session.run(f"MATCH (n:{quoted(label)}) RETURN 1 LIMIT 1").data():
                return report
        try:
            make_constraint(settings, label)
        except DuplicateEntitiesError:
            continue
        return report
    raise RepairError(
        f"workspace {label!r} holds entities twice after {_ROUNDS} rounds, too ({trouble}); "
        "stop its workers, then run it again"
    )


def _duplicates(session: Session, label: str) -> Iterator[Any]:
    """The names of entities that are there more than once, a page at a time."""
    from neo4j import Query

    query: Any = Query(
        f"MATCH (n:{quoted(label)}) WHERE n.entity_id IS NOT NULL AND ($after IS NULL OR n.entity_id > $after) "
        "WITH n.entity_id AS name, count(*) AS nodes WHERE nodes > 1 RETURN name ORDER BY name LIMIT $page",
        timeout=TIMEOUT,
    )
    after = None
    while names := [row["name"] for row in session.run(query, after=after, page=PAGE)]:
        yield from names
        after = names[-1]


@contextmanager
def _end_after(seconds: float, driver: Driver) -> Iterator[None]:
    """Close the driver if it takes longer: a commit waits for locks, and no timeout of the server ends that."""
    watchdog = threading.Timer(seconds, driver.close)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


class _UndoneError(Exception):
    """Ends a transaction of a dry run, with what it would have done."""


def _merge_one(
    session: Session, label: str, name: Any, rules: MergeRules, done: set[str], *, dry_run: bool
) -> Merged | None:
    """Merge one entity in one transaction; None if it is there only once by now."""
    from neo4j import unit_of_work

    @unit_of_work(timeout=TIMEOUT)
    def work(transaction: ManagedTransaction) -> Merged | None:
        merged = EntityMerge(transaction, label, name, rules).run(done)
        if dry_run:
            raise _UndoneError(merged)
        return merged

    try:
        return session.execute_write(work)
    except _UndoneError as undone:
        result: Merged | None = undone.args[0]
        return result


def _check_label(workspace: str) -> str:
    """The label of a workspace, also of one whose name only LightRAG takes, as code of one's own may use it."""
    from lightrag.utils import validate_workspace

    try:
        label: str = validate_workspace(workspace.strip())
    except ValueError:
        label = ""
    if not label:
        check_workspace(workspace)
    return label
