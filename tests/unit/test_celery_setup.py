"""``setup`` and a worker that is about to start, without a server."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from celery import Celery, signals
from celery.worker import WorkController
from dependency_injector import providers

from app_container import Container
from wiring.celery import container_of, setup


def fail() -> None:
    raise ZeroDivisionError


def go_no_further(**_: Any) -> None:
    raise SystemExit("so far")


def test_whatever_goes_wrong_ends_the_worker_and_no_other_application_s(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    app = Celery(broker="redis://", set_as_current=False)
    setup(app, container)
    with container.settings.override(providers.Callable(fail)):
        with pytest.raises(SystemExit):
            WorkController(app=app, pool_cls="solo")
        assert "the worker cannot start" in caplog.text
        caplog.clear()
        signals.worker_init.connect(go_no_further)
        with pytest.raises(SystemExit, match="so far"):
            WorkController(app=Celery(broker="redis://", set_as_current=False), pool_cls="solo")
        signals.worker_init.disconnect(go_no_further)
    assert caplog.text == ""


@pytest.mark.parametrize("namespace", [None, "ours"])
def test_an_application_goes_to_spawned_children_without_its_container(
    container: Container, namespace: str | None
) -> None:
    app = Celery(broker="redis://", namespace=namespace, set_as_current=False)
    setup(app, container)
    assert container_of(app) is container
    assert pickle.loads(pickle.dumps(app)).conf.broker_url == "redis://"  # noqa: S301 - it is ours
