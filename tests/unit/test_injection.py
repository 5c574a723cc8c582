"""Modules that ask for injection and were never wired are told by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dependency_injector import containers, providers
from dependency_injector.wiring import Provide

from app_container import Container
from app_container.errors import NotWiredError
from app_container.injection import check_wired, ensure_wired, signature_without_injected

ASKING = {
    "a default": "@inject\ndef ask(driver=Provide[Container.sync_driver]): return driver",
    "a keyword": "@inject\nasync def ask(*, driver=Provide[Container.async_driver]): return driver",
    "an annotation": "@inject\ndef ask(driver: Annotated[object, Provide[Container.driver]]): return driver",
    "a part": "@inject\ndef ask(neo4j=Provide[Container.settings.provided.neo4j]): return neo4j",
    "a setting": "@inject\ndef ask(uri=Provide[Container.config.neo4j.uri]): return uri",
    "a provider": "@inject\ndef ask(driver=Provider[Container.driver]): return driver",
    "closing": "@inject\ndef ask(driver=Closing[Provide[Container.sync_driver]]): return driver",
    "a name": "@inject\ndef ask(driver=Provide['driver']): return driver",
    "without inject": "def ask(driver=Provide[Container.driver]): return driver",
    "a method": "class Asks:\n    @inject\n    def ask(self, driver=Provide[Container.driver]): return driver",
    "a static method": (
        "class Asks:\n    @staticmethod\n    @inject\n    def ask(driver=Provide[Container.driver]): return driver"
    ),
}
NOT_ASKING = {
    "nothing": "def ask(driver=None): return driver",
    "another container": "@inject\ndef ask(x=Provide[Other.thing]): return x",
    "another name": "@inject\ndef ask(x=Provide['unheard_of']): return x",
    "somebody else's function": "from tests.unit.test_injection import imported as ask",
}


class Other(containers.DeclarativeContainer):
    thing = providers.Object(1)


def imported(driver: object = None) -> object:
    return driver


def define(module: ModuleType, source: str) -> None:
    """Put into ``module`` what a user would have written there."""
    exec(compile(source, module.__name__, "exec", dont_inherit=True), module.__dict__)  # noqa: S102


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name in [name for name in sys.modules if name.startswith("tests.") and name != __name__]:
        monkeypatch.delitem(sys.modules, name)  # other tests ask for injection, too
    module = sys.modules["somebodys_module"] = ModuleType("somebodys_module")
    define(
        module,
        "from typing import Annotated\n"
        "from dependency_injector.wiring import Closing, Provide, Provider, inject\n"
        "from app_container import Container\nfrom tests.unit.test_injection import Other",
    )
    yield module
    sys.modules.pop("somebodys_module", None)


@pytest.mark.parametrize("how", ASKING)
def test_who_asks_and_was_not_wired_is_told_by_name(module: ModuleType, container: Container, how: str) -> None:
    define(module, ASKING[how])
    name = "Asks.ask" if "method" in how else "ask"
    expected = (
        f"not wired to the container: somebodys_module ({name} asks for injection); call "
        "create_container(wire=['somebodys_module']) or container.wire(modules=['somebodys_module']) before it is used"
    )
    with pytest.raises(NotWiredError) as caught:
        check_wired(container)
    assert str(caught.value) == expected
    container.wire(modules=["somebodys_module"])
    check_wired(container)


@pytest.mark.parametrize("how", NOT_ASKING)
def test_who_does_not_ask_this_container_is_left_alone(module: ModuleType, container: Container, how: str) -> None:
    define(module, NOT_ASKING[how])
    check_wired(container)


def test_a_container_with_more_in_it_looks_for_all_of_it(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Container):
        more = providers.Object(1)

    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    module.__dict__["Mine"] = Mine
    define(module, "@inject\ndef ask(more=Provide[Mine.more]): return more")
    with pytest.raises(NotWiredError, match="somebodys_module"):
        check_wired(Mine())
    define(module, "@inject\ndef ask(driver=Provide[Container.driver]): return driver")
    with pytest.raises(NotWiredError, match="somebodys_module"):
        check_wired(Mine())


def test_modules_of_a_wired_package_are_wired(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "somebodys_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text(
        "from dependency_injector.wiring import Provide, inject\nfrom app_container import Container\n"
        + ASKING["a default"]
    )
    for name in [name for name in sys.modules if name.startswith("tests.") and name != __name__]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("somebodys_package.part")
    try:
        with pytest.raises(NotWiredError, match="somebodys_package"):
            check_wired(container)
        container.wire(packages=["somebodys_package"])
        check_wired(container)
    finally:
        container.unwire()
        del sys.modules["somebodys_package.part"], sys.modules["somebodys_package"]


def test_strange_things_among_the_modules_are_left_alone(
    module: ModuleType, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lazy:
        @property  # type: ignore[misc]  # as proxies have it
        def __class__(self) -> type:
            raise RuntimeError("looked at too early")

    module.__dict__["lazy"] = Lazy()
    monkeypatch.setitem(sys.modules, "blocked", None)  # Python's way to forbid an import
    monkeypatch.setitem(sys.modules, "replaced", object())
    check_wired(container)


def ask_in(module: ModuleType) -> Any:
    define(module, ASKING["a default"])
    return module.__dict__["ask"]


def wired_to(container: Any) -> list[str]:
    return [each.__name__ for each in container.wired_to_modules]


def test_a_function_is_wired_when_it_runs_also_in_a_module_that_is_loaded_anew(
    module: ModuleType, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    with container.sync_driver.override("a fake"):
        first = ask_in(module)
        for _ in range(2):
            ensure_wired(container, first)
            assert first() == "a fake"
        assert wired_to(container).count(module.__name__) == 1
        again = ModuleType(module.__name__)
        again.__dict__.update(module.__dict__, __name__=module.__name__)
        monkeypatch.setitem(sys.modules, module.__name__, again)
        second = ask_in(again)
        ensure_wired(container, second)
        assert second() == "a fake"


def test_a_function_that_was_loaded_without_a_module_is_wired(
    module: ModuleType, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ask_in(module)
    monkeypatch.delitem(sys.modules, module.__name__)
    for _ in range(2):
        ensure_wired(container, ask)
    assert wired_to(container).count(module.__name__) == 1
    with container.sync_driver.override("a fake"):
        assert ask() == "a fake"


def test_what_callers_see_of_a_function_has_types_and_nothing_that_is_injected() -> None:
    def ask(name: str, times: int = 1, driver: Any = Provide[Container.driver]) -> Unheard | None: ...  # type: ignore[name-defined]  # noqa: F821

    assert str(signature_without_injected(ask)) == "(name: 'str', times: 'int' = 1) -> 'Unheard | None'"
    ask.__annotations__["return"] = "None"
    assert str(signature_without_injected(ask)) == "(name: str, times: int = 1) -> None"
