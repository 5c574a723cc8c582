"""What is told of a query's text: its operation, and the text without the values that stand in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OPERATIONS = frozenset((
    "ALTER", "CALL", "CREATE", "DELETE", "DENY", "DETACH", "DROP", "DRYRUN", "ENABLE", "FILTER", "FINISH", "FOR",
    "FOREACH", "GRANT", "INSERT", "LET", "LOAD", "MATCH", "MERGE", "REALLOCATE", "REMOVE", "RENAME", "RETURN", "REVOKE",
    "SET", "SHOW", "START", "STOP", "TERMINATE", "UNWIND", "USE", "WITH",
))  # fmt: skip
"""The words with which statements of Cypher begin."""

_COMMENT = r"//[^\n]*|/\*.*?(?:\*/|\Z)"
_FIRST = re.compile(
    rf"(?:\s|{_COMMENT})*(?:(?:EXPLAIN|PROFILE)\b(?:\s|{_COMMENT})*)?(?:OPTIONAL\s+)?([a-z]+)",
    re.IGNORECASE | re.DOTALL,
)
_NAME_OR_VALUE = re.compile(
    rf"""
    (?P<kept> `[^`]*(?:`|\Z) | {_COMMENT} )
    | '(?:\\.|[^'\\])*(?:'|\Z) | "(?:\\.|[^"\\])*(?:"|\Z)
    | (?<![\w$]) (?: 0[xo][\da-f]+ | (?:\d[\d_]*\.)?\d[\d_]*(?:e[+-]?\d+)? ) (?!\w)
    | (?<![\w$.:]) (?:true|false) (?!\w)
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def operation_of(query: str) -> str | None:
    """The first clause of a query, as it is written; None if it is none of Cypher's, so that there are few of them."""
    found = _FIRST.match(query)
    return found[1] if found and found[1].upper() in OPERATIONS else None


def shown(query: str, parameters: Mapping[str, Any] | None) -> str:
    """The text to show: as it is if there are parameters beside it, else with ``?`` for each value.

    Who uses parameters is taken to have put values there, and not into the text; that is how OpenTelemetry has it.
    """
    return query if parameters else _NAME_OR_VALUE.sub(lambda found: found["kept"] or "?", query)
