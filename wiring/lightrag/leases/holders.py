"""Who holds a lease: a process, named so that others on its machine can see whether it still lives."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """One who may hold a lease. A process can have several, and only one of them at a time holds it.

    Args:
        name: no other has it, on whichever machine.
        host: the machine's name, for people.
        machine: where ``pid`` has a meaning; another one after a restart, and in another container.
        pid: the process.
    """

    name: str
    host: str
    machine: str
    pid: int


def new_holder() -> Holder:
    """Another one, in this process."""
    host, pid = socket.gethostname(), os.getpid()
    return Holder(f"{host}:{pid}:{uuid.uuid4().hex[:12]}", host, this_machine(), pid)


def is_dead(machine: str, pid: int) -> bool:
    """Whether the process is gone, as far as that can be seen from here: never, if it is on another machine.

    A process id that was given to another process in the meantime counts as alive.
    """
    if machine != this_machine():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@lru_cache(maxsize=1)
def this_machine() -> str:
    """What tells this machine, since it was started, and this container from others."""
    parts = [socket.gethostname()]
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        path = Path(file)
        try:
            parts.append(str(path.readlink()) if path.is_symlink() else path.read_text().strip())
        except OSError:  # not on Linux; the name of the host has to do
            continue
    return " ".join(parts)
