"""The broker and the results that need nothing but a folder."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Consumer, Exchange, Queue

from app_container.settings import CelerySettings
from wiring.celery_options import make_app


@pytest.fixture
def app() -> Celery:
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
    context = multiprocessing.get_context("fork")
    for _ in range(10):
        start = time.time() + 0.3
        processes = [context.Process(target=bind, args=(number, start)) for number in range(2)]
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
