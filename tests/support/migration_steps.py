"""The steps of docs/migration.md: the programs and diffs that stand there, and what its table says of connections."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests import PROJECT

PAGE = (PROJECT / "docs" / "migration.md").read_text()

_HEADLINE = re.compile(r"^## (\d+)\. .*$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"# (\w+\.py)\n")
_CELL = re.compile(r"(?:(at least|at most) )?(\d+)(?: to (\d+))?")


@dataclass(frozen=True)
class Count:
    """How many connections the table says there are."""

    least: int
    most: float

    @classmethod
    def parse(cls, cell: str) -> Count:
        found = _CELL.fullmatch(cell)
        assert found, f"{cell!r} in the table is no count"
        bound, first, last = found.groups()
        number = int(first)
        return cls(0 if bound == "at most" else number, float("inf") if bound == "at least" else int(last or first))

    def __contains__(self, number: int) -> bool:
        return self.least <= number <= self.most


@dataclass(frozen=True)
class Step:
    number: str
    blocks: list[tuple[str, str]]
    """Kind and text of everything between fences, in their order."""
    before: Count
    after: Count

    def write_programs(self, folder: Path) -> None:
        """The programs from before the step; each begins with its name, which is part of it."""
        for text in self._of_kind("python"):
            name = _NAME.match(text)
            assert name, text
            (folder / name.group(1)).write_text(text)

    def apply(self, folder: Path) -> None:
        """Do what the page says, in the order of the page."""
        for kind, text in self.blocks:
            if kind == "sh":
                subprocess.run(["sh", "-ec", text], cwd=folder, timeout=60, check=True)  # noqa: S607
            elif kind == "diff":
                _apply(text, folder)

    @property
    def changes(self) -> str:
        return "".join(self._of_kind("diff"))

    def _of_kind(self, wanted: str) -> list[str]:
        return [text for kind, text in self.blocks if kind == wanted]


def read_steps() -> dict[str, Step]:
    _, *parts = _HEADLINE.split(PAGE)
    return {number: Step(number, _BLOCK.findall(text), *_counts(number)) for number, text in _pairs(parts)}


def programs_in(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.glob("*.py")}


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def _counts(number: str) -> tuple[Count, Count]:
    (row,) = re.findall(rf"^\| \[{number}\]\(.*\|$", PAGE, re.MULTILINE)
    before, after = (cell.strip() for cell in row.split("|")[-3:-1])
    return Count.parse(before), Count.parse(after)


def _apply(diff: str, folder: Path) -> None:
    """With git, which takes no line for another; it would find lines that moved, so nothing may have moved."""
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent), "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", "apply", "--verbose", "-"],  # noqa: S607
        input=diff, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "offset" not in done.stderr, done.stderr
