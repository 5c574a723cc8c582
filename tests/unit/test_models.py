from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from app_container import ConfigurationError
from app_container.settings import EmbeddingSettings, LLMSettings, load_settings
from tests.support.openai_server import API_KEY, OpenAIServer, config_with_openai
from wiring.lightrag.models import bundled_tokenizer, embedding_function, llm_function


def test_an_openai_compatible_server_is_used_with_its_url_and_key(openai_server: OpenAIServer) -> None:
    Path("config.yaml").write_text(config_with_openai(openai_server.base_url))
    settings = load_settings("config.yaml", {}).lightrag
    llm, embedding = llm_function(settings.llm), embedding_function(settings.embedding)
    assert asyncio.run(llm("What?", system_prompt="You are terse.")) == "The context says nothing about that."
    assert asyncio.run(embedding(["one", "two"])).shape == (2, 256)
    (completion_path, completion), (embedding_path, embedded) = openai_server.requests
    assert (completion_path, completion["model"]) == ("/v1/chat/completions", "small")
    assert [message["role"] for message in completion["messages"]] == ["system", "user"]
    assert (embedding_path, embedded["model"], len(embedded["input"])) == ("/v1/embeddings", "vectors", 2)


def test_keys_are_shown_nowhere(openai_server: OpenAIServer, caplog: pytest.LogCaptureFixture) -> None:
    Path("config.yaml").write_text(config_with_openai(openai_server.base_url))
    settings = load_settings("config.yaml", {}).lightrag
    caplog.set_level(logging.DEBUG)
    llm, embedding = llm_function(settings.llm), embedding_function(settings.embedding)
    assert API_KEY not in repr(llm) + repr(embedding) + repr(settings) + caplog.text


def test_a_function_without_a_model_argument_is_called_with_the_prompt() -> None:
    llm = llm_function(LLMSettings())
    assert asyncio.run(llm("What?")) == "The context says nothing about that."


@pytest.mark.parametrize(
    ("function", "found"),
    [
        ("no.such_module.f", "'no.such_module.f' cannot be imported: ModuleNotFoundError: No module named 'no'"),
        ("wiring.lightrag.offline.missing", "cannot be imported: AttributeError: "),
        ("wiring.lightrag.offline.DIMENSION", "'wiring.lightrag.offline.DIMENSION' is not a function"),
    ],
)
def test_a_function_that_is_not_there_is_told_with_its_setting(function: str, found: str) -> None:
    with pytest.raises(ConfigurationError, match=r"lightrag\.llm\.function") as caught:
        llm_function(LLMSettings(function=function))
    assert found in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"lightrag\.embedding\.function"):
        embedding_function(EmbeddingSettings(function=function))


def test_the_tokenizer_needs_no_download_and_is_exact() -> None:
    text = "LightRAG übt: 知识图谱 <|endoftext|> \n\n done."
    tokenizer = bundled_tokenizer()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.encode("hello world") == [24912, 2375]  # o200k_base, as OpenAI publishes it
