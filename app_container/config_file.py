"""``config.yaml`` -> parsed -> interpolated: a plain tree, and where each value came from.

What the values mean is the business of ``settings.py``. Here, every scalar stays the text that was written, so a
password ``0123`` or ``yes`` arrives as it is; the types come from the settings it is read into.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from app_container.errors import ConfigurationError, Problem
from app_container.interpolation import FILE_SUFFIX, Interpolated, InterpolationError, interpolate

CONFIG_VARIABLE = "APP_CONTAINER_CONFIG"
DEFAULT_PATH = Path("config.yaml")

KeyPath = tuple[str | int, ...]


class PlainText(str):
    """Text written without quotes: where a setting takes any type, YAML's type for it applies."""

    __slots__ = ()

    def typed(self) -> Any:
        """The value YAML 1.2 gives this text: null, a bool, an int, a float, or the text itself."""
        text = str(self)
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", text):
            return int(text)
        if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text) and not text.startswith("00"):
            return float(text)
        return text


@dataclass(frozen=True, slots=True)
class Source:
    """Where one value came from: its line, the environment variables named in it, and the file that held all of it."""

    line: int
    variables: tuple[str, ...] = ()
    file: Path | None = None


@dataclass(slots=True)
class ConfigFile:
    """A configuration file after parsing and interpolation.

    Args:
        path: the file that was read.
        tree: nested dicts and lists of text.
        sources: where the value at each key path came from.
        problems: variables that are required and not set or give no value, duplicate keys, unreadable ``${...}``.
    """

    path: Path
    tree: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, keys: KeyPath, found: str, fix: str) -> Problem:
        """Describe a mistake at ``keys``, with the line and the variables of the value there, if there is one."""
        source = self.sources.get(keys)
        where = f"{self.path}:{source.line}" if source else str(self.path)
        return Problem(where, ".".join(map(str, keys)), source.variables if source else (), found, fix)

    def in_order(self, problems: Iterable[Problem]) -> list[Problem]:
        """Sort problems by their line; those of no line come first."""
        lines = {".".join(map(str, keys)): source.line for keys, source in self.sources.items()}
        return sorted(problems, key=lambda problem: lines.get(problem.key, 0))


def find_config(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The configuration file to read: ``path``, else ``$APP_CONTAINER_CONFIG``, else ``./config.yaml``.

    Raises:
        ConfigurationError: the file does not exist or is not a file.
    """
    from_environment = environ.get(CONFIG_VARIABLE)
    chosen = Path(path or from_environment or DEFAULT_PATH)
    if chosen.is_file():
        return chosen
    variables = (CONFIG_VARIABLE,) if from_environment and not path else ()
    found = "is not a file" if chosen.exists() else "does not exist"
    fix = f"create it (the project's config.yaml shows every setting) or set {CONFIG_VARIABLE} to the path of yours"
    raise ConfigurationError(Problem(str(chosen), "", variables, found, fix))


def read_config(path: Path, environ: Mapping[str, str] = os.environ) -> ConfigFile:
    """Parse and interpolate ``path``.

    Raises:
        ConfigurationError: the file cannot be read, is not YAML, or does not hold a mapping.
    """
    config = ConfigFile(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and not isinstance(node, yaml.MappingNode):
            fix = "start with a section, such as 'neo4j:'"
            raise ConfigurationError(Problem(f"{path}:1", "", (), "does not hold settings", fix))
        config.tree = _Tree(config, environ).mapping(node, ()) if node else {}
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError(_yaml_problem(path, error)) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(Problem(str(path), "", (), f"cannot be read: {reason}", "check the file")) from None
    return config


def _yaml_problem(path: Path, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    found, fix = str(error.problem or error.context), "check the indentation, colons and quotes"
    if re.search("alias|anchor|tag", found):  # these quote the text, which may be a password
        found, fix = found.partition("'")[0].rstrip(), "text that begins with '*', '&' or '!' needs quotes"
    return Problem(where, "", (), f"not valid YAML: {found}", fix)


class _Tree:
    """Turns YAML nodes into dicts, lists and interpolated text, noting where each came from."""

    def __init__(self, config: ConfigFile, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        self._open: set[int] = set()

    def mapping(self, node: yaml.MappingNode, keys: KeyPath) -> dict[str, Any]:
        self._report_duplicates(node, keys)
        yaml.constructor.SafeConstructor().flatten_mapping(node)  # resolves '<<'
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            result[key] = self._value(value_node, (*keys, key), key_node.start_mark.line + 1)
        return result

    def _report_duplicates(self, node: yaml.MappingNode, keys: KeyPath) -> None:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in lines:
                found = f"is there twice, in lines {lines[key]} and {line}"
                self._config.problems.append(self._config.problem((*keys, key), found, "keep one of them"))
            lines[key] = line

    def _value(self, node: yaml.Node, keys: KeyPath, line: int) -> Any:
        self._config.sources[keys] = Source(line)
        if not node.tag.startswith("tag:yaml.org,2002:"):
            fix = "put it in quotes, if '!' is part of the text"
            self._config.problems.append(self._config.problem(keys, "begins with '!', which makes it a YAML tag", fix))
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys, line)
        if id(node) in self._open:
            self._config.problems.append(self._config.problem(keys, "contains itself", "remove the alias"))
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, keys)
            items = node.value
            return [self._value(item, (*keys, i), item.start_mark.line + 1) for i, item in enumerate(items)]
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, keys: KeyPath, line: int) -> str | None:
        is_plain = node.style is None
        if is_plain and PlainText(node.value).typed() is None:
            return None
        try:
            result = interpolate(node.value, self._environ)
        except InterpolationError as error:
            fix = "write ${NAME} or ${NAME:default}, and $${ for a literal ${"
            self._config.problems.append(self._config.problem(keys, str(error), fix))
            return None
        self._config.sources[keys] = Source(line, result.variables, result.file)
        for fault in result.faults:
            self._config.problems.append(self._config.problem(keys, fault.found, fault.fix))
        for name in result.missing:
            fix = f"export {name}=... (or {name}{FILE_SUFFIX}, a file that holds it) or write ${{{name}:default}} here"
            self._config.problems.append(self._config.problem(keys, f"${name} is not set", fix))
        if result.missing or result.faults:
            return None
        return _with_type(result, is_plain=is_plain)


def _with_type(scalar: Interpolated, *, is_plain: bool) -> str | None:
    """Text, or PlainText where YAML's type applies: an interpolated value takes the type of its default."""
    if not scalar.variables:
        return PlainText(scalar.text) if is_plain else scalar.text
    if scalar.default is None:
        return scalar.text
    if scalar.text == "":  # '${NAME:}' means nothing
        return None
    return scalar.text if isinstance(PlainText(scalar.default).typed(), str) else PlainText(scalar.text)
