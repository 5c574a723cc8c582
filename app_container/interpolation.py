"""``${NAME}`` and ``${NAME:default}`` inside one scalar of the configuration.

This runs on scalars that are parsed already. Replacing text before YAML is parsed would let a password such as
``abc # def`` or ``0123`` change the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class InterpolationError(ValueError):
    """A ``${...}`` cannot be read. The message never quotes the text: that may be a password."""


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A scalar after interpolation.

    Args:
        text: the text with every variable replaced.
        variables: all variables that were named, outermost first.
        missing: variables that are required and not set.
        default: the default, when the whole scalar is one ``${NAME:default}``; otherwise None.
    """

    text: str
    variables: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    default: str | None = None


def interpolate(text: str, environ: Mapping[str, str]) -> Interpolated:
    """Replace every ``${NAME}`` and ``${NAME:default}`` in ``text``.

    A variable that is set but empty counts as not set, because that is what ``NAME=`` in a compose or ``.env`` file
    means to people. A default may itself contain ``${...}``. ``$${`` stands for a literal ``${``.

    Raises:
        InterpolationError: a brace is not closed, a name is not one, or a default is written as shells write it.
    """
    variables: list[str] = []
    missing: list[str] = []
    default: str | None = None
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
        variables.append(name)
        nested = interpolate(fallback, environ)
        variables += nested.variables
        if value := environ.get(name):
            parts.append(value)
        elif colon:
            parts.append(nested.text)
            missing += nested.missing
        else:
            missing.append(name)
        if colon and start == 0 and end == len(text) - 1:
            default = nested.text if nested.default is None else nested.default
        position = end + 1
    parts.append(text[position:])
    return Interpolated("".join(parts), tuple(variables), tuple(missing), default)


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
