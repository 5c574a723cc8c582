"""The entrypoint of a small application of one's own: a container, ``setup``, and what the worker is to be like."""

from __future__ import annotations

import os

from app_container import create_container
from tests.support.pool_tasks import app
from wiring.celery import setup

container = create_container(wire=["tests.support.pool_tasks"])
app.conf.include = []
app.conf.worker_pool_start_method = os.environ.get("POOL_START_METHOD", "fork")
app.conf.beat_schedule = {"beat": {"task": "plain", "schedule": 0.5}}
setup(app, container)
