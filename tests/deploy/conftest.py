"""One stack for all tests here: its images are built once, and the image is tested with its servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.stack import Stack, run_stack
from wiring.testing.docker_server import docker_answers
from wiring.testing.logs import shown_on_failure


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if not docker_answers():
        pytest.fail("no Docker answers: `docker info` and `docker compose version` must work", pytrace=False)
    with run_stack(tmp_path_factory.mktemp("stack")) as stack, shown_on_failure(pytestconfig, "the stack", stack.log):
        yield stack
