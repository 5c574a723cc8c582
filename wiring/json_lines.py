"""Log lines as JSON: one object a line, which tells where it comes from and what it is about."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, NoReturn

from pythonjsonlogger.json import JsonFormatter

from app_container.errors import AppContainerError
from app_container.masking import MASK, is_secret, mask
from wiring.lightrag.log_context import document_fields, serves_a_queue


class JsonLines(JsonFormatter):
    """Formats records as JSON, without the secrets that are hidden in the process.

    The fields are time (ISO 8601, UTC), level, logger, message, process, pid and thread; workspace and document_id
    where they are known; exception and stack, as text, where there are any; and what was logged as ``extra``.
    """

    def __init__(self) -> None:
        super().__init__()

    def work(self, record: logging.LogRecord) -> dict[str, Any]:  # noqa: ARG002 - for those who know more
        """Fields that tell which work is done where this is logged."""
        return {}

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill ``log_data``; called by ``format``."""
        log_data.update(
            time=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            level=record.levelname,
            logger=record.name,
            message=record.message,
            process=record.processName,
            pid=record.process,
            thread=record.threadName,
        )
        if not serves_a_queue():
            log_data.update(self.work(record))
            log_data.update(document_fields())
        for field, name in (("exc_info", "exception"), ("stack_info", "stack")):
            if text := message_dict.pop(field, None):
                log_data[name] = text
        super().add_fields(log_data, record, message_dict)

    def serialize_log_record(self, log_data: dict[str, Any]) -> str:
        """The line; called by ``format``. What was logged as ``extra`` has not been looked through before."""
        line = super().serialize_log_record(log_data)
        return line if mask(line) == line else json.dumps(_masked(json.loads(line)))


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(item) for item in value]
    if isinstance(value, dict):
        return {key: MASK if is_secret(key) and isinstance(item, str) else _masked(item) for key, item in value.items()}
    return value


def write_lightrag_with(logger: logging.Logger) -> None:
    """Let the handlers of ``logger`` write LightRAG's lines as well.

    LightRAG's logger passes nothing on, and is given a handler of its own for plain text when LightRAG is imported, if
    it has none by then.
    """
    lightrag = logging.getLogger("lightrag")
    others = [each for each in lightrag.handlers if not _is_replaced(each)]
    lightrag.handlers = [*others, *(each for each in logger.handlers if each not in others)]


def _is_replaced(handler: logging.Handler) -> bool:
    return type(handler).__module__.startswith("lightrag.") or isinstance(handler.formatter, JsonLines)


def writes_json() -> bool:
    """Whether the log of this process is written so."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


def refuse(error: AppContainerError, logger: logging.Logger) -> NoReturn:
    """End a process that cannot start, with the error in its log, or as text on standard error.

    Raises:
        SystemExit: always, with the code 1.
    """
    if writes_json():
        logger.critical("%s", error)
    else:
        sys.stderr.write(f"{error}\n")
    raise SystemExit(1) from None
