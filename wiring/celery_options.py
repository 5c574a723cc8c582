"""``config.yaml``'s section ``celery`` in Celery's own words, for the ready worker and for those who send it tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app_container.settings import CelerySettings
from wiring import folder_broker


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
        messages, control = _private(folder / "messages"), _private(folder / "control")
        options["broker_url"] = folder_broker.URL
        options["broker_transport_options"] = {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
            "polling_interval": 0.05,
        }
    if settings.result_backend is None:
        options["result_backend"] = folder_broker.RESULTS + _private(folder / "results").as_uri()
    return options


def _private(folder: Path) -> Path:
    """Make a folder that only its owner can look into: messages carry documents."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
