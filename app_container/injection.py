"""Finds functions that ask for injection but were never wired.

dependency-injector does not tell: such a function silently receives the marker ``Provide[...]`` in place of what it
asked for, and fails somewhere else.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import chain
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from dependency_injector import providers

from app_container.errors import NotWiredError

if TYPE_CHECKING:
    from app_container.container import Container


def check_wired(container: Container, also: Iterable[Callable[..., Any]] = ()) -> None:
    """Check every module that is imported; call it when all of yours are, before the first of them is used.

    Only functions that ask for one of ``container``'s own providers count.

    Args:
        container: what they should receive.
        also: functions to look at that are no longer attributes of their module, e.g. because a decorator made
            something else of them.

    Raises:
        NotWiredError: with the names of the modules, and of one function in each.
    """
    wired: Any = container.wired_to_modules
    missing: dict[str, str] = {}
    for function in (*also, *_functions_of(list(sys.modules.values()))):
        module = sys.modules.get(function.__module__)
        if module is not None and module not in wired and any(_is_ours(container, m) for m in markers(function)):
            missing.setdefault(function.__module__, function.__qualname__)
    if missing:
        raise NotWiredError(missing)


def markers(function: Callable[..., Any]) -> Iterator[Any]:
    """What ``function`` asks dependency-injector for: ``Provide[...]`` and the like, as default or ``Annotated``."""
    function = inspect.unwrap(function)
    defaults = (
        *(getattr(function, "__defaults__", None) or ()),
        *(getattr(function, "__kwdefaults__", None) or {}).values(),
    )
    yield from filter(is_marker, defaults)
    annotations = getattr(function, "__annotations__", {}).values()
    if any("Provide" in str(annotation) for annotation in annotations):
        try:
            annotations = inspect.get_annotations(function, eval_str=True).values()
        except (NameError, SyntaxError, TypeError):  # names that only type checkers import
            return
    for annotation in annotations:
        if get_origin(annotation) is Annotated:
            yield from filter(is_marker, get_args(annotation)[1:])


def is_marker(value: object) -> bool:
    """Whether ``value`` is one of dependency-injector's markers, such as ``Provide[...]``."""
    return getattr(type(value), "__IS_MARKER__", False) is True


def _is_ours(container: Container, marker: Any) -> bool:
    """Whether the marker means a provider of ``container``, or a part of what one provides."""
    asked = marker.provider
    while is_marker(asked):  # Closing[Provide[...]]
        asked = asked.provider
    if isinstance(asked, str):
        return asked.partition(".")[0] in container.providers
    declared: Any = container.declarative_parent or container
    ours: list[Any] = list(declared.providers.values())
    if isinstance(asked, providers.ConfigurationOption):  # it does not tell of which configuration it is an option
        configurations = [provider for provider in ours if isinstance(provider, providers.Configuration)]
        return any(_option(each, asked.get_name_segments()) is asked for each in configurations)
    return any(part is provider for part in (asked, *asked.traverse()) for provider in ours)


def _option(configuration: Any, names: Iterable[Any]) -> Any:
    return reduce(getattr, names, configuration)


def _functions_of(modules: list[ModuleType]) -> Iterator[Callable[..., Any]]:
    """Functions that the modules define, in themselves or in their classes: as deep as dependency-injector wires."""
    for module in modules:
        name = module.__name__
        members = list(module.__dict__.values())
        classes = [member for member in members if isinstance(member, type) and member.__module__ == name]
        for member in chain(members, *(list(cls.__dict__.values()) for cls in classes)):
            function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            if isinstance(function, FunctionType) and function.__module__ == name:
                yield function
