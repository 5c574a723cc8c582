"""The process of a run: its container, and what goes with it."""

from __future__ import annotations

from app_container import Container
from app_container.container import current_container
from app_container.masking import hide_in_log
from wiring.metrics.main_process import publish_until_exit
from wiring.prefect_log import continue_log


def container_of_run() -> Container:
    """The container of this process. From now on its secrets are kept out of the log, and its figures are told.

    The figures go to the process that serves the deployment, where there is one.
    """
    container = current_container()
    hide_in_log(container.settings())
    continue_log()
    publish_until_exit(container)
    return container
