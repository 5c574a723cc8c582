"""``ReliableTask`` without a server. Real brokers, and processes that are really killed, are in tests/faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject, Retry
from neo4j.exceptions import ServiceUnavailable

from app_container import Container
from app_container.errors import DeliveryLimitError
from wiring.celery import async_task, setup
from wiring.celery.delivery import LOST, ReliableTask
from wiring.celery.documents import DocumentTask


@pytest.fixture
def app(container: Container, monkeypatch: pytest.MonkeyPatch) -> Celery:
    monkeypatch.setattr(ReliableTask, "_pause", lambda *_: 0)
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)
    setup(app, container, check_server=False)
    return app


class Flaky:
    """Fails a number of times."""

    def __init__(self, failures: int) -> None:
        self.calls = 0
        self._failures = failures

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise ServiceUnavailable(f"away {self.calls}")
        return f"done after {self.calls}"


def plain(app: Celery, work: Callable[[], str], **options: Any) -> Any:
    @app.task(base=ReliableTask, name="work", shared=False, **options)
    def run() -> str:
        return work()

    return run


def coroutine(app: Celery, work: Callable[[], str], **options: Any) -> Any:
    @async_task(app, base=ReliableTask, name="work", shared=False, **options)
    async def run() -> str:
        return work()

    return run


@pytest.fixture(params=[plain, coroutine])
def make_task(request: pytest.FixtureRequest) -> Any:
    return request.param


def eagerly(task: Any) -> Any:
    task.app.conf.task_always_eager = True
    return task.delay().get()


def test_what_passes_is_tried_again(app: Celery, make_task: Any) -> None:
    assert eagerly(make_task(app, Flaky(failures=3))) == "done after 4"


def test_in_the_end_it_fails_with_what_did_not_pass(app: Celery, make_task: Any) -> None:
    work = Flaky(failures=100)
    with pytest.raises(ServiceUnavailable, match="away 3"):
        eagerly(make_task(app, work, max_retries=2))
    assert work.calls == 3


def test_what_does_not_pass_is_not_tried_again(app: Celery, make_task: Any) -> None:
    def work() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        eagerly(make_task(app, work))


def test_called_directly_it_is_a_function(app: Celery) -> None:
    with pytest.raises(ServiceUnavailable):
        plain(app, Flaky(failures=1))()


def redelivered(task: Any, **headers: Any) -> Any:
    """Run ``task`` as a worker does with a message that was delivered before."""
    task.push_request(
        id="a",
        retries=4,
        called_directly=False,
        delivery_info={"redelivered": True},
        args=(),
        kwargs={},
        headers=headers,
    )
    try:
        return task.__call__()
    finally:
        task.pop_request()


def test_a_task_that_was_lost_is_sent_again_until_its_limit(app: Celery) -> None:
    work = Flaky(failures=0)
    task = plain(app, work, delivery_limit=3)
    app.backend.store_result("a", None, "STARTED")
    for lost in range(2):
        with pytest.raises(Retry) as caught:
            redelivered(task, traceparent="00-a", **({LOST: lost} if lost else {}))
        again: Any = caught.value
        options = again.sig.options
        assert options["headers"] == {"traceparent": "00-a", LOST: lost + 1}
        assert (options["retries"], options["task_id"]) == (4, "a")
    with pytest.raises(
        DeliveryLimitError, match="task 'work' was taken up 3 times, and each time its process died or was"
    ):
        redelivered(task, **{LOST: 2})
    assert work.calls == 0


def test_what_only_waited_in_a_worker_was_not_lost(app: Celery) -> None:
    task = plain(app, Flaky(failures=0))
    for state in ("PENDING", "RETRY"):
        app.backend.store_result("a", None, state)
        assert redelivered(task).startswith("done after")


@pytest.mark.parametrize("ending", [Ignore(), Reject("no", requeue=False)])
def test_what_a_task_tells_celery_stays_as_it_is_whatever_its_cause(
    app: Celery, make_task: Any, ending: Exception
) -> None:
    calls = []

    def work() -> str:
        calls.append(1)
        raise ending from ServiceUnavailable("away")

    make_task(app, work).apply()
    assert calls == [1]


def test_the_limit_of_celerys_own_retry_holds(app: Celery) -> None:
    tries = []

    @app.task(base=ReliableTask, bind=True, name="own", shared=False)
    def own(self: Any) -> None:
        tries.append(self.request.retries)
        try:
            raise ServiceUnavailable("away")
        except ServiceUnavailable as error:
            raise self.retry(exc=error, countdown=0, max_retries=1) from error

    with pytest.raises(ServiceUnavailable):
        eagerly(own)
    assert tries == [0, 1]


def test_pauses_grow_at_random_and_have_a_bound() -> None:
    app = Celery(set_as_current=False)
    task = plain(app, Flaky(failures=0), retry_backoff=2, retry_backoff_max=30)
    pauses = [[task._pause(tries) for _ in range(300)] for tries in range(12)]
    assert all(min(each) >= 1 for each in pauses)
    assert [max(each) <= 1 + min(30, 2 * 2**tries) for tries, each in enumerate(pauses)] == [True] * 12
    assert len(set(pauses[8])) > 10


def test_a_text_is_shown_by_its_length(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    @async_task(app, base=DocumentTask, name="insert", shared=False)
    async def insert(text: str, *, document_id: str) -> None: ...

    shown: list[dict[str, Any]] = []
    monkeypatch.setitem(app.amqp.__dict__, "send_task_message", lambda *args, **_: shown.append(args[2].headers))
    insert.delay("a secret " * 100, document_id="a")
    insert.delay(text="a secret " * 100, document_id="a")
    assert [(each["argsrepr"], each["kwargsrepr"]) for each in shown] == [
        ("(<900 characters>)", "{'document_id': 'a'}"),
        ("()", "{'text': <900 characters>, 'document_id': 'a'}"),
    ]
