"""A function for each provider that returns what it was given; as a script, asks them in a Prefect flow and tasks."""

from __future__ import annotations

import json
from collections.abc import Callable

from dependency_injector.wiring import Provide, inject

from app_container import Container, create_container

PROVIDERS = sorted(set(Container.providers) - {"config"})


def _asking(name: str) -> Callable[[], object]:
    @inject
    def ask(value: object = Provide[name]) -> object:
        return value

    return ask


ASK = {name: _asking(name) for name in PROVIDERS}


def main() -> None:
    from prefect import flow, task

    container = create_container(wire=[__name__])

    @task
    def in_a_task(name: str) -> object:
        return ASK[name]()

    @task
    async def in_an_async_task(name: str) -> object:
        return ASK[name]()

    @flow
    def in_a_flow(name: str) -> list[object]:
        return [ASK[name](), in_a_task(name), in_a_task.submit(name).result(), in_an_async_task.submit(name).result()]

    answers = {}
    for name in PROVIDERS:
        with getattr(container, name).override(f"a fake {name}"):
            answers[name] = in_a_flow(name)
    print(json.dumps(answers))  # noqa: T201


if __name__ == "__main__":
    main()
