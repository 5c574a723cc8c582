from __future__ import annotations

import asyncio
import json

import numpy as np
from lightrag.prompt import PROMPTS

from wiring.lightrag.offline import DIMENSION, complete, embed

TEXT = (
    "We run Celery with Redis. The `celery.app` module starts Celery workers, and Redis keeps the results.\n# Usage\n"
)


def extraction(text: str) -> str:
    prompt = PROMPTS["entity_extraction_user_prompt"].format(
        max_total_records=100, max_entity_records=40, completion_delimiter="<|COMPLETE|>", language="English",
        heading_context_block="", input_text=text,
    )  # fmt: skip
    return asyncio.run(complete(prompt))


def test_entities_and_relations_come_in_lightrags_format() -> None:
    lines = extraction(TEXT).splitlines()
    assert lines[-1] == "<|COMPLETE|>"
    rows = [line.split("<|#|>") for line in lines[:-1]]
    assert {row[1] for row in rows if row[0] == "entity"} == {"Celery", "Redis", "celery.app"}
    assert all(len(row) == {"entity": 4, "relation": 5}[row[0]] and all(row) for row in rows)
    assert ["relation", "Celery", "Redis", "mentioned together", "We run Celery with Redis."] in rows


def test_the_same_text_gives_the_same_answer() -> None:
    assert extraction(TEXT) == extraction(TEXT)


def test_a_second_look_finds_nothing_more() -> None:
    again = complete("continue", history_messages=[{"role": "user", "content": "x"}])
    assert asyncio.run(again) == "<|COMPLETE|>"


def test_keywords_are_json() -> None:
    prompt = PROMPTS["keywords_extraction"].format(query="How does Celery use Redis?", examples="", language="English")
    found = json.loads(asyncio.run(complete(prompt, response_format={"type": "json_object"})))
    assert {"Celery", "Redis"} <= set(found["low_level_keywords"])


def test_descriptions_are_summarised_without_repeating() -> None:
    rows = "\n".join(json.dumps({"Description": text}) for text in ("One.", 'Two "2".', "One."))
    prompt = PROMPTS["summarize_entity_descriptions"].format(
        description_type="Entity", description_name="X", description_list=rows, summary_length=100, language="English"
    )
    assert asyncio.run(complete(prompt)) == 'One. Two "2".'


def test_embeddings_are_unit_vectors_and_alike_for_alike_texts() -> None:
    vectors = asyncio.run(embed(["Celery runs tasks", "tasks run by Celery", "a recipe for soup", "", "!"]))
    assert vectors.shape == (5, DIMENSION)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert vectors[0] @ vectors[1] > 0.6
    assert vectors[0] @ vectors[2] < 0.3
