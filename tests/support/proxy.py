"""A way to the server of the tests that can stop, be cut, be counted, or speak TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.servers import Server

WAIT = 10.0


class Proxy:
    """Forwards TCP connections on 127.0.0.1 to ``uri``, in a thread of its own.

    ``stopped`` makes it like a server that was sent SIGSTOP: the kernel accepts connections and bytes, and nobody
    answers. ``accepted`` and ``open`` count connections.

    Args:
        uri: the server.
        tls: what it shows to clients; None for no TLS.
        port: where it listens; 0 for any that is free.
    """

    def __init__(self, uri: str, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        parts = urlsplit(uri)
        self._target = (parts.hostname, parts.port)
        self._tls = tls
        self.port = port
        self.accepted = 0
        self.open = 0
        self._loop = asyncio.new_event_loop()
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        serving = asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(WAIT)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT)
        self._loop.close()

    @property
    def uri(self) -> str:
        return f"{'bolt+ssc' if self._tls else 'bolt'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._goes_on.clear)

    def go_on(self) -> None:
        self._loop.call_soon_threadsafe(self._goes_on.set)

    def cut(self) -> None:
        """Be gone: end every connection, and accept none any more."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(WAIT)

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        try:
            await self._goes_on.wait()
            there_reader, there_writer = await asyncio.open_connection(*self._target)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._forward(reader, there_writer))
                    both.create_task(self._forward(there_reader, writer))
            finally:
                there_writer.close()
        except* (OSError, EOFError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._goes_on.wait()
            sink.write(data)
            await sink.drain()
        raise EOFError


@pytest.fixture
def proxy(neo4j_server: Server) -> Iterator[Proxy]:
    with Proxy(neo4j_server.uri) as proxy:
        yield proxy


@pytest.fixture
def tls_proxy(neo4j_server: Server, tmp_path: Path) -> Iterator[Proxy]:
    """Neo4j behind TLS, with a certificate that signed itself."""
    with Proxy(neo4j_server.uri, _self_signed(tmp_path / "tls.pem")) as proxy:
        yield proxy


def _self_signed(file: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    no_password = serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
