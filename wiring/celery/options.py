"""``config.yaml``'s section ``celery`` as a Celery app, for the ready worker and for those who send it tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.app import backends

from app_container.errors import AppContainerError, ConfigurationError, Problem, describe
from app_container.settings import CelerySettings
from wiring.celery import folder_broker, folder_worker

_REDIS = ("redis", "sentinel")


def make_app(settings: CelerySettings) -> Celery:
    """A Celery app for these settings, without tasks; makes the folders of the folder broker.

    Raises:
        ConfigurationError: Celery has no such broker or result backend, or their package is not installed.
        AppContainerError: the folders cannot be written.
    """
    app = Celery("lightrag_neo4j")
    app.conf.update(_options(settings))
    _check("celery.broker_url", "CELERY_BROKER_URL", lambda: app.connection_for_write().get_transport_cls())
    if settings.broker_url.startswith(_REDIS):
        from wiring.celery.redis_clock import use_clock_of_redis  # kombu's part for Redis needs its package

        use_clock_of_redis()
    _check("celery.result_backend", "CELERY_RESULT_BACKEND", lambda: backends.by_url(app.conf.result_backend))
    return app


def _options(settings: CelerySettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "broker_url": settings.broker_url,
        "result_backend": settings.result_backend,
        "task_soft_time_limit": settings.task_soft_time_limit,
        "task_time_limit": settings.task_time_limit,
        "task_track_started": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "broker_connection_retry_on_startup": True,
        # A result that cannot be stored would end its task without an acknowledgement, and without a trace.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 12,  # with Redis' own tries about four minutes
        "include": ["wiring.celery_app"],
    }
    if settings.broker_url.startswith(_REDIS):
        options["broker_transport_options"] = {
            "visibility_timeout": settings.visibility_timeout,
            # kombu would look for what a dead worker had in every 100 s only
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        }
    folder = settings.data_dir.absolute()
    if settings.broker_url.startswith("filesystem://"):
        messages, control = _private(folder / "messages"), _private(folder / "control")
        signals.worker_init.connect(folder_worker.start_worker, weak=False)
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
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AppContainerError(f"{folder} cannot be made: {error.strerror}; set CELERY_DATA_DIR") from None
    return folder


def _check(key: str, variable: str, load: Any) -> None:
    try:
        load()
    except ValueError:  # its text may quote a part of the password
        fix = "percent-encode '/', '@', ':' and '#' in its password"
        raise ConfigurationError(Problem("configuration", key, (variable,), "is no address", fix)) from None
    except Exception as error:  # noqa: BLE001 - what Celery raises depends on what it was asked to load
        fix = "correct it, or install its package, such as celery[redis]"
        found = f"Celery cannot use it: {describe(error)}"
        raise ConfigurationError(Problem("configuration", key, (variable,), found, fix)) from None
