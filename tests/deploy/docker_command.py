"""The command `docker`, as a user calls it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wiring.testing.waiting import until


def docker(*arguments: str, timeout: float = 60.0, env: Mapping[str, str] | None = None) -> str:
    """What it prints, on both streams; a failure is an error that says it."""
    done = subprocess.run(
        ["docker", *arguments],  # noqa: S607 - the user's
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}"
    return done.stdout


def inspect(container: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", container))
    return dict(found)


def logs(container: str) -> str:
    return docker("logs", container)


@contextmanager
def running(image: str, *command: str, options: tuple[str, ...]) -> Iterator[str]:
    """A container in the background, removed with its volumes at the end; its id."""
    container = docker("run", "--detach", *options, image, *command).strip()
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


def until_healthy(container: str) -> None:
    def is_healthy() -> bool:
        state = inspect(container)["State"]
        assert state["Running"], logs(container)
        return bool(state["Health"]["Status"] == "healthy")

    until(is_healthy, 120, told=lambda: logs(container))


def visible(container: str) -> dict[str, str]:
    """What Docker shows of a container to whoever may ask: by the command that shows it."""
    return {
        "inspect": docker("inspect", container),
        "logs": logs(container),
        "top": docker("top", container, "-eo", "pid,args"),
        "history": docker("history", "--no-trunc", inspect(container)["Image"]),
    }
