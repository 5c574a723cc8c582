"""The secrets of the configuration, kept out of the log of a process.

Each record is looked through when it is made. So it does not matter whose handler writes it: Celery's, LightRAG's own,
Prefect's, which also sends lines to its server, or one that the application adds later.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from pydantic import BaseModel, SecretStr

MASK = "***"

SECRET_WORDS = ("password", "secret", "api_key", "apikey", "access_key", "token")

SHORTEST = 8
"""Characters from which on a secret is masked wherever it stands. A shorter one may be a word, such as ``neo4j``."""

_NAMES = "|".join(word.replace("_", "[ _-]?") for word in SECRET_WORDS)


def is_secret(key: str) -> bool:
    """Whether a setting of this name, among those that take anything, holds a secret."""
    return any(word in key.lower() for word in SECRET_WORDS) and (
        "tokens" not in key.lower() and "token_size" not in key.lower()
    )


def secrets_in(value: Any) -> set[str]:
    """The secrets in settings: what is hidden in them, and what stands in addresses.

    Args:
        value: a section of settings, an address, or anything that holds some of them.
    """
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return {secret} | secrets_in(secret)
    if isinstance(value, str):
        return _in_address(value) if "://" in value else set()
    if isinstance(value, BaseModel | Mapping):
        value = dict(value).values()
    elif not isinstance(value, list | tuple | set):
        return set()
    return {secret for item in value for secret in secrets_in(item)}


def _in_address(address: str) -> set[str]:
    # Celery takes several addresses, with ';' between them, and a password may contain '@' and ':'.
    found = re.findall(r"//[^/?#@:;]*:([^/?#;]*)@", address)
    found += [value for name, value in parse_qsl(address.partition("?")[2]) if is_secret(name)]
    return {form for secret in found for form in (secret, unquote(secret)) if form}


class Mask:
    """Replaces secrets in texts.

    One of ``SHORTEST`` characters or more is replaced wherever it stands, also as Python, JSON and addresses write it.
    A shorter one only where it must be meant: after a word such as ``password`` or ``token``, and in an address.

    Args:
        secrets: what is to be replaced.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        long = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        short = {secret for secret in secrets if 0 < len(secret) < SHORTEST}
        patterns = [_any_of(long)] if long else []
        if short:
            patterns.append(rf"(?P<name>(?i:{_NAMES})\w*\W{{1,8}}){_any_of(short)}(?!\w)")
            patterns.append(rf"(?P<user>//[^/\s:@]*:){_any_of(short)}(?=@)")
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def __call__(self, text: str) -> str:
        """The text, with ``***`` for each secret."""
        return self._pattern.sub(_keep_what_is_before, text) if self._pattern else text


def _forms(secret: str) -> set[str]:
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}


def _any_of(texts: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(text) for text in sorted(texts, key=len, reverse=True))})"


def _keep_what_is_before(found: re.Match[str]) -> str:
    return f"{found[found.lastgroup] if found.lastgroup else ''}{MASK}"


_secrets: set[str] = set()
_mask = Mask(_secrets)
_changing = threading.Lock()


def mask(text: str) -> str:
    """The text without the secrets that were hidden in this process."""
    return _mask(text)


def hide(*secrets: str) -> None:
    """From now on mask these, wherever secrets of this process are masked."""
    global _mask  # noqa: PLW0603 - the log is of the process
    with _changing:
        if not _secrets.issuperset(secrets):
            _secrets.update(secrets)
            _mask = Mask(_secrets)


def hide_in_log(*settings: Any) -> None:
    """From now on mask the secrets of these settings in every log record of this process.

    A record is changed only where there is a secret in its message, its arguments, its exception or its stack.

    Args:
        settings: sections of settings, addresses, or what holds some of them.
    """
    hide(*secrets_in(settings))
    with _changing:
        make = logging.getLogRecordFactory()
        if not isinstance(make, _Masking):
            logging.setLogRecordFactory(_Masking(make))


class _Masking:
    """Makes records as ``make`` does, without secrets."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - its handlers will tell that message and arguments do not fit
            return record
        if (masked := mask(message)) != message:
            record.msg, record.args = masked, ()
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            text = logging.Formatter().formatException(record.exc_info)
            if (masked := mask(text)) != text:
                record.exc_info, record.exc_text = None, masked
        if record.stack_info:
            record.stack_info = mask(record.stack_info)
        return record
