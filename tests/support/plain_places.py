"""Places that need nothing but Python: a script, threads, ``asyncio.run``."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from tests.support.places import Place, ask, ask_async, own_log, show, visiting


async def main() -> list[list[str]]:
    return await asyncio.gather(*(ask_async("asyncio.run") for _ in range(10)))


if __name__ == "__main__":
    log = own_log()
    with visiting(Place("a script"), log) as script:
        script.answers = [ask("script") for _ in range(10)]
    with visiting(Place("a thread", "10 threads"), log) as threads, ThreadPoolExecutor(10) as pool:
        threads.answers = list(pool.map(ask, ["threads"] * 10))
    with visiting(Place("`asyncio.run(main())`", "10 coroutines", loop="`main()`"), log) as run:
        run.answers = asyncio.run(main())
    show([script, threads, run])
