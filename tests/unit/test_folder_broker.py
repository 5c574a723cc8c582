"""The broker and the results that need nothing but a folder."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Consumer, Exchange, Queue

from app_container.settings import CelerySettings
from wiring.celery.folder_broker import Transport
from wiring.celery.folder_worker import FolderInUseError, take_folder
from wiring.celery.options import make_app

MESSAGES = Path("celery/messages")
TASKS = Queue("tasks", Exchange("tasks"), routing_key="tasks")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def app() -> Celery:
    Transport.global_state.clear()  # kombu keeps for the process what is bound, and every test has a folder of its own
    return make_app(CelerySettings(data_dir=Path("celery")))


def receive(connection: Connection, queue: Queue, expected: int, received: list[Any]) -> None:
    def keep(body: Any, message: Any) -> None:
        received.append(body)
        message.ack()

    with Consumer(connection, [queue], callbacks=[keep]):
        deadline = time.monotonic() + 20
        while len(received) < expected and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.2)


def test_no_message_is_read_before_it_is_written_completely(app: Celery) -> None:
    queue = Queue("many", Exchange("many"), routing_key="many")
    payload = "x" * 3_000_000
    received: list[Any] = []
    with app.connection_for_read() as reader, app.connection_for_write() as writer:
        queue(reader).declare()
        thread = threading.Thread(target=receive, args=(reader, queue, 30, received))
        thread.start()
        producer = writer.Producer()
        for number in range(30):
            producer.publish([number, payload], exchange=queue.exchange, routing_key="many")
        thread.join(60)
    assert sorted(body[0] for body in received) == list(range(30))
    assert all(body[1] == payload for body in received)


def test_two_readers_share_the_messages(app: Celery) -> None:
    queue = Queue("shared", Exchange("shared"), routing_key="shared")
    received: list[Any] = []
    with app.connection_for_read() as one, app.connection_for_read() as two, app.connection_for_write() as writer:
        queue(one).declare()
        producer = writer.Producer()
        for number in range(100):
            producer.publish(number, exchange=queue.exchange, routing_key="shared")
        threads = [threading.Thread(target=receive, args=(c, queue, 100, received)) for c in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(received) == list(range(100))


def bind(number: int, start: float) -> None:
    app = make_app(CelerySettings(data_dir=Path("celery")))
    with app.connection_for_write() as connection:
        channel = connection.channel()
        while time.time() < start:
            pass
        channel._queue_bind("replies", f"key{number}", "", f"queue{number}")  # type: ignore[attr-defined]


def test_processes_that_bind_at_the_same_time_are_all_remembered(app: Celery) -> None:
    for _ in range(10):
        start = time.time() + 0.3
        processes = [FORK.Process(target=bind, args=(number, start)) for number in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        with app.connection_for_read() as connection:
            bindings = connection.channel().get_table("replies")  # type: ignore[attr-defined]
        assert sorted(binding[2] for binding in bindings) == [f"queue{number}" for number in range(2)]
        Path("celery/control/replies.exchange").unlink()


def test_messages_and_results_can_be_read_by_their_owner_only(app: Celery) -> None:
    with app.connection_for_write() as writer:
        queue = Queue("private", Exchange("private"), routing_key="private")
        queue(writer).declare()
        writer.Producer().publish("secret", exchange=queue.exchange, routing_key="private")
    app.backend.store_result("id", {"answer": 1}, "SUCCESS")
    assert {oct(path.stat().st_mode & 0o777) for path in Path("celery").iterdir()} == {"0o700"}
    assert app.AsyncResult("id").get() == {"answer": 1}


def test_a_result_is_never_seen_in_part(app: Celery) -> None:
    long = ["x" * 3_000_000]
    done = threading.Event()

    def write() -> None:
        for _ in range(20):
            app.backend.store_result("id", long, "SUCCESS")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        meta = app.backend.get_task_meta("id", cache=False)
        assert meta["status"] == "PENDING" or meta["result"] == long
    thread.join()


def send(app: Celery, *bodies: Any) -> None:
    with app.connection_for_write() as connection:
        for body in bodies:
            connection.Producer().publish(body, exchange=TASKS.exchange, routing_key="tasks", declare=[TASKS])


def take(connection: Connection, **options: Any) -> Any:
    message: Any = TASKS(connection.default_channel).get(**options)
    assert message is not None
    return message


def received(message: Any) -> tuple[Any, bool]:
    return message.payload, message.delivery_info["redelivered"]


def take_and_acknowledge_all(app: Celery) -> list[tuple[Any, bool]]:
    found = []
    with app.connection_for_read() as connection:
        while (message := TASKS(connection.default_channel).get()) is not None:
            found.append(received(message))
            message.ack()
    return found


def files(ending: str) -> int:
    return len(list(MESSAGES.glob(f"*{ending}")))


def test_a_message_has_a_file_until_it_is_acknowledged_that_is_neither_counted_nor_purged(app: Celery) -> None:
    send(app, "one", "two")
    with app.connection_for_read() as connection:
        message = take(connection)
        assert received(message) == ("one", False)
        declared: Any = TASKS(connection.default_channel).queue_declare(passive=True)
        assert declared.message_count == 1
        assert TASKS(connection.default_channel).purge() == 1
        send(make_app(CelerySettings(data_dir=Path("celery"))), "three")  # a client takes nothing from the worker
        assert (files(".claimed"), files(".msg")) == (1, 1)
        message.ack()
        assert files(".claimed") == 0
    assert take_and_acknowledge_all(app) == [("three", False)]
    assert files("") == 0


def test_a_message_that_needs_no_acknowledgement_is_gone_when_it_is_delivered(app: Celery) -> None:
    send(app, "one", "two")
    left: list[int] = []
    with app.connection_for_read() as connection:
        take(connection, no_ack=True)
        left.append(files(".claimed"))
        with Consumer(connection, [TASKS], callbacks=[lambda *_: left.append(files(""))], no_ack=True):
            connection.drain_events(timeout=10)
    assert left == [0, 0]


def test_a_rejected_message_is_gone_or_comes_back_to_its_place_and_says_so(app: Celery) -> None:
    send(app, "one", "two", "three")
    with app.connection_for_read() as connection:
        take(connection).reject()
        assert (files(".claimed"), files(".msg")) == (0, 2)
        for _ in range(3):
            take(connection).requeue()
            assert (files(".claimed"), files(".msg")) == (0, 2)
    assert take_and_acknowledge_all(app) == [("two", True), ("three", False)]


def test_who_ends_gives_back_once_what_it_did_not_acknowledge(app: Celery) -> None:
    send(app, *range(5))
    with app.connection_for_read() as connection:
        messages = [take(connection) for _ in range(4)]
        messages[1].ack()
    messages[0].channel.basic_ack(messages[0].delivery_tag)  # too late: it is somebody else's
    assert take_and_acknowledge_all(app) == [(0, True), (2, True), (3, True), (4, False)]


def take_folder_and_two_messages(done: Pipe) -> None:
    take_folder(MESSAGES.absolute())
    with make_app(CelerySettings(data_dir=Path("celery"))).connection_for_read() as connection:
        done.send([take(connection).payload for _ in range(2)])
        time.sleep(60)


def take_folder_too(answer: Pipe) -> None:
    try:
        take_folder(MESSAGES.absolute())
    except FolderInUseError as error:
        answer.send(str(error))
    else:
        answer.send([file.name for file in MESSAGES.glob("*.claimed")])


def test_the_next_worker_takes_up_what_a_killed_one_left_and_none_comes_before(app: Celery) -> None:
    send(app, *range(3))
    here, there = FORK.Pipe()
    worker = FORK.Process(target=take_folder_and_two_messages, args=(there,))
    worker.start()
    assert here.recv() == [0, 1]
    second = FORK.Process(target=take_folder_too, args=(there,))
    second.start()
    told = here.recv()
    assert told.startswith(
        f"{MESSAGES.absolute()} is in use by worker {worker.pid} or a process it started, and a second"
    )
    assert take_and_acknowledge_all(app) == [(2, False)]
    worker.kill()
    worker.join()
    assert files(".claimed") == 2
    third = FORK.Process(target=take_folder_too, args=(there,))
    third.start()
    assert here.recv() == []
    assert take_and_acknowledge_all(app) == [(0, True), (1, True)]
    second.join()
    third.join()


def test_what_is_no_message_is_put_aside(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    (MESSAGES / "0_a.tasks.msg").touch()
    send(app, "one")
    assert take_and_acknowledge_all(app) == [("one", False)]
    assert [path.name for path in MESSAGES.iterdir()] == ["0_a.tasks.msg.unreadable"]
    assert f"{MESSAGES.absolute()}/0_a.tasks.msg.unreadable is no message" in caplog.text
