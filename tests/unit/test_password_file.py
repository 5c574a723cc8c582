"""A password that is read again when its file has changed."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest

from app_container.masking import mask
from app_container.password_file import PasswordInFile
from app_container.settings import Settings, load_settings
from tests import PROJECT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("the-first-one\n")
    return path


@pytest.fixture
def settings(file: Path) -> Settings:
    return load_settings(PROJECT / "config.yaml", {"NEO4J_PASSWORD_FILE": str(file)})


def test_settings_give_the_password_that_the_file_holds_now(settings: Settings, file: Path) -> None:
    validated_again = Settings.model_validate(copy.deepcopy(settings.model_dump()))
    for password in ("another-one", "ANOTHER-ONE"):
        file.write_text(f"{password}\n")
        assert settings.neo4j.password.get_secret_value() == password
        assert validated_again.neo4j.password.get_secret_value() == password
        assert mask(f"with {password}") == "with ***"
        assert password not in repr(settings)


def test_a_file_that_gives_no_password_changes_nothing(settings: Settings, file: Path) -> None:
    for content in (b"", b"\n", b"\xff"):
        file.write_bytes(content)
        assert settings.neo4j.password.get_secret_value() == "the-first-one"
    file.unlink()
    assert settings.neo4j.password.get_secret_value() == "the-first-one"
    file.write_text("another-one")
    assert settings.neo4j.password.get_secret_value() == "another-one"


def test_it_can_be_read_again_though_the_file_looks_as_it_did(file: Path) -> None:
    password = PasswordInFile(file, "the-first-one")
    assert password.get_secret_value() == "the-first-one"
    looks = file.stat()
    file.write_text("the-other-one\n")
    os.utime(file, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    password.read_again()
    assert password.get_secret_value() == "the-other-one"


def test_the_password_of_a_variable_stays_what_it_is() -> None:
    settings = load_settings(PROJECT / "config.yaml", {"NEO4J_PASSWORD": "x"})
    assert not isinstance(settings.neo4j.password, PasswordInFile)
