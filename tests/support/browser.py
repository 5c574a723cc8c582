"""Chromium without a window, driven by its DevTools protocol: what a person sees and clicks on a web page."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from wiring.testing.celery_worker import end_family
from wiring.testing.waiting import until

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_CHROMIUM = "no Chromium found: `apt-get install chromium`, or set CHROMIUM to the command that starts one"

ANSWER_TIMEOUT = 60.0

OPTIONS = [
    "--headless=new",
    "--window-size=1400,1200",
    "--no-sandbox",  # as root it does not start with one; it sees the pages of the tests only
    "--disable-dev-shm-usage",  # small in a container
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # a page that needs the internet fails
    "--remote-debugging-port=0",
]

# Text may be in a document and yet be hidden, or be behind something else. What is hit in its middle is seen.
FIND = """words => {
    const shown = {opacityProperty: true, visibilityProperty: true}
    const says = element => element.innerText?.trim() === words && element.checkVisibility(shown)
    const innermost = element => says(element) && ![...element.children].some(says)
    for (const element of [...document.querySelectorAll("body *")].filter(innermost).reverse()) {
        element.scrollIntoView({block: "center", behavior: "instant"})
        const box = element.getBoundingClientRect()
        const [x, y] = [box.x + box.width / 2, box.y + box.height / 2]
        if (element.contains(document.elementFromPoint(x, y))) return [x, y]
    }
    return null
}"""


def find_chromium() -> str:
    """The command that starts it. Without one nothing can be tested, which is a failure, never a skip."""
    for command in (os.environ.get("CHROMIUM"), *COMMANDS):
        if command and (found := shutil.which(command)):
            return found
    pytest.fail(NO_CHROMIUM, pytrace=False)


class Browser:
    """A running Chromium, asked one thing after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def new_page(self) -> Page:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        return Page(self, self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def ask(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """One call of the protocol, of the browser itself or of a page's ``session``."""
        number = next(self._numbers)
        addressee = {"sessionId": session} if session else {}
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters, **addressee}))
        while (answer := json.loads(self._connection.recv(ANSWER_TIMEOUT))).get("id") != number:
            pass  # an event
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result


class Page:
    """A tab of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def open(self, address: str) -> None:
        answer = self._ask("Page.navigate", url=address)
        assert "errorText" not in answer, f"{address}: {answer['errorText']}"
        until(lambda: self.evaluate("document.readyState") == "complete", told=lambda: f"{address} does not load")

    @property
    def lines(self) -> list[str]:
        """What is rendered as text, without empty lines; cells of a table's row stand on one line, with tabs."""
        text = str(self.evaluate("document.body.innerText"))
        return [line.strip() for line in text.splitlines() if line.strip()]

    def until_it_has(self, wanted: Callable[[list[str]], bool]) -> list[str]:
        """Until its lines are as ``wanted``; returns them, for in the next moment they may be drawn anew."""
        found: list[str] = until(
            lambda: lines if wanted(lines := self.lines) else None, told=lambda: f"there is {self.lines}"
        )
        return found

    def until_seen(self, words: str) -> None:
        """Until something says just this, and is hidden by nothing."""
        self._find(words)

    def click(self, words: str) -> None:
        """Click what says just this, when it is seen."""
        x, y = self._find(words)
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def photograph(self, file: Path) -> None:
        """Keep what is seen now as a PNG."""
        file.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _find(self, words: str) -> tuple[float, float]:
        question = f"({FIND})({json.dumps(words)})"
        x, y = until(lambda: self.evaluate(question), told=lambda: f"{words!r} is not seen; there is {self.lines}")
        return x, y

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **parameters)


@contextlib.contextmanager
def run_browser() -> Iterator[Browser]:
    """A browser that keeps nothing and reaches this machine only."""
    command = find_chromium()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        profile, log = Path(name) / "profile", Path(name) / "chromium.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [command, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
                cwd=name,
                env={**os.environ, "HOME": name, "TMPDIR": name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            with connect(_address(process, profile, log), proxy=None, max_size=None) as connection:
                yield Browser(connection)
        finally:
            end_family(process)


def _address(process: subprocess.Popen[bytes], profile: Path, log: Path) -> str:
    """Where it is asked: it chooses a port, and writes it into its profile."""
    file = profile / "DevToolsActivePort"

    def find() -> list[str] | None:
        assert process.poll() is None, f"Chromium ended: {log.read_text(errors='replace')}"
        words = file.read_text().split() if file.exists() else []
        return words if len(words) == 2 else None

    port, path = until(find, told=lambda: log.read_text(errors="replace"))
    return f"ws://127.0.0.1:{port}{path}"


def variety(png: Path) -> int:
    """How many different bytes make up a picture. A PNG keeps differences: of one colour it is nearly all zeros."""
    data, at, pixels = png.read_bytes(), 8, b""
    assert data.startswith(b"\x89PNG\r\n\x1a\n"), data[:20]
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        pixels += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length  # with the kind, and a checksum after the data
    return len(set(zlib.decompress(pixels)))
