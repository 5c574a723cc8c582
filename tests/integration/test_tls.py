"""Encrypted connections to a server whose certificate comes from a CA of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from app_container.drivers import check_connection, open_sync_driver, why_unavailable
from app_container.errors import ServerUnavailableError
from app_container.settings import Neo4jSettings
from tests.support.schema import run
from tests.support.tls_neo4j import TlsNeo4j, run_tls_neo4j
from wiring.lightrag import register_storages
from wiring.testing.fixtures import Environment


@pytest.fixture(scope="module")
def neo4j_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNeo4j]:
    with run_tls_neo4j(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture
def neo4j_environment(
    request: pytest.FixtureRequest,
    neo4j_environment: dict[str, str],
    neo4j_server: TlsNeo4j,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    own = {
        "NEO4J_URI": f"{getattr(request, 'param', 'neo4j+s')}://{neo4j_server.host_and_port}",
        "NEO4J_TRUSTED_CERTIFICATES": str(neo4j_server.ca),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return Environment(neo4j_environment | own)


def settings(server: TlsNeo4j, **changes: Any) -> Neo4jSettings:
    return Neo4jSettings.model_validate({"username": server.username, "password": server.password} | changes)


def refusal(settings: Neo4jSettings) -> str:
    """What a driver of each kind is told."""
    with pytest.raises(ServerUnavailableError) as asked:
        check_connection(settings)
    with open_sync_driver(settings) as driver, pytest.raises(Exception) as caught:  # noqa: PT011 - it is told in words
        driver.verify_connectivity()
    assert why_unavailable(settings, caught.value) == str(asked.value)
    (line,) = str(asked.value).splitlines()
    return line


@pytest.mark.parametrize("neo4j_environment", ["bolt+s", "neo4j+s"], indirect=True)
def test_every_driver_connects(container: Container) -> None:
    query = "RETURN 1 AS one"
    assert container.sync_driver().execute_query(query).records[0]["one"] == 1

    async def ask(driver: Any) -> Any:
        async with driver.session() as session:
            return (await (await session.run(query)).single())["one"]

    async def ask_async() -> Any:
        return await ask(container.async_driver())

    assert container.worker_loop().run(ask_async(), timeout=60) == 1
    assert asyncio.run(ask(container.bridged_driver())) == 1
    assert container.sync_driver().encrypted
    assert container.health().ready_sync().ready


def test_the_command_connects(environment: dict[str, str]) -> None:
    code, said = run("check")
    assert code == 0, said
    assert environment["NEO4J_URI"] in said


def test_lightrags_storage_writes_and_reads(container: Container, workspace: str) -> None:
    initialize_share_data()  # what LightRAG's constructor does for its storages
    register_storages(container)
    from wiring.lightrag.storages import Neo4JHybridStorage

    async def main() -> Any:
        storage = Neo4JHybridStorage("graph", {}, None, workspace=workspace)
        await storage.initialize()
        await storage.upsert_node("Ada", {"entity_id": "Ada", "entity_type": "person"})
        return await storage.get_node("Ada")

    assert container.worker_loop().run(main(), timeout=60)["entity_type"] == "person"


@pytest.mark.parametrize("scheme", ["bolt+s", "neo4j+s"])
def test_a_certificate_of_another_ca_is_refused(neo4j_server: TlsNeo4j, scheme: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    uri = f"{scheme}://{neo4j_server.host_and_port}"
    assert refusal(settings(neo4j_server, uri=uri, trusted_certificates=other)) == (
        f"Neo4j at {uri} has a certificate that is not from a CA that is in '{other}' (unable to get local issuer "
        "certificate); set NEO4J_TRUSTED_CERTIFICATES to a PEM file with its CA"
    )
    assert "not from a CA that the system trusts (" in refusal(settings(neo4j_server, uri=uri))


@pytest.mark.parametrize("scheme", ["bolt+s", "neo4j+s"])
def test_a_certificate_for_another_host_is_refused(neo4j_server: TlsNeo4j, scheme: str) -> None:
    uri = f"{scheme}://{neo4j_server.host_and_port.replace('127.0.0.1', 'localhost')}"
    assert refusal(settings(neo4j_server, uri=uri, trusted_certificates=neo4j_server.ca)) == (
        f"Neo4j at {uri} has a certificate for another host (Hostname mismatch, certificate is not valid for "
        "'localhost'); set NEO4J_URI to a host that it is for"
    )


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_a_connection_that_is_not_encrypted_is_refused(neo4j_server: TlsNeo4j, scheme: str) -> None:
    uri = f"{scheme}://{neo4j_server.host_and_port}"
    assert refusal(settings(neo4j_server, uri=uri)) == (
        f"Neo4j at {uri} closes connections that are not encrypted; set NEO4J_URI to bolt+s://... or neo4j+s://..."
    )
