"""What the commands have in common: where they print, and how."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

out = Console(emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file [default: config.yaml].")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Workspace [default: the configured one].")]


def print_error(line: str) -> None:
    """Print one line on standard error."""
    err.print(line, style="red", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print it as it is, without colours."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show(facts: dict[str, Any], *, as_json: bool) -> None:
    """Print names and values."""
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, Text(_in_lines(value)))
    out.print(table)


def _in_lines(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {part}" for name, part in value.items())
    return "\n".join(value) or "none" if isinstance(value, list) else str(value)
