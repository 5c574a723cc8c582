import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
PROJECT_TABLE: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]

SETTINGS = (
    "NEO4J_", "LIGHTRAG_", "CELERY_", "WORKER_LOOP_", "APP_CONTAINER_", "OPENAI_", "PREFECT_", "METRICS_", "LOG_",
    "OPENTELEMETRY_", "OTEL_",
)  # fmt: skip
"""How the names of environment variables begin that would change what is tested."""
