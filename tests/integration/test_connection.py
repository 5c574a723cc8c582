"""What ``check_connection`` says on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from app_container.drivers import check_connection
from app_container.errors import ServerUnavailableError
from app_container.settings import Neo4jSettings
from tests.support.servers import Server


@pytest.fixture
def user(neo4j_server: Server) -> Iterator[str]:
    """A user of its own, which may be locked out."""
    neo4j_server.query("CREATE OR REPLACE USER locked SET PASSWORD 'the-right-one' CHANGE NOT REQUIRED")
    yield "locked"
    neo4j_server.query("DROP USER locked")


def settings(server: Server, user: str, password: str) -> Neo4jSettings:
    return Neo4jSettings(uri=server.uri, username=user, password=SecretStr(password))


def test_a_user_that_the_server_has_locked_is_told_to_wait(neo4j_server: Server, user: str) -> None:
    assert check_connection(settings(neo4j_server, user, "the-right-one")).startswith("Neo4j/")
    said = []
    for _ in range(5):
        with pytest.raises(ServerUnavailableError) as caught:
            check_connection(settings(neo4j_server, user, "a-wrong-one"))
        said.append(str(caught.value))
    assert "refuses user 'locked' with the password it was given; set NEO4J_USERNAME and NEO4J_PASSWORD" in said[0]
    assert "has locked user 'locked' for some seconds, after several wrong passwords; wait" in said[-1]
    assert not any("wrong-one" in text for text in said)
