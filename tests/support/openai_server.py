"""A small server that speaks OpenAI's protocol and answers with the offline model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from wiring.lightrag.offline import complete, embed

API_KEY = "sk-test-0123"


class OpenAIServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, Any]]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OpenAIServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body))
        if self.headers["Authorization"] != f"Bearer {API_KEY}":
            self._send(401, {"error": {"message": "wrong key", "type": "invalid_request_error", "code": "401"}})
        elif self.path == "/v1/embeddings":
            vectors = asyncio.run(embed(body["input"])).tolist()
            data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
            self._send(200, {"object": "list", "model": body["model"], "data": data, "usage": _usage()})
        else:
            self._send(200, self._completion(body))

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        messages = body["messages"]
        system = "\n".join(m["content"] for m in messages if m["role"] == "system")
        history = [m for m in messages[:-1] if m["role"] != "system"]
        text = asyncio.run(
            complete(messages[-1]["content"], system, history, response_format=body.get("response_format"))
        )
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice],
                "usage": _usage()}  # fmt: skip

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _usage() -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


@pytest.fixture
def openai_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def config_with_openai(base_url: str, *, api_key: str = API_KEY) -> str:
    options = f'{{base_url: "{base_url}", api_key: "${{OPENAI_API_KEY:{api_key}}}"}}'
    return f"""
neo4j:
  uri: ${{NEO4J_URI:bolt://127.0.0.1:1}}
  password: ${{NEO4J_PASSWORD:x}}
lightrag:
  workspace: ${{LIGHTRAG_WORKSPACE:default}}
  working_dir: ${{LIGHTRAG_WORKING_DIR:rag}}
  llm: {{function: lightrag.llm.openai.openai_complete_if_cache, model: small, options: {options}}}
  embedding: {{function: lightrag.llm.openai.openai_embed, model: vectors, dimension: 256, options: {options}}}
"""
