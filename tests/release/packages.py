"""What is published: a wheel and a source distribution, and an environment that has nothing but the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import PROJECT, PROJECT_TABLE

NAME: str = PROJECT_TABLE["name"]
EXTRAS = [extra for extra in PROJECT_TABLE["optional-dependencies"] if extra != "dev"]


def build(source: Path, target: str, folder: Path) -> Path:
    """Build ``target``, ``wheel`` or ``sdist``, of the project in ``source``; hatchling fetches nothing."""
    _run([sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)], cwd=source)
    (package,) = folder.iterdir()
    return package


def fetch_dependencies(wheel: Path, folder: Path) -> None:
    """Put into ``folder`` what the wheel may need, at the versions of requirements.lock, for all environments."""
    lines = (PROJECT / "requirements.lock").read_text().splitlines()
    versions = folder / "versions.txt"  # without hashes, which pip would ask of the wheel, too
    versions.write_text("\n".join(line.removesuffix(" \\") for line in lines if not line.startswith((" ", "#"))))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), "--constraint", str(versions)]
    _run([*pip, f"{wheel}[{','.join(EXTRAS)}]"])


@dataclass(frozen=True)
class Environment:
    """A virtual environment that knows nothing of this checkout, and the folder its commands run in."""

    folder: Path
    home: Path

    @classmethod
    def create(cls, folder: Path, wheel: Path, extra: str | None, dependencies: Path) -> Environment:
        """Install ``wheel`` with one ``extra`` into an empty environment."""
        environment = cls(folder / "venv", folder / "home")
        environment.home.mkdir()
        _run([sys.executable, "-m", "venv", "--without-pip", str(environment.folder)])
        pip = [sys.executable, "-m", "pip", "--python", str(environment.folder), "install", "--quiet", "--no-compile"]
        _run([*pip, "--no-index", "--find-links", str(dependencies), f"{wheel}[{extra}]" if extra else str(wheel)])
        return environment

    def run(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs with the project's config.yaml and no other settings than ``variables``."""
        given = {
            "APP_CONTAINER_CONFIG": str(PROJECT / "config.yaml"),
            "NEO4J_PASSWORD": "x",
            "HOME": str(self.home),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "COLUMNS": "200",
        }
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.home, env=given | variables, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
