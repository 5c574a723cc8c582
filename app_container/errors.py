"""Every error this project raises on purpose.

Each message is one line a mistake: what is wrong, where, what was found, and how to fix it. A command line
or a worker prints ``str(error)`` and nothing else; it never needs a traceback to be understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class AppContainerError(Exception):
    """Base of all errors below: catch this one to print a clean message and leave."""


class PassingError(AppContainerError):
    """Something that passes by itself; the same work succeeds when it is done again later."""


class ProcessDiedError(PassingError):
    """A process died while it did this work; done again, it may succeed, or let the next process die."""


def describe(error: object) -> str:
    """One line for what went wrong: our own messages as they are, others with the name of their type."""
    text = " ".join(str(error).split())
    if isinstance(error, AppContainerError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration.

    Args:
        where: file and line, e.g. ``config.yaml:12``.
        key: path of the setting, e.g. ``neo4j.uri``; empty when the file as a whole is meant.
        variables: environment variables the value came from or could come from.
        found: what is there, already masked when it is a secret.
        fix: what to do.
    """

    where: str
    key: str
    variables: tuple[str, ...]
    found: str
    fix: str

    def __str__(self) -> str:
        variables = f"({', '.join(f'${name}' for name in self.variables)})" if self.variables else ""
        setting = " ".join(filter(None, [self.key, variables]))
        return f"{': '.join(filter(None, [self.where, setting, self.found]))}; {self.fix}"


class ConfigurationError(AppContainerError):
    """The configuration cannot be used.

    Args:
        problems: all mistakes that were found, in the order of the file.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class MissingExtraError(AppContainerError, ImportError):
    """A part was asked for whose packages are not installed.

    Args:
        what: the part, as the user knows it.
        extra: name of the extra that brings it.
        missing: the module that could not be imported.
    """

    def __init__(self, what: str, extra: str, missing: str | None) -> None:
        super().__init__(
            f"{what} needs the package {(missing or '?').partition('.')[0]!r}, which is not installed; "
            f"run: pip install 'lightrag-neo4j-wiring[{extra}]'"
        )


class NotWiredError(AppContainerError):
    """Functions ask for injection, but no container was wired to their modules.

    Args:
        functions: by module, the name of a function in it that asks.
    """

    def __init__(self, functions: Mapping[str, str]) -> None:
        names = ", ".join(f"{module} ({function} asks for injection)" for module, function in functions.items())
        modules = list(functions)
        super().__init__(
            f"not wired to the container: {names}; call create_container(wire={modules!r}) "
            f"or container.wire(modules={modules!r}) before it is used"
        )


class NoRunningLoopError(AppContainerError, RuntimeError):
    """An async driver was asked for where no event loop runs."""

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"{provider} was asked for outside a running event loop, and an async driver belongs to one; "
            "use container.sync_driver() here, or container.worker_loop().run(coroutine)"
        )


class EndingLoopError(AppContainerError, RuntimeError):
    """An async driver was asked for on an event loop that is being closed."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"{provider} was asked for on an event loop that is being closed; end its tasks before it")


class ForeignLoopError(AppContainerError, RuntimeError):
    """An async driver that was kept from one event loop was used on another, where it would hang."""

    def __init__(self, method: str) -> None:
        super().__init__(
            f"{method}() was called on an async driver of another event loop, where it would hang; "
            "call container.async_driver() where the driver is used, instead of keeping what it returned"
        )


class WorkerLoopError(AppContainerError, RuntimeError):
    """The worker loop was used in a way that cannot work, or was closed."""


class DeliveryLimitError(AppContainerError):
    """A task was taken up as often as it may be, and its process died each time."""


class ServerUnavailableError(AppContainerError):
    """Neo4j does not answer, or refuses the credentials."""
