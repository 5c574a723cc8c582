"""``${NAME}`` and ``${NAME:default}`` inside one scalar of the configuration; its value may be in ``NAME_FILE``.

This runs on scalars that are parsed already. Replacing text before YAML is parsed would let a password such as
``abc # def`` or ``0123`` change the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app_container.value_file import ValueFileError, read_value

FILE_SUFFIX = "_FILE"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class InterpolationError(ValueError):
    """A ``${...}`` cannot be read. The message never quotes the text: that may be a password."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A variable that is set and gives no value.

    Args:
        found: what is wrong.
        fix: what to do.
    """

    found: str
    fix: str


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A scalar after interpolation.

    Args:
        text: the text with every variable replaced.
        variables: all variables that were named, outermost first; ``NAME_FILE`` where that one is set.
        missing: variables that are required and not set.
        faults: what is wrong with variables that are set.
        default: the default, when the whole scalar is one ``${NAME:default}``; otherwise None.
        file: the file the text came from, when the whole scalar is one ``${NAME}`` and ``NAME_FILE`` is set.
    """

    text: str
    variables: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    default: str | None = None
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Value:
    text: str = ""
    names: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    file: Path | None = None


def interpolate(text: str, environ: Mapping[str, str]) -> Interpolated:
    """Replace every ``${NAME}`` and ``${NAME:default}`` in ``text``.

    The value is that of the variable ``NAME``, or what the file holds that ``NAME_FILE`` names. A variable that is set
    but empty counts as not set, because that is what ``NAME=`` in a compose or ``.env`` file means to people. A default
    may itself contain ``${...}``. ``$${`` stands for a literal ``${``.

    Raises:
        InterpolationError: a brace is not closed, a name is not one, or a default is written as shells write it.
    """
    variables: list[str] = []
    missing: list[str] = []
    faults: list[Fault] = []
    default: str | None = None
    file: Path | None = None
    parts: list[str] = []
    position = 0
    while (start := text.find("${", position)) != -1:
        if start > position and text[start - 1] == "$":
            parts.append(text[position : start - 1] + "${")
            position = start + 2
            continue
        end = _closing_brace(text, start)
        name, colon, fallback = text[start + 2 : end].partition(":")
        if not _NAME.fullmatch(name):
            raise InterpolationError("what follows '${' is not a name of a variable")
        if fallback[:1] in ("-", "?", "+"):
            raise InterpolationError(f"'${{{name}:{fallback[0]}' is a shell's notation")
        parts.append(text[position:start])
        value = _value(name, environ)
        nested = interpolate(fallback, environ)
        variables += [*value.names, *nested.variables]
        if value.text or value.faults:
            parts.append(value.text)
            faults += value.faults
        elif colon:
            parts.append(nested.text)
            missing += nested.missing
            faults += nested.faults
        else:
            missing.append(name)
        if start == 0 and end == len(text) - 1:
            file = value.file or (None if value.text else nested.file)
            if colon:
                default = nested.text if nested.default is None else nested.default
        position = end + 1
    parts.append(text[position:])
    return Interpolated("".join(parts), tuple(variables), tuple(missing), tuple(faults), default, file)


def _value(name: str, environ: Mapping[str, str]) -> _Value:
    file_name = name + FILE_SUFFIX
    text, path = environ.get(name, ""), environ.get(file_name, "")
    if not path:
        return _Value(text, (name,))
    if text:
        fix = f"unset {name}, or {file_name} if the file is not meant"
        return _Value(names=(name, file_name), faults=(Fault(f"${name} and ${file_name} are both set", fix),))
    try:
        return _Value(read_value(Path(path)), (file_name,), file=Path(path))
    except ValueFileError as error:
        return _Value(
            names=(file_name,), faults=(Fault(f"${file_name} names {path!r}, which {error.found}", error.fix),)
        )


def _closing_brace(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise InterpolationError("'${' has no closing brace")
