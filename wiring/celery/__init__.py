"""Celery: two lines in a worker's entrypoint, tasks that are coroutines, and tasks that are not lost.

container = create_container(wire=["your_module"])
setup(app, container)
"""

from app_container.errors import MissingExtraError

try:
    import celery  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("wiring.celery", "celery", error.name) from None

from wiring.celery.delivery import ReliableTask
from wiring.celery.tasks import async_task, container_of
from wiring.celery.worker import setup

__all__ = ["ReliableTask", "async_task", "container_of", "setup"]
