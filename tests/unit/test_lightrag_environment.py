"""What LightRAG's storages read from the environment may stand in config.yaml."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightrag.kg.shared_storage import finalize_share_data, initialize_share_data

from app_container.errors import ConfigurationError
from app_container.settings import Settings, load_settings
from wiring.lightrag.workspaces import build_lightrag

CONFIG = """
neo4j: {password: x}
lightrag:
  kv_storage: RedisKVStorage
  vector_storage: Neo4JVectorStorage
  doc_status_storage: RedisDocStatusStorage
  environment: {REDIS_URI: "redis://:${REDIS_PASSWORD}@localhost:6379/0"}
"""


def load(text: str, environ: dict[str, str] | None = None) -> Settings:
    Path("config.yaml").write_text(text)
    return load_settings("config.yaml", environ or {})


@pytest.fixture
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URI", "redis://elsewhere:6379/0")  # also so that it is put back
    initialize_share_data()
    yield
    finalize_share_data()


@pytest.mark.usefixtures("_clean")
def test_storages_read_it() -> None:
    rag = build_lightrag(load(CONFIG, {"REDIS_PASSWORD": "s3cret"}).lightrag, "default")
    assert os.environ["REDIS_URI"] == "redis://:s3cret@localhost:6379/0"
    assert {rag.full_docs._redis_url, rag.doc_status._redis_url} == {os.environ["REDIS_URI"]}


def test_it_is_secret() -> None:
    settings = load(CONFIG, {"REDIS_PASSWORD": "s3cret"})
    assert "s3cret" not in repr(settings) + repr(settings.lightrag.environment)
    with pytest.raises(ConfigurationError) as raised:
        load("neo4j: {password: x}\nlightrag: {environment: s3cret}")
    assert "s3cret" not in str(raised.value)


def test_what_cannot_be_a_variable_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected the name of an environment variable"):
        load("neo4j: {password: x}\nlightrag: {environment: {A=B: text}}")
