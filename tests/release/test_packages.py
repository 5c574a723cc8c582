"""The wheel and the source distribution: what is in them, what is not, and what they say of themselves."""

from __future__ import annotations

import re
import tarfile
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from tests import PROJECT, PROJECT_TABLE
from tests.release.packages import EXTRAS, NAME, build

VERSION = PROJECT_TABLE["version"]
PACKAGES = ("app_container", "wiring")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(PROJECT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture
def metadata(wheel: Path) -> Distribution:
    (distribution,) = distributions(path=[str(wheel)])
    return distribution


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_both_packages_with_their_types_and_nothing_else(wheel: Path) -> None:
    names = contents(wheel)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names.keys()
    about = f"{NAME.replace('-', '_')}-{VERSION}.dist-info"
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, about}
    in_checkout = {str(path.relative_to(PROJECT)) for top in PACKAGES for path in (PROJECT / top).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == in_checkout


def test_the_wheel_says_what_the_project_does(metadata: Distribution) -> None:
    assert (metadata.name, metadata.version) == (NAME, VERSION)
    assert metadata.metadata["Requires-Python"] == PROJECT_TABLE["requires-python"]
    assert metadata.metadata["License-Expression"] == "MIT"
    assert set(EXTRAS) <= set(metadata.metadata.get_all("Provides-Extra") or [])
    entry_points = {(point.group, point.name, point.value) for point in metadata.entry_points}
    assert entry_points == {
        ("console_scripts", "lightrag-neo4j", "wiring.cli:main"),
        ("pytest11", "lightrag_neo4j", "wiring.testing"),
    }


def test_the_source_distribution_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = tmp_path / "again"
    again.mkdir()
    assert contents(build(source, "wheel", again)) == contents(wheel)


def test_the_source_distribution_has_no_secrets_and_nothing_that_was_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    unwanted = re.compile(r"(^|/)(secrets?|\.env|\.venv|\.lightrag|__pycache__|dist|build)(/|$)|\.pyc$")
    assert [name for name in names if unwanted.search(name)] == []


def test_the_changelog_has_a_section_for_the_version() -> None:
    sections = re.findall(r"^## (?:\[)?([\w.]+)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] in ("Unreleased", VERSION)


def test_the_manifests_name_the_version() -> None:
    kustomization = (PROJECT / "deploy/kubernetes/kustomization.yaml").read_text()
    assert re.findall(r'newTag: "(.+)"', kustomization) == [VERSION]
