"""The ready deployment: ``python -m wiring.prefect_app`` serves the flow ``ingest``, configured by ``config.yaml``.

Runs of the deployment ``ingest/ingest``, from Prefect's pages or its API, are processes that this one starts.
"""

from __future__ import annotations

import logging
import socket

from app_container import AppContainerError, create_container
from app_container.drivers import check_connection
from app_container.settings import Settings
from wiring.json_lines import refuse
from wiring.lightrag import register_storages
from wiring.lightrag.processes import prepare, prepare_graph
from wiring.lightrag.working_dir import file_based
from wiring.metrics.main_process import MainProcess
from wiring.prefect_log import begin_log, continue_log


def serve() -> None:
    """Check configuration and server as a Celery worker does, then serve until the process is told to end."""
    try:
        container = create_container()
        settings = container.settings()
        metrics = MainProcess(container)
        begin_log(settings)
        from wiring.prefect import ingest

        continue_log()
        _check(settings)
        metrics.prepare(f"prefect@{socket.gethostname()}")
        metrics.start()
    except AppContainerError as error:
        refuse(error, logging.getLogger("wiring.prefect"))
    from prefect.types.entrypoint import EntrypointType

    # Two processes on the files of one folder would lose each other's writes, so the second would be refused.
    limit = 1 if file_based(settings.lightrag) else None
    try:
        ingest.serve(
            name="ingest", limit=limit, entrypoint_type=EntrypointType.MODULE_PATH, print_starting_message=False
        )
    finally:
        metrics.close()


def _check(settings: Settings) -> None:
    register_storages()
    check_connection(settings.neo4j)
    prepare_graph(settings)
    prepare(settings.lightrag, keep=False)  # the processes of the runs take the folder


if __name__ == "__main__":
    serve()
