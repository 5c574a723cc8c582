from __future__ import annotations

from pathlib import Path

import pytest

from tests import PROJECT

pytest.register_assert_rewrite("tests.release.packages")

from tests.release import packages  # noqa: E402 - after what makes its assertions speak


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.build(PROJECT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def dependencies(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that any extra needs; pip asks an index for it once."""
    folder = tmp_path_factory.mktemp("dependencies")
    packages.fetch_dependencies(wheel, folder)
    return folder
