"""Progress bars on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from wiring.runner import Document, Outcome, Runner


def insert_with_progress(
    runner: Runner, documents: Sequence[Document], workspace: str | None, console: Console
) -> list[Outcome]:
    """Insert ``documents`` under a bar; what became of each, in the order in which they were done."""
    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"inserting {runner.where}", total=len(documents))

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            progress.advance(task)

        runner.insert(documents, workspace, done)
    return outcomes


@contextlib.contextmanager
def download_progress(
    console: Console, total: int
) -> Iterator[Callable[[str, int], AbstractContextManager[Callable[[int], None]]]]:
    """A bar over about ``total`` bytes of downloads; nothing is shown when there is nothing to download."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console)
    task = progress.add_task("downloading Neo4j", total=total)

    @contextlib.contextmanager
    def file(name: str, size: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG001 - the signature is jgo's
        progress.start()  # again for every file, which does nothing
        yield lambda count: progress.advance(task, count)

    try:
        yield file
    finally:
        if progress.live.is_started:
            progress.stop()
