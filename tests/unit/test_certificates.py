"""What is said of certificates that OpenSSL refuses, and of files that hold none."""

from __future__ import annotations

import datetime
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from app_container.certificates import why_not_encrypted
from app_container.errors import ConfigurationError
from app_container.settings import Settings, load_settings
from tests import PROJECT

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ca


def load(path: str, uri: str = "bolt+s://localhost") -> Settings:
    environ = {"NEO4J_PASSWORD": "x", "NEO4J_URI": uri, "NEO4J_TRUSTED_CERTIFICATES": path}
    return load_settings(PROJECT / "config.yaml", environ)


def refusal(trusted: Path, shown: trustme.LeafCert, host: str) -> ssl.SSLCertVerificationError:
    """A handshake in memory, which the client ends."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.configure_cert(server_context)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = ssl.create_default_context(cafile=trusted).wrap_bio(to_client, to_server, server_hostname=host)
    for side in (client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        client.do_handshake()
    return caught.value


@pytest.mark.parametrize(
    ("host", "validity", "told"),
    [
        ("localhost", {"not_after": NOW - DAY, "not_before": NOW - 2 * DAY},
         "is not valid now (certificate has expired); renew it, or the CA in NEO4J_TRUSTED_CERTIFICATES"),
        ("localhost", {"not_after": NOW + 2 * DAY, "not_before": NOW + DAY},
         "is not valid now (certificate is not yet valid); renew it, or the CA"),
        ("elsewhere", {}, "another host (Hostname mismatch, certificate is not valid for 'elsewhere'); set NEO4J_URI"),
        ("127.0.0.1", {}, "another host (IP address mismatch, certificate is not valid for '127.0.0.1'); set NEO4J"),
    ],
)  # fmt: skip
def test_the_reason_is_told(ca: trustme.CA, tmp_path: Path, host: str, validity: dict[str, Any], told: str) -> None:
    error = refusal(tmp_path / "ca.pem", ca.issue_cert("localhost", **validity), host)
    outer = ExceptionGroup("All routing table requests failed", [ValueError("one")])
    outer.exceptions[0].__cause__ = error
    for each in (error, outer):
        assert told in (why_not_encrypted("bolt+s://localhost", tmp_path / "ca.pem", each) or "")


def test_another_error_is_not_about_encryption() -> None:
    first, second = ValueError("a"), OSError("b")
    first.__cause__, second.__cause__ = second, first
    assert why_not_encrypted("bolt://localhost", None, first) is None


@pytest.mark.usefixtures("ca")
def test_the_file_is_found_from_any_folder(tmp_path: Path) -> None:
    assert load("ca.pem").neo4j.trusted_certificates == tmp_path / "ca.pem"


@pytest.mark.usefixtures("ca")
@pytest.mark.parametrize(
    ("path", "uri", "told"),
    [
        ("nowhere.pem", "bolt+s://h",
         "expected a PEM file with the certificates of CAs; it cannot be read: No such file or directory; change $NEO"),
        ("text", "neo4j+s://h", "it holds no certificate as PEM"),
        ("binary", "neo4j+s://h", "it holds no certificate as PEM"),
        (".", "bolt+s://h", "it cannot be read: Is a directory"),
        ("ca.pem", "bolt://h", "expected nothing, for with bolt:// no certificate is verified; set neo4j.uri to neo4j"),
        ("ca.pem", "neo4j+ssc://h", "expected nothing, for with neo4j+ssc:// no certificate is verified"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_at_once(path: str, uri: str, told: str) -> None:
    Path("text").write_text("no certificate")
    Path("binary").write_bytes(b"\xff\x00")
    with pytest.raises(ConfigurationError) as caught:
        load(path, uri)
    (line,) = str(caught.value).splitlines()
    assert "neo4j.trusted_certificates ($NEO4J_TRUSTED_CERTIFICATES): " in line
    assert told in line


@pytest.mark.usefixtures("ca")
def test_an_address_that_is_wrong_is_told_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load("ca.pem", "http://h")
    (line,) = str(caught.value).splitlines()
    assert "neo4j.uri" in line
