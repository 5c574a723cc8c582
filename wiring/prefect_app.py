"""The ready deployment: ``python -m wiring.prefect_app`` serves the flow ``ingest``, configured by ``config.yaml``.

Runs of the deployment ``ingest/ingest``, from Prefect's pages or its API, are processes that this one starts.
"""

from __future__ import annotations

from app_container import AppContainerError, create_container
from app_container.drivers import check_connection
from app_container.settings import Settings
from wiring.lightrag import register_storages
from wiring.lightrag.processes import prepare, prepare_graph
from wiring.lightrag.working_dir import file_based


def serve() -> None:
    """Check configuration and server as a Celery worker does, then serve until the process is told to end."""
    try:
        from wiring.prefect import ingest

        settings = create_container().settings()
        _check(settings)
    except AppContainerError as error:
        raise SystemExit(str(error)) from None
    from prefect.types.entrypoint import EntrypointType

    # Two processes on the files of one folder would lose each other's writes, so the second would be refused.
    limit = 1 if file_based(settings.lightrag) else None
    ingest.serve(name="ingest", limit=limit, entrypoint_type=EntrypointType.MODULE_PATH, print_starting_message=False)


def _check(settings: Settings) -> None:
    register_storages()
    check_connection(settings.neo4j)
    prepare_graph(settings)
    prepare(settings.lightrag, keep=False)  # the processes of the runs take the folder


if __name__ == "__main__":
    serve()
