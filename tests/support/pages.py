"""Programs that stand on the project's pages."""

from __future__ import annotations

import re
from pathlib import Path


def write_programs(page: str, folder: Path) -> None:
    """Write down the programs of a page that begin with their name."""
    for name, body in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(body)
