"""The statements of docs/security.md that make a user with few rights."""

from __future__ import annotations

import re

import pytest
from neo4j.exceptions import ClientError

from tests import PROJECT
from tests.support.servers import Server

NO_ROLES = "Neo.ClientError.Statement.UnsupportedAdministrationCommand"

BLOCKS = re.findall(r"```cypher\n(.*?)```", (PROJECT / "docs" / "security.md").read_text(), re.DOTALL)
STATEMENTS = [statement.strip() for block in BLOCKS for statement in block.split(";") if statement.strip()]


def code_of(server: Server, statement: str) -> str | None:
    """What the server answers to a statement that it only reads."""
    try:
        server.query(f"EXPLAIN {statement}")
    except ClientError as error:
        return error.code
    return None


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_server_can_read_it(neo4j_server: Server, statement: str) -> None:
    assert code_of(neo4j_server, statement) in (None, NO_ROLES)


def test_what_it_cannot_read_it_says(neo4j_server: Server) -> None:
    assert len(STATEMENTS) == 15
    assert code_of(neo4j_server, "GRANT EVERYTHING TO lightrag") == "Neo.ClientError.Statement.SyntaxError"
