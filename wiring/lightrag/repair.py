"""Merge what is in a workspace's graph twice, so that the uniqueness constraint can be made.

An entity gets there twice when two processes create it while there is no constraint. From then on LightRAG reads one of
its nodes and writes all of them, and makes each new relation once for every pair of end points. Merged, an entity is
what LightRAG would have made of the same extractions one after the other: lists united, oldest first, within its
limits; the most frequent type; of what there can be once only, the newest. Descriptions are joined, and summarized by
LightRAG when it next merges something into them. A pair has one relation of LightRAG's, whatever the direction. All
other relations, also those to nodes outside of the workspace, are moved as they are, and copies become one.

LightRAG's relation between two nodes of one entity is dropped, for LightRAG extracts none from an entity to itself; the
entity keeps its sources. One of another type stays, from the entity to itself.

Only the graph is repaired. LightRAG's other storages know an entity by its name and have it once, with what was
written last: its vector, and the list of its chunks, by which LightRAG replaces the sources when it next merges
something into the entity.

An entity is one transaction. Two nodes with 100,000 relations took 19 s and fit into the server's default limits (Neo4j
5.26, 717 MB for transactions); 200,000 did not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app_container.drivers import build_sync_driver, check_connection
from app_container.errors import AppContainerError, describe
from wiring.lightrag.merge_entity import PAGE, EntityMerge, Merged
from wiring.lightrag.merge_rules import MergeRules
from wiring.lightrag.schema import DuplicateEntitiesError, make_constraint, quoted
from wiring.lightrag.workspaces import check_workspace

if TYPE_CHECKING:
    from neo4j import Driver, ManagedTransaction, Session
    from neo4j.exceptions import Neo4jError

    from app_container import Container
    from app_container.settings import Settings

TIMEOUT = 300.0
"""Seconds for one entity, waiting for locks included; then the server stops it."""

COMMIT_TIMEOUT = 300.0
"""Seconds more; then the driver is closed, for a commit waits for locks, and no timeout of the server ends that."""

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

    It may be killed at any moment and run again. Beside a worker it leaves nothing half done, but LightRAG reads an
    entity and writes it some seconds later, so a worker can overwrite what was merged in between: stop those of the
    workspace before. A dry run does the same transactions, and undoes each.

    To be called where no event loop runs.

    Args:
        container: where the settings come from: the server, LightRAG's limits and the configured workspace.
        workspace: any name that LightRAG takes; None for the configured one.
        dry_run: whether to change nothing.

    Raises:
        InvalidDocumentError: the workspace cannot be one.
        MissingExtraError: LightRAG is not installed.
        ServerUnavailableError: Neo4j does not answer.
        RepairError: an entity could not be merged, Neo4j failed in the middle, or others make duplicates as fast as
            they are merged.
    """
    settings = container.settings()
    rules = MergeRules(settings.lightrag)
    label = _check_label(settings.lightrag.workspace if workspace is None else workspace)
    check_connection(settings.neo4j)
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        # A driver of its own, for it is closed when the server keeps it waiting.
        with build_sync_driver(settings.neo4j) as driver:
            return _in_rounds(driver, settings, label, rules, dry_run=dry_run)
    except (DriverError, Neo4jError, OSError) as error:
        why = f"the repair of workspace {label!r} stopped: {describe(error)}"
        raise RepairError(f"{why}; what was merged stays merged, run it again") from None


def _in_rounds(driver: Driver, settings: Settings, label: str, rules: MergeRules, *, dry_run: bool) -> Report:
    report, counted, trouble = Report(label, dry_run), set[str](), "new ones came"
    for _ in range(_ROUNDS):
        failed: dict[str, Neo4jError] = {}
        with driver.session(database=settings.neo4j.database) as session:
            for merged in _merge_all(driver, session, label, rules, counted, failed=failed, dry_run=dry_run):
                report.merged.append(merged)
                if dry_run:
                    counted.add(merged.entity)
            _raise_for(failed, label)
            # A name that was mistyped must not leave a constraint behind.
            if dry_run or not session.run(f"MATCH (n:{quoted(label)}) RETURN 1 LIMIT 1").data():
                return report
        trouble = next((describe(error) for error in failed.values()), trouble)
        try:
            make_constraint(settings, label)
        except DuplicateEntitiesError:
            continue
        return report
    raise RepairError(
        f"workspace {label!r} holds entities twice after {_ROUNDS} rounds, too ({trouble}); "
        "stop its workers, then run it again"
    )


def _merge_all(
    driver: Driver,
    session: Session,
    label: str,
    rules: MergeRules,
    counted: set[str],
    *,
    failed: dict[str, Neo4jError],
    dry_run: bool,
) -> Iterator[Merged]:
    """Merge what is there twice now; one that the server refuses is entered in ``failed``, and keeps no other back."""
    from neo4j.exceptions import Neo4jError

    for name in _duplicates(session, label):
        try:
            with _end_after(TIMEOUT + COMMIT_TIMEOUT, driver):
                merged = _merge_one(session, label, name, rules, counted, dry_run=dry_run)
        except Neo4jError as error:
            failed[str(name)] = error
        else:
            if merged:
                yield merged


def _raise_for(failed: dict[str, Neo4jError], label: str) -> None:
    """Tell of entities that the server refuses; not of those that somebody was using, whose turn comes again."""
    from neo4j.exceptions import ConstraintError

    refused = {name: error for name, error in failed.items() if not isinstance(error, ConstraintError)}
    if not refused:
        return
    name, error = next(iter(refused.items()))
    more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
    fix = "raise the server's dbms.memory.transaction.total.max" if "MemoryPool" in str(error.code) else "see why"
    raise RepairError(
        f"entity {name!r}{more} of workspace {label!r} could not be merged, the others were: {describe(error)}; "
        f"{fix}, then run it again"
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
    """Close the driver if it takes longer; whatever the driver then says where it was waiting, it is one error."""
    from neo4j.exceptions import DriverError

    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        driver.close()

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Exception as error:
        if is_over.is_set():
            raise DriverError(f"an entity was not merged within {seconds:g} s") from error
        raise
    finally:
        watchdog.cancel()


class _UndoneError(Exception):
    """Ends a transaction of a dry run, with what it would have done."""


def _merge_one(
    session: Session, label: str, name: Any, rules: MergeRules, counted: set[str], *, dry_run: bool
) -> Merged | None:
    """Merge one entity in one transaction; None if it is there only once by now."""
    from neo4j import unit_of_work

    @unit_of_work(timeout=TIMEOUT)
    def work(transaction: ManagedTransaction) -> Merged | None:
        merged = EntityMerge(transaction, label, name, rules).run(counted)
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
