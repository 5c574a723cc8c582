"""``config.yaml``'s section ``celery`` in Celery's own words, for the ready worker and for those who send it tasks."""

from __future__ import annotations

from typing import Any

from app_container.settings import CelerySettings


def celery_options(settings: CelerySettings) -> dict[str, Any]:
    """Celery's own options for these settings; makes the folders of the folder broker."""
    options: dict[str, Any] = {
        "broker_url": settings.broker_url,
        "result_backend": settings.result_backend,
        "task_soft_time_limit": settings.task_soft_time_limit,
        "task_time_limit": settings.task_time_limit,
        "task_track_started": True,
        "worker_prefetch_multiplier": 1,
        "broker_connection_retry_on_startup": True,
        "include": ["wiring.celery_app"],
    }
    folder = settings.data_dir.absolute()
    if settings.broker_url.startswith("filesystem://"):
        options["broker_url"] = "filesystem://localhost"  # the host means nothing here, but kombu warns without one
        messages, control = folder / "messages", folder / "control"
        messages.mkdir(parents=True, exist_ok=True)
        control.mkdir(exist_ok=True)
        options["broker_transport_options"] = {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
            "polling_interval": 0.05,
        }
    if settings.result_backend is None:
        results = folder / "results"
        results.mkdir(parents=True, exist_ok=True)
        options["result_backend"] = results.as_uri()
    return options
