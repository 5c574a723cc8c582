"""The model functions named in ``config.yaml``, in the shape LightRAG calls them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from app_container.errors import ConfigurationError, Problem, describe

if TYPE_CHECKING:
    from lightrag.utils import EmbeddingFunc, Tokenizer

    from app_container.settings import EmbeddingSettings, LightRAGSettings, LLMSettings

LLM = Callable[..., Coroutine[Any, Any, Any]]


def llm_function(settings: LLMSettings) -> LLM:
    """The function ``lightrag.llm.function`` names, with its model and options bound.

    LightRAG's adapters come in two shapes: some take the model as their first argument, some read it from LightRAG.

    Raises:
        ConfigurationError: there is no such function.
    """
    function = _load(settings.function, "lightrag.llm.function")
    options = _reveal(settings.options)
    takes_model = next(iter(inspect.signature(function).parameters), "") == "model"

    # A closure, not functools.partial: LightRAG logs its arguments, and a partial shows what it binds.
    async def llm(prompt: str, **kwargs: Any) -> Any:
        arguments = (settings.model, prompt) if takes_model else (prompt,)
        return await function(*arguments, **{**kwargs, **options})

    return llm


def model_calls_at_once(settings: LightRAGSettings) -> dict[str, int]:
    """How many calls of each model may run at once in all processes of a worker together, by LightRAG's group names.

    The numbers are those LightRAG has for one process: from ``lightrag.options``, its environment, or its defaults.
    """
    from lightrag import LightRAG
    from lightrag.llm_roles import ROLES
    from lightrag.utils import get_env_value

    def limit(field: str) -> int:
        return int(settings.options.get(field) or LightRAG.__dataclass_fields__[field].default)

    llm = limit("llm_model_max_async")
    limits = {f"llm:{role.name}": get_env_value(f"{role.env_prefix}_MAX_ASYNC_LLM", llm, int) for role in ROLES}
    return limits | {"embedding": limit("embedding_func_max_async"), "rerank": limit("rerank_model_max_async")}


def embedding_function(settings: EmbeddingSettings) -> EmbeddingFunc:
    """The function ``lightrag.embedding.function`` names, as LightRAG's ``EmbeddingFunc``.

    Raises:
        ConfigurationError: there is no such function.
    """
    from lightrag.utils import EmbeddingFunc

    function = _load(settings.function, "lightrag.embedding.function")
    function = getattr(function, "func", function)  # LightRAG's own are wrapped, with a dimension of their own
    options = _reveal(settings.options)
    if "model" in inspect.signature(function).parameters:
        options.setdefault("model", settings.model)

    async def embed(texts: list[str]) -> Any:
        return await function(texts, **options)

    return EmbeddingFunc(
        embedding_dim=settings.dimension,
        max_token_size=settings.max_token_size,
        func=embed,
        model_name=settings.model,
    )


@lru_cache(maxsize=1)
def bundled_tokenizer() -> Tokenizer:
    """OpenAI's ``o200k_base`` tokenizer with its vocabulary from a package.

    LightRAG's default has the same vocabulary, but downloads it. Loading takes a second; it is done once per process.
    """
    import bpe_openai
    from lightrag.utils import Tokenizer

    encoding = bpe_openai.get_encoding("o200k_base")

    class Vocabulary:
        """Immutable after loading, so safe to share among threads and copies, as LightRAG requires."""

        def encode(self, content: str) -> list[int]:
            tokens: list[int] = encoding.encode_ordinary(content)
            return tokens

        def decode(self, tokens: list[int]) -> str:
            text: str = encoding.decode(tokens)
            return text

        def __deepcopy__(self, memo: dict[int, Any]) -> Vocabulary:
            return self

    return Tokenizer("o200k_base", Vocabulary())


def _load(dotted_path: str, key: str) -> Callable[..., Any]:
    module, _, name = dotted_path.rpartition(".")
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 - importing somebody else's module can raise anything
        found = f"{dotted_path!r} cannot be imported: {describe(error)}"
        fix = "name a function by its full dotted path, and install its package"
        raise ConfigurationError(Problem("configuration", key, (), found, fix)) from None
    if callable(function):
        return cast(Callable[..., Any], function)
    found = f"{dotted_path!r} is not a function"
    raise ConfigurationError(Problem("configuration", key, (), found, "name a function by its full dotted path"))


def _reveal(options: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.get_secret_value()
        if isinstance(value, SecretStr)
        else _reveal(value)
        if isinstance(value, dict)
        else value
        for key, value in options.items()
    }
