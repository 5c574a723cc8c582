"""The demo's flow: ``python -m wiring.demo.prefect_flow LIMIT WORKSPACE RESULT-FILE QUESTION...``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import TypedDict

from prefect import flow

from wiring.corpus import installed_packages
from wiring.prefect import IngestFailedError, IngestReport, insert_all, query
from wiring.runner import quiet_lightrag


class Seen(TypedDict):
    """What the flow brings back."""

    report: IngestReport
    answers: dict[str, str]


@flow(name="demo")
async def demo(limit: int, workspace: str, questions: list[str]) -> Seen:
    """Put the descriptions of the installed packages into the graph, and ask questions.

    Args:
        limit: how many documents at the most.
        workspace: where they belong.
        questions: what to ask.
    """
    try:
        report = await insert_all(installed_packages(limit), workspace)
    except IngestFailedError as error:
        report = error.report  # the demo shows what failed, and goes on
    answers = {question: (await query(question, workspace=workspace))["answer"] for question in questions}
    return Seen(report=report, answers=answers)


if __name__ == "__main__":
    limit, workspace, result_file, *questions = sys.argv[1:]
    log = logging.getLogger("app_container")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)  # drivers are counted in it
    log.propagate = False  # Prefect prints as well
    quiet_lightrag()
    Path(result_file).write_text(json.dumps(asyncio.run(demo(int(limit), workspace, questions))))
