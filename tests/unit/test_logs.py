"""Log lines as JSON, and the secrets that are in none."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from app_container import masking
from app_container.masking import Mask, hide_in_log, secrets_in
from app_container.settings import Settings
from wiring.json_lines import JsonLines
from wiring.lightrag.log_context import about

PASSWORD = 'it\'s \\a "sécret": \n1'  # what Python, JSON and addresses write in ways of their own
SETTINGS = Settings.model_validate(
    {
        "neo4j": {"password": PASSWORD},
        "lightrag": {
            "llm": {"options": {"api_key": "sk-123456789", "deep": [{"client_secret": "not-told-1"}]}},
            "environment": {"REDIS_URI": "redis://:kv-pass-word@host/0"},
        },
        "celery": {
            "broker_url": "amqp://guest:br%40ker-pass@host;amqp://guest:other@pass:word@host2",
            "result_backend": "redis://:backend-pass@host/0?ssl_password=in-a-query",
        },
    }
)
SECRETS = [
    "sk-123456789",
    "not-told-1",
    "br%40ker-pass",
    "br@ker-pass",
    "other@pass:word",
    "backend-pass",
    "kv-pass-word",
    "in-a-query",
]


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the logger of the tests writes, in a process that hides the secrets of ``SETTINGS``."""
    monkeypatch.setattr(masking, "_secrets", set())
    monkeypatch.setattr(masking, "_mask", Mask(()))
    make = logging.getLogRecordFactory()
    handler = logging.StreamHandler(written := io.StringIO())
    if request.param == "json":
        handler.setFormatter(JsonLines())
    monkeypatch.setattr(log, "handlers", [handler])
    hide_in_log(SETTINGS)
    yield written
    logging.setLogRecordFactory(make)


log = logging.getLogger("tests.logs")
log.propagate = False


@pytest.mark.parametrize("secret", [PASSWORD, *SECRETS])
def test_no_secret_is_in_a_line_however_it_is_logged(written: io.StringIO, secret: str) -> None:
    log.warning(f"said {secret}")
    log.warning("as JSON: %s", json.dumps({"it": secret}))
    log.warning("said %s", secret)
    log.warning("said %s", {"it": secret}, extra={"more": {"deep": [secret]}, "error": ValueError(secret)})
    try:
        raise ValueError(secret) from KeyError(secret)
    except ValueError:
        log.exception("failed", stack_info=True)
    said = written.getvalue()
    assert said.count("said ***") == 2
    assert "ValueError: ***" in said or 'ValueError: "***"' in said
    in_json = json.dumps(secret)[1:-1]
    for form in (secret, repr(secret)[1:-1], in_json, json.dumps(in_json)[1:-1]):
        assert form not in said


@pytest.mark.parametrize("written", ["json"], indirect=True)
def test_a_line_is_one_object_that_says_where_it_is_from_and_what_it_is_about(written: io.StringIO) -> None:
    before = datetime.now(UTC)
    with about("w", "d"):
        try:
            raise ValueError("a\nb")
        except ValueError:
            log.exception("it %s\nin two lines", "failed", extra={"customer": 7})
    with about("w"):
        log.warning("no document")
    log.warning("nothing")
    first, second, third = map(json.loads, written.getvalue().splitlines())
    exception = first.pop("exception")
    assert exception.startswith("Traceback")
    assert exception.endswith("ValueError: a\nb")
    time = datetime.fromisoformat(first.pop("time"))
    assert (time.utcoffset(), abs(time - before).days) == (before.utcoffset(), 0)
    known = {"level": "ERROR", "logger": "tests.logs", "message": "it failed\nin two lines"}
    here = {"process": "MainProcess", "pid": os.getpid(), "thread": "MainThread"}
    assert first == known | here | {"workspace": "w", "document_id": "d", "customer": 7}
    assert (second["workspace"], "document_id" in second) == ("w", False)
    assert third.keys() == {"time", *known, *here}


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("written", ["text"], indirect=True)
@pytest.mark.parametrize(
    ("message", "argument"), [("said %s", "it"), ("%d", "what does not fit, which its handlers tell")]
)
def test_a_record_without_a_secret_stays_as_it_is(message: str, argument: str) -> None:
    error = (ValueError, ValueError(), None)
    record = log.makeRecord("tests", logging.INFO, "", 0, message, (argument,), error)
    assert (record.msg, record.args, record.exc_info, record.exc_text) == (message, (argument,), error, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bolt://neo4j:7687, user 'neo4j', package neo4j", "bolt://neo4j:7687, user 'neo4j', package neo4j"),
        ("password=neo4j", "password=***"),
        ("{'password': 'neo4j', 'user': 'neo4j'}", "{'password': '***', 'user': 'neo4j'}"),
        ('{"NEO4J_PASSWORD": "neo4j"}', '{"NEO4J_PASSWORD": "***"}'),
        ("the Password neo4j is refused", "the Password *** is refused"),
        ("api-key: neo4j", "api-key: ***"),
        ("password=neo4jx", "password=neo4jx"),
        ("bolt://neo4j:neo4j@neo4j:7687", "bolt://neo4j:***@neo4j:7687"),
    ],
)
def test_a_short_secret_is_masked_only_where_it_must_be_one(text: str, expected: str) -> None:
    assert Mask(secrets_in(Settings.model_validate({"neo4j": {"password": "neo4j"}})))(text) == expected


