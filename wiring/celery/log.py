"""The log of a worker: as text or as JSON, which ``config.yaml`` says, and never with a secret."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import Any, TextIO

from celery import Celery, signals

from app_container import Container
from app_container.masking import hide_in_log
from wiring.celery.task_ids import request_here, tell_task_ids
from wiring.json_lines import JsonLines, write_lightrag_with

_ADDRESSES = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")


class TaskLines(JsonLines):
    """JSON, with id and name of the task."""

    def work(self, record: logging.LogRecord) -> dict[str, Any]:
        """The task that runs here, or that Celery's own lines are about."""
        if told := _told_by_celery(record):
            return {"task_id": told["id"], "task_name": told["name"]}
        request = request_here()
        return {"task_id": request.id, "task_name": request.get("task")} if request and request.id else {}

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Leave out what Celery adds to its own lines, which say all of it."""
        super().add_fields(log_data, record, message_dict)
        if _told_by_celery(record):
            del log_data["data"]


def _told_by_celery(record: logging.LogRecord) -> dict[str, Any]:
    data = getattr(record, "data", None)
    return data if record.name.startswith("celery.") and isinstance(data, dict) and {"id", "name"} <= set(data) else {}


def set_up_log(app: Celery, container: Container) -> None:
    """Let ``app``'s workers log as the settings of ``container`` say.

    Text is Celery's own format with the task's id, or ``worker_log_format`` if there is one.
    """
    tell_task_ids()
    log = _WorkerLog(app, container)
    uid = f"lightrag-neo4j-log-{id(container)}"
    signals.celeryd_init.connect(log.begin, weak=False, dispatch_uid=uid)
    signals.after_setup_logger.connect(log.write, weak=False, dispatch_uid=uid)
    signals.after_setup_task_logger.connect(log.write, weak=False, dispatch_uid=uid)
    signals.worker_init.connect(log.hide, weak=False, dispatch_uid=uid)
    signals.worker_process_init.connect(log.hide, weak=False, dispatch_uid=uid)  # for a child that is spawned


@dataclass(frozen=True, slots=True)
class _WorkerLog:
    app: Celery
    container: Container

    def begin(self, sender: str, instance: Any, conf: Any, options: dict[str, Any], **_: Any) -> None:
        """Begin with JSON before anything is said: Celery sets up its log after the checks of a worker's start."""
        if instance.app == self.app and self._is_json():
            from celery.apps import worker

            instance.quiet = True  # no banner, which is many lines
            worker.safe_say = _say  # type: ignore[attr-defined]  # what it says of its end; unknown to the stub
            redirect = conf.worker_redirect_stdouts, conf.worker_redirect_stdouts_level
            self.app.log.setup(options.get("loglevel", "WARN"), options.get("logfile"), *redirect, hostname=sender)
            os.environ.pop("_MP_FORK_LOGLEVEL_", None)  # else a spawned child writes a line before it has our formatter

    def write(self, logger: logging.Logger, **_: Any) -> None:
        """Let the handlers that Celery has just made write JSON, if that is wanted."""
        if self._is_json():
            for each in (logger, logging.getLogger("multiprocessing")):  # Celery sets up both
                for handler in each.handlers:
                    handler.setFormatter(TaskLines())
            if logger is logging.getLogger():
                write_lightrag_with(logger)

    def hide(self, sender: Any, **_: Any) -> None:
        """Keep secrets out of the log, of a worker of this application or of its child."""
        if getattr(sender, "app", self.app) != self.app:
            return
        hide_in_log(self.container.settings(), [self.app.conf.get(address) for address in _ADDRESSES])

    def _is_json(self) -> bool:
        return bool(self.container.settings().logging.format == "json")


def _say(message: str, stream: TextIO | None = sys.__stderr__) -> None:
    """In place of what Celery has for signal handlers, where a log may be locked."""
    if stream is not None:
        record = logging.LogRecord("celery.worker", logging.INFO, "", 0, message, (), None)
        os.write(stream.fileno(), f"{TaskLines().format(record)}\n".encode())
