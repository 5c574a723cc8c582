"""A Neo4j that takes encrypted connections only, with a certificate of the tests' own CA for 127.0.0.1."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.own_neo4j import local_as_process
from tests.support.servers import Server
from wiring.testing.docker_server import DockerServer, docker_answers
from wiring.testing.own_server import OwnServer, free_port
from wiring.testing.server_choice import IMAGE
from wiring.testing.waiting import until_it_answers

IN_CONTAINER = "/certificates"


@dataclass(frozen=True, kw_only=True)
class TlsNeo4j(Server):
    """Its own ``uri`` is for the tests' questions, and trusts everybody."""

    own: OwnServer = field(repr=False)
    host_and_port: str
    ca: Path


class _WithFiles(DockerServer):
    def __init__(self, *, port: int, env: Mapping[str, str], files: Mapping[str, bytes]) -> None:
        super().__init__(IMAGE, 7687, port=port, env=env)
        for path, content in files.items():
            self._container.with_copy_into_container(content, path)


@contextmanager
def run_tls_neo4j(folder: Path) -> Iterator[TlsNeo4j]:
    ca = trustme.CA()
    ca_file = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    certificate = _files(ca.issue_cert("127.0.0.1"))
    server = _in_container(ca_file, certificate) if docker_answers() else _as_process(folder, ca_file, certificate)
    try:
        server.own.start()
        until_it_answers(server.verify, server.uri, server.own.log)
        yield server
    finally:
        server.own.close()


def _files(certificate: trustme.LeafCert) -> dict[str, bytes]:
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return {
        "public.crt": b"".join(pem.bytes() for pem in certificate.cert_chain_pems),
        "private.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),  # the only form it reads
    }


def _settings(folder: str, port: int) -> dict[str, str]:
    return {
        "server.bolt.tls_level": "REQUIRED",
        "server.bolt.advertised_address": f"127.0.0.1:{port}",
        "dbms.ssl.policy.bolt.enabled": "true",
        "dbms.ssl.policy.bolt.base_directory": folder,
        "dbms.ssl.policy.bolt.client_auth": "NONE",
    }


def _in_container(ca: Path, certificate: Mapping[str, bytes]) -> TlsNeo4j:
    port, password = free_port(), uuid.uuid4().hex
    settings = _settings(IN_CONTAINER, port)
    env = {f"NEO4J_{name.replace('_', '__').replace('.', '_')}": value for name, value in settings.items()}
    files = {f"{IN_CONTAINER}/{name}": content for name, content in certificate.items()}
    container = _WithFiles(port=port, env=env | {"NEO4J_AUTH": f"neo4j/{password}"}, files=files)
    return _server(port, password, container, ca)


def _as_process(folder: Path, ca: Path, certificate: Mapping[str, bytes]) -> TlsNeo4j:
    home = folder / "neo4j"
    started, process = local_as_process(home)
    port = int(started.uri.rpartition(":")[2])
    for name, content in certificate.items():
        (folder / name).write_bytes(content)
    with (home / "conf" / "neo4j.conf").open("a") as conf:
        conf.writelines(f"{name}={value}\n" for name, value in _settings(str(folder), port).items())
    return _server(port, started.password, process, ca)


def _server(port: int, password: str, own: OwnServer, ca: Path) -> TlsNeo4j:
    where = f"127.0.0.1:{port}"
    return TlsNeo4j(f"bolt+ssc://{where}", "neo4j", password, own.log, own=own, host_and_port=where, ca=ca)
