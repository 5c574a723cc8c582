"""Functions that ask for injection: which they are, whether they are wired, and what their callers see of it.

dependency-injector does not tell when one was never wired: such a function silently receives the marker
``Provide[...]`` in place of what it asked for, and fails somewhere else.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import chain
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from dependency_injector import providers

from app_container.errors import NotWiredError

if TYPE_CHECKING:
    from app_container.container import Container


_wiring = threading.Lock()


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
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    missing: dict[str, str] = {}
    for function in (*also, *_functions_of(modules)):
        asks = any(_is_ours(container, marker) for marker in injected(function).values())
        if asks and not _is_wired(container, function.__module__):
            missing.setdefault(function.__module__, function.__qualname__)
    if missing:
        raise NotWiredError(missing)


def ensure_wired(container: Container, function: Callable[..., Any]) -> None:
    """Wire the module of ``function``, if it is not yet; for one that is about to run, when all of it is defined.

    Args:
        container: what it should receive.
        function: any function of the module; one that was loaded without a module is wired, too.
    """
    if _is_wired_as_it_is(container, name := function.__module__):
        return
    with _wiring:  # wiring goes through all functions of the module, and adds to a list
        if not _is_wired_as_it_is(container, name):
            # Only the name counts: dependency-injector notes a function's module when it decorates it.
            container.wire(modules=[sys.modules.get(name) or ModuleType(name)])


def _is_wired_as_it_is(container: Any, name: str) -> bool:
    """Whether the module of that name is wired, and not another one that was loaded under this name before."""
    module, wired = sys.modules.get(name), container.wired_to_modules
    return name in _names(wired) if module is None else module in wired


def hide_injected(run: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Give ``run``, which wraps ``function``, the signature and annotations that callers may see."""
    signature = signature_without_injected(function)
    taken = {*signature.parameters, "return"}
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: kind for name, kind in function.__annotations__.items() if name in taken}


def signature_without_injected(function: Callable[..., Any]) -> inspect.Signature:
    """What ``function`` takes from its callers; annotations are types, where their names are known."""
    hidden = injected(function)
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, SyntaxError, TypeError, AttributeError):  # names that only type checkers import
        signature = inspect.signature(function)
    return signature.replace(parameters=[each for name, each in signature.parameters.items() if name not in hidden])


def injected(function: Callable[..., Any]) -> dict[str, Any]:
    """What ``function`` asks dependency-injector for, by parameter: ``Provide[...]`` and the like.

    They stand as defaults, or in ``Annotated``.
    """
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType):
        return {}
    named = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    values = dict(zip(named[len(named) - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    found = {name: value for name, value in values.items() if is_marker(value)}
    for name, annotation in _annotations(function).items():
        if get_origin(annotation) is Annotated:
            found.update((name, part) for part in get_args(annotation)[1:] if is_marker(part))
    return found


def _annotations(function: FunctionType) -> dict[str, Any]:
    try:
        annotations = function.__annotations__
        if any("Provide" in str(annotation) for annotation in annotations.values()):
            return inspect.get_annotations(function, eval_str=True)
    except (NameError, SyntaxError, TypeError, AttributeError):  # names that only type checkers import
        return {}
    return annotations


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


def _is_wired(container: Any, module: str) -> bool:
    packages = _names(container.wired_to_packages)
    return module in _names(container.wired_to_modules) or any(f"{module}.".startswith(f"{each}.") for each in packages)


def _names(wired: Iterable[str | ModuleType]) -> set[str]:
    return {each if isinstance(each, str) else each.__name__ for each in wired}


def _option(configuration: Any, names: Iterable[Any]) -> Any:
    return reduce(getattr, names, configuration)


def _functions_of(modules: list[ModuleType]) -> Iterator[Callable[..., Any]]:
    """Functions that the modules define, in themselves or in their classes: as deep as dependency-injector wires."""
    for module in modules:
        name = module.__name__
        members = list(module.__dict__.values())
        # By type(), for isinstance() would wake up proxies that load something when they are looked at.
        classes = [member for member in members if issubclass(type(member), type) and member.__module__ == name]
        for member in chain(members, *(list(cls.__dict__.values()) for cls in classes)):
            function = member.__func__ if type(member) in (staticmethod, classmethod) else member
            if type(function) is FunctionType and function.__module__ == name:
                yield function
