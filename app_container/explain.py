"""Says what is wrong with a configuration in words a user can act on: found, expected, fix."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from app_container.config_file import ConfigFile, KeyPath, Source
from app_container.errors import Problem

_MAX_SHOWN = 60
_MASK = "**********"


def explain(error: ValidationError, model: type[BaseModel], config: ConfigFile) -> Iterator[Problem]:
    """One Problem for each mistake pydantic found, apart from those ``config`` reports already.

    Args:
        error: what pydantic raised for ``model``.
        model: the model the file was read into; its fields give suggestions and tell what is secret.
        config: the file, for lines and environment variables.
    """
    known = {problem.key for problem in config.problems}
    for detail in error.errors(include_url=False):
        keys: KeyPath = tuple(detail["loc"])
        if ".".join(map(str, keys)) in known:
            continue
        if detail["type"] == "extra_forbidden":
            yield config.problem(keys, "unknown setting", _suggest(str(keys[-1]), _fields_at(model, keys[:-1])))
        elif detail["type"] == "missing":
            yield config.problem(keys, "is missing", f"add it: {_example(keys)}")
        else:
            problem = config.problem(keys, f"found {_shown(detail, model, keys)}, expected {_expected(detail)}", "")
            yield replace(problem, fix=_fix(problem, detail, config.sources.get(keys)))


def _fix(problem: Problem, detail: ErrorDetails, source: Source | None) -> str:
    change = f"change ${problem.variables[0]} or this line" if problem.variables else "change it"
    if source and source.file:
        change = f"change {str(source.file)!r} or this line"
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        allowed = [item.strip("'") for item in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        if close := difflib.get_close_matches(detail["input"], allowed, n=1):
            return f"did you mean {close[0]!r}? {change}"
    return change


def _expected(detail: ErrorDetails) -> str:
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind.startswith("int_"):
        return "a whole number"
    if kind.startswith("float_"):
        return "a number"
    if kind.startswith("bool_"):
        return "true or false"
    words = {
        "greater_than": "more than {gt:g}",
        "greater_than_equal": "{ge:g} or more",
        "literal_error": "{expected}",
        "path_type": "a path",
        "string_unicode": "UTF-8 text",
        "string_too_short": "some text",
        "too_short": "some text",
        "string_too_long": "at most {max_length} characters",
        "string_type": "text",
        "model_type": "a section with settings below it",
        "dict_type": "a section with settings below it",
    }
    return words[kind].format(**ctx) if kind in words else detail["msg"]


def _shown(detail: ErrorDetails, model: type[BaseModel], keys: KeyPath) -> str:
    value = detail["input"]
    if value is None:
        return "nothing"
    if isinstance(value, SecretStr) or _is_hidden(model, keys):
        return repr(_MASK) if str(value) else "nothing"
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    text = _without_credentials(str(value))
    return repr(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "...")


def _without_credentials(text: str) -> str:
    """An address without its user and password, and without what it asks for."""
    before, at, host = text.rpartition("@")
    scheme = re.match(r"[\w+.-]*://", before)
    shown = f"{scheme.group() if scheme else ''}{_MASK}@{host}" if at else text
    address, question_mark, _ = shown.partition("?")
    return f"{address}?{_MASK}" if question_mark else shown


def _is_hidden(model: type[BaseModel], keys: KeyPath) -> bool:
    """Whether the setting at ``keys`` is a secret, or an address that may contain one."""
    for section, key in _walk(model, keys):
        field = section.model_fields.get(key)
        if field is None or not field.repr or SecretStr in _alternatives(field.annotation):
            return True
    return False


def _fields_at(model: type[BaseModel], keys: KeyPath) -> list[str]:
    section = model
    for parent, key in _walk(model, keys):
        section = _section(parent.model_fields[key].annotation) or parent
    return list(section.model_fields)


def _walk(model: type[BaseModel], keys: KeyPath) -> Iterator[tuple[type[BaseModel], str]]:
    section: type[BaseModel] | None = model
    for key in keys:
        if section is None:
            return
        yield section, str(key)
        field = section.model_fields.get(str(key))
        section = _section(field.annotation) if field else None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _section(annotation: Any) -> type[BaseModel] | None:
    return next((t for t in _alternatives(annotation) if isinstance(t, type) and issubclass(t, BaseModel)), None)


def _suggest(key: str, fields: list[str]) -> str:
    close = difflib.get_close_matches(key, fields, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(fields)}"


def _example(keys: KeyPath) -> str:
    if keys == ("neo4j",):
        return "'neo4j:', and below it 'password: ${NEO4J_PASSWORD}'"
    return f"'{keys[-1]}: ${{{'_'.join(map(str, keys)).upper()}}}'"
