"""A language model and an embedding that need no network and no download: rules instead of learning.

They answer LightRAG's prompts in the formats it expects, the same way each time, so that demos and tests run the real
pipeline anywhere and can compare graphs. They do not understand text: for answers worth reading, name a real model in
``config.yaml``.
"""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSION = 256
"""Length of the vectors ``embed`` returns."""

_MAX_ENTITIES = 20
_MAX_RELATIONS = 30
_MAX_DESCRIPTION = 240
_MAX_SUMMARY = 1200

_FENCED = re.compile(r"---Input Text---\s*```\n(.*)\n```\s*---Output---", re.DOTALL)
_NOISE = re.compile(
    r"```.*?```|<[^>]+>|https?://\S+|^\s*(\.\. |:\w+:).*$|\|[^|\n]{1,40}\|",
    re.DOTALL | re.MULTILINE,
)
_BADGE = re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)")
_LINK = re.compile(r"!?\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])?")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_NAME = re.compile(r"`([A-Za-z_][\w.-]{1,38}\w)`|\b([A-Z][A-Za-z0-9]+(?:[ -][A-Z][A-Za-z0-9]+){0,2}|[a-z]+[A-Z]\w+)\b")
_WORD = re.compile(r"[^\W_]{3,}")
_CONTEXT_JSON = re.compile(r"```json\n(.*?)\n```", re.DOTALL)

_STOP_WORDS = frozenset(
    """
    a about above after again all also although an and another any are as at be because been before below both but
    by can could did do does during each every few first for from further get had has have having he help her here
    his how however i if in into is it its just last let like made make many may more most much must my new next no
    not note now of off on once one only or other our out over own please read same second see she should since so
    some such than that the their them then there these they this those through to too two under until up use used
    using very want was we were what when where which while who whose why will with within without would yes you
    your
    """.split()  # noqa: SIM905 - a list of 150 strings would be read by nobody
)


async def complete(
    prompt: str,
    system_prompt: str | None = None,
    history_messages: Sequence[dict[str, Any]] | None = None,
    **options: Any,
) -> str:
    """Answer one of LightRAG's prompts: extract, glean, summarise, find keywords, or answer a question.

    Args:
        prompt: LightRAG's prompt.
        system_prompt: for a question, the prompt that carries the context.
        history_messages: the conversation so far; only a second look at a chunk ("gleaning") has one here.
        options: ``response_format`` tells a request for keywords; the rest is ignored.
    """
    if text := _FENCED.search(prompt):
        return _extract(text.group(1))
    if history_messages:
        return "<|COMPLETE|>"
    if "Description List" in prompt:
        return _summarise(prompt)
    if options.get("response_format"):
        return _keywords(prompt)
    return _answer(prompt, system_prompt or "")


async def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Hash the words and letter triples of each text into a unit vector.

    Args:
        texts: n texts.

    Returns:
        Array of shape (n, ``DIMENSION``), float32. Texts that share words get similar vectors.
    """
    import numpy as np

    vectors = np.zeros((len(texts), DIMENSION), dtype=np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        for word in _WORD.findall(text.lower()):
            vector[zlib.crc32(word.encode()) % DIMENSION] += 1.0
            for start in range(len(word) - 2):
                vector[zlib.crc32(word[start : start + 3].encode()) % DIMENSION] += 0.25
        if not vector.any():
            vector[0] = 1.0
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _extract(text: str) -> str:
    plain = _NOISE.sub(" ", _LINK.sub(r"\1", _BADGE.sub(" ", text)))
    first_seen: dict[str, str] = {}
    count: Counter[str] = Counter()
    pairs: dict[tuple[str, str], str] = {}
    for sentence in filter(None, (" ".join(part.split()) for part in _SENTENCE.split(plain))):
        names = list(dict.fromkeys(_names(sentence)))
        for name in names:
            first_seen.setdefault(name, sentence)
        count.update(names)
        for source, target in itertools.pairwise(names):
            pairs.setdefault((source, target), sentence)
    kept = [name for name, _ in count.most_common(_MAX_ENTITIES)]
    lines = [f"entity<|#|>{name}<|#|>{_type(name)}<|#|>{_shorten(first_seen[name])}" for name in kept]
    related = [(pair, sentence) for pair, sentence in pairs.items() if set(pair) <= set(kept)]
    lines += [
        f"relation<|#|>{source}<|#|>{target}<|#|>mentioned together<|#|>{_shorten(sentence)}"
        for (source, target), sentence in related[:_MAX_RELATIONS]
    ]
    return "\n".join([*lines, "<|COMPLETE|>"])


def _names(sentence: str) -> Iterator[str]:
    for match in _NAME.finditer(sentence):
        words = (match.group(1) or match.group(2)).split()
        while words and words[0].lower() in _STOP_WORDS:
            words = words[1:]
        name = " ".join(words)
        # A capital at the start of a sentence or headline makes no name.
        is_opening = name == match.group(2) and name.istitle() and not _WORD.search(sentence[: match.start()])
        if len(name) > 1 and not is_opening:
            yield name


def _type(name: str) -> str:
    return "Artifact" if re.search(r"[a-z][A-Z]|[_.]", name) or name.islower() else "Concept"


def _shorten(text: str) -> str:
    clean = text.replace("<|", "< |").strip("#*-> |=")
    return clean[:_MAX_DESCRIPTION] or "mentioned"


def _summarise(prompt: str) -> str:
    descriptions = dict.fromkeys(re.findall(r'"Description":\s*"((?:[^"\\]|\\.)*)"', prompt))
    return " ".join(json.loads(f'"{text}"') for text in descriptions)[:_MAX_SUMMARY] or "No description."


def _keywords(prompt: str) -> str:
    question = prompt.rpartition("User Query:")[2].partition("---Output---")[0]
    words = [word for word in _WORD.findall(question) if word.lower() not in _STOP_WORDS]
    names = list(dict.fromkeys([*_names(question), *words]))
    return json.dumps({"high_level_keywords": words[:8], "low_level_keywords": names[:8]})


def _answer(question: str, context: str) -> str:
    wanted = {word.lower() for word in _WORD.findall(question)} - _STOP_WORDS
    facts: dict[str, int] = {}
    for block in _CONTEXT_JSON.findall(context):
        for name, description in filter(None, map(_fact, block.splitlines())):
            score = 3 * _common(wanted, name) + _common(wanted, description)
            if score:
                facts.setdefault(f"{name}: {description}", score)
    best = sorted(facts, key=lambda fact: -facts[fact])[:5]
    if not best:
        return "The context says nothing about that."
    return "\n".join(["From the graph:", *(f"- {fact}" for fact in best)])


def _common(wanted: set[str], text: str) -> int:
    return len(wanted & {word.lower() for word in _WORD.findall(text)})


def _fact(line: str) -> tuple[str, str] | None:
    """Name and description in one line of the context LightRAG hands over, if it holds an entity or a relation."""
    try:
        row = json.loads(line.rstrip(","))
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    name = row.get("entity") or " - ".join(filter(None, [row.get("entity1"), row.get("entity2")]))
    description = str(row.get("description", "")).replace("<SEP>", " / ")
    return (name, _shorten(" ".join(description.split()))) if name else None
