"""What tests without a server share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app_container import Container, create_container


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """The container of a valid configuration, of which nothing is connected."""
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    container = create_container()
    yield container
    container.unwire()
    container.shutdown_resources()
