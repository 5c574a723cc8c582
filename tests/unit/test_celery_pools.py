"""What is known of a worker's pool before it starts."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, signals
from celery.worker import WorkController

from wiring.celery.pools import Pool, PoolError, pool_of


def pool_at_start(broker: str = "redis://", start_method: str = "fork", **options: Any) -> Pool:
    """What a worker that is about to start is told about its pool."""
    app = Celery(broker=broker, set_as_current=False)
    app.conf.worker_pool_start_method = start_method
    found: list[Pool] = []

    def look(sender: Any, **_: Any) -> None:
        try:
            found.append(pool_of(sender))
        except PoolError as error:
            raise SystemExit(str(error)) from error
        raise SystemExit  # the pool itself would be of no use here

    signals.worker_init.connect(look)
    try:
        WorkController(app=app, **options)
    except SystemExit as end:
        if end.__cause__:
            raise end.__cause__ from None
    finally:
        signals.worker_init.disconnect(look)
    return found[0]


@pytest.mark.parametrize(
    ("options", "children"),
    [
        ({"pool_cls": "prefork", "concurrency": 3}, 3),
        ({"pool_cls": "prefork", "concurrency": 1, "autoscale": (5, 1)}, 5),
        ({"pool_cls": "prefork", "concurrency": 2, "autoscale": "4,1"}, 4),
        ({"pool_cls": "processes", "concurrency": 6, "autoscale": (5, 1)}, 6),
        ({"pool_cls": "threads", "concurrency": 3}, 0),
        ({"pool_cls": "solo"}, 0),
    ],
)
def test_the_most_children_are_counted(options: dict[str, Any], children: int) -> None:
    assert pool_at_start(**options) == Pool(children, spawns=False)


def test_a_number_of_children_that_celery_finds_out_later_is_that_of_the_processors() -> None:
    assert pool_at_start(pool_cls="prefork", concurrency="auto").children >= 1


def test_spawned_children_inherit_nothing_and_several_cannot_have_lightrag() -> None:
    pool = pool_at_start(pool_cls="prefork", concurrency=2, start_method="spawn")
    assert (pool.spawns, pool.forked) == (True, 0)
    with pytest.raises(PoolError, match="2 spawned children share nothing"):
        pool.refuse_apart(["JsonKVStorage"])
    pool_at_start(pool_cls="prefork", concurrency=1, start_method="spawn").refuse_apart(["JsonKVStorage"])
    pool_at_start(pool_cls="prefork", concurrency=2).refuse_apart(["JsonKVStorage"])
    pool_at_start(pool_cls="prefork", concurrency=2, start_method="spawn").refuse_apart([])


def test_a_pool_that_grows_without_an_event_loop_is_refused() -> None:
    with pytest.raises(PoolError, match="--autoscale ends a worker"):
        pool_at_start(broker="filesystem://", pool_cls="prefork", autoscale=(3, 1))