@pytest.mark.parametrize("written", ["json"], indirect=True)
def test_a_queue_of_lightrag_tells_of_no_document_and_its_model_of_its_own(written: io.StringIO) -> None:
    from lightrag.utils import priority_limit_async_func_call

    async def answer(text: str) -> None:
        log.warning(text)
        raise ValueError(text)

    model = priority_limit_async_func_call(max_size=1)(answer)

    async def ask(document_id: str) -> None:
        with about("w", document_id), pytest.raises(ValueError, match=document_id):
            await model(document_id)

    async def ask_twice() -> None:
        await ask("first")
        await ask("second")
        await model.shutdown(graceful=False)

    lightrag = logging.getLogger("lightrag")
    before, lightrag.handlers = lightrag.handlers, log.handlers
    try:
        asyncio.run(ask_twice())
    finally:
        lightrag.handlers = before
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    told = {line["message"]: line.get("document_id") for line in lines if line["level"] != "INFO"}
    assert told.pop("first") == "first"
    assert told.pop("second") == "second"
    assert len(told) == 2
    assert set(told.values()) == {None}


DRIVER_LOG = """
import logging, sys
from app_container import create_container
logging.getLogger("neo4j").setLevel(int(sys.argv[1]))
create_container()
from wiring.lightrag import register_storages
register_storages()
import wiring.lightrag.storages, lightrag.kg.neo4j_impl
print(logging.getLogger("neo4j").level)
"""


@pytest.mark.parametrize(
    ("configured", "level"), [("", logging.NOTSET), ("", logging.WARNING), ("DEBUG", logging.INFO)]
)
def test_the_level_of_the_drivers_log_is_the_applications_or_the_configured_one(configured: str, level: int) -> None:
    command = [sys.executable, "-c", DRIVER_LOG, str(level)]
    environment = {**os.environ, "NEO4J_PASSWORD": "x", "NEO4J_LOG_LEVEL": configured}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert int(run.stdout) == (logging.DEBUG if configured else level)


CELERYS_LOG = """
import logging, sys
from celery import Celery
from app_container import create_container
from wiring.celery import setup

app = Celery("own", worker_log_format="%(levelname)s: %(message)s")
setup(app, create_container())
app.log.setup("WARNING", redirect_stdouts=True)
logging.info("too much")
logging.getLogger("celery.task").warning("of a task")
logging.warning("as it is wanted")
print("printed")
"""


@pytest.mark.parametrize("choice", ["text", "json"])
def test_celerys_level_and_a_format_of_your_own_hold_for_text(choice: str) -> None:
    environment = {**os.environ, "NEO4J_PASSWORD": "x", "LOG_FORMAT": choice}
    command = [sys.executable, "-c", CELERYS_LOG]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    lines = run.stderr.splitlines()
    if choice == "json":
        told: list[dict[str, Any]] = [json.loads(line) for line in lines]
        assert [line["message"] for line in told] == ["of a task", "as it is wanted", "printed"]
    else:
        assert lines[1:] == ["WARNING: as it is wanted", "WARNING: printed"]
        assert lines[0].endswith("of a task")
