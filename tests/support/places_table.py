"""The table of places in docs/lifetimes.md."""

from __future__ import annotations

from tests import PROJECT
from tests.support.places import ASYNC, Visit

PAGE = PROJECT / "docs" / "lifetimes.md"
BEGIN = "<!-- places: made by tests/integration/test_places.py -->"
END = "<!-- end of places -->"
HEAD = """
| place | `container.driver()` gives | because | it lives as long as | drivers opened |
| --- | --- | --- | --- | --- |
"""


def table_of(visits: list[Visit]) -> str:
    return "\n" + HEAD.lstrip() + "".join(f"{_row(visit)}\n" for visit in visits) + "\n"


def _row(visit: Visit) -> str:
    place = visit.place
    kind, reason = " or ".join(sorted(visit.kinds)), " or ".join(sorted(visit.reasons))
    lives = place.loop if kind == ASYNC else place.process
    opened = f"{sum(visit.opened.values()) / visit.processes:g} for {place.asks}"
    return f"| {place.name} | {kind} | {reason.rpartition(':')[0]} | {lives} | {opened} |"


def table_on_the_page() -> str:
    return PAGE.read_text().partition(f"{BEGIN}\n")[2].partition(END)[0]


def write(table: str) -> None:
    """Replace the table; the rest of the page is somebody's text."""
    page = PAGE.read_text()
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table}{END}{after}")
