"""A process on the folder broker is killed before each of its operations on files, one after the other."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kombu import Connection, Exchange, Queue

from app_container.settings import CelerySettings
from wiring.celery.folder_broker import Transport, recover
from wiring.celery.options import make_app

OPERATIONS = {"open", "write", "rename", "replace", "unlink", "remove", "truncate", "ftruncate"}
EXCHANGE = Exchange("things")
THINGS, OTHERS = (Queue(name, EXCHANGE, routing_key=name) for name in ("things", "others"))
SENT = ("acknowledged", "rejected", "requeued", "left")


def connect() -> Connection:
    Transport.global_state.clear()  # kombu keeps for the process what is bound
    return make_app(CelerySettings(data_dir=Path("celery"))).connection_for_write()


def send(connection: Connection, body: str) -> None:
    connection.Producer().publish(body, exchange=EXCHANGE, routing_key="things", declare=[THINGS])


def take(connection: Connection) -> Iterator[Any]:
    while (message := THINGS(connection.default_channel).get()) is not None:
        yield message


def do_everything(notes: int) -> None:
    """Send, and end each message in another way; notes what is sent and what may have ended from now on."""
    with connect() as connection:
        OTHERS(connection.default_channel).declare()
        for body in SENT:
            send(connection, body)
            os.write(notes, f"sent {body}\n".encode())
        messages = {message.payload: message for message in take(connection)}
        os.write(notes, b"ended acknowledged\nended rejected\n")
        messages["acknowledged"].ack()
        messages["rejected"].reject()
        messages["requeued"].requeue()
        OTHERS(connection.default_channel).delete()


def is_killed_before(operation: int) -> bool:
    """Let a child do everything, and kill itself before an operation, if there are so many."""
    pid = os.fork()
    if pid == 0:
        left = operation

        def watch(_: Any, event: str, function: Any) -> None:
            nonlocal left
            if event == "c_call" and function.__name__ in OPERATIONS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            notes = os.open("notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            sys.setprofile(watch)
            do_everything(notes)
            os._exit(0)
        finally:
            os._exit(1)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert exit_code in (0, -signal.SIGKILL)
    return exit_code != 0


def test_no_message_is_lost_or_doubled_wherever_its_process_is_killed() -> None:
    operation = 0
    killed = True
    while killed:
        killed = is_killed_before(operation)
        notes = Path("notes").read_text().splitlines()
        recover(Path("celery/messages"))
        with connect() as connection:
            send(connection, "new")
            found: Counter[str] = Counter()
            for message in take(connection):
                found[message.payload] += 1
                message.ack()
        there = {body for body in SENT if f"sent {body}" in notes and f"ended {body}" not in notes}
        assert there | {"new"} <= set(found), f"killed before operation {operation}"
        assert set(found.values()) == {1}, f"killed before operation {operation}"
        shutil.rmtree("celery")
        Path("notes").unlink()
        operation += 1
    assert operation > 30
