"""What ``config.yaml`` may say: names, types, bounds and defaults, and the one function that reads it.

``config.yaml`` in the project's root shows each setting with a comment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError

from app_container.certificates import VERIFIED, fault_of_certificates
from app_container.config_file import PlainText, find_config, read_config
from app_container.errors import ConfigurationError
from app_container.explain import explain
from app_container.masking import is_secret
from app_container.password_file import PasswordInFile

URI_SCHEMES = ("neo4j", "neo4j+s", "neo4j+ssc", "bolt", "bolt+s", "bolt+ssc")
MAX_WORKSPACE_LENGTH = 128
GraphStorage = Literal["Neo4JHybridStorage", "Neo4JSyncStorage", "Neo4JAsyncStorage", "Neo4JStorage"]


def _check_uri(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in URI_SCHEMES:
        raise PydanticCustomError(
            "uri", "an address that starts with one of {schemes}", {"schemes": ":// ".join(URI_SCHEMES) + "://"}
        )
    if "@" in rest:
        raise PydanticCustomError("uri", "an address without user and password, which have settings of their own")
    if "?" in rest and scheme.startswith("bolt"):  # with neo4j:// it is the routing context
        raise PydanticCustomError("uri", "an address without '?' and what follows; options have settings of their own")
    if not rest.strip("/"):
        raise PydanticCustomError("uri", "an address with a host, such as bolt://localhost:7687", {})
    return uri


def is_workspace_name(name: str) -> bool:
    """Whether ``name`` can be a workspace, which becomes a label in Neo4j and a folder."""
    is_short = 0 < len(name) <= MAX_WORKSPACE_LENGTH
    return is_short and name not in (".", "..") and all(c.isalnum() or c in "_-." for c in name)


def _check_workspace(name: str) -> str:
    if not is_workspace_name(name):
        raise PydanticCustomError("workspace", "a name of letters, digits, '_', '-' and '.'")
    return name


def _check_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise PydanticCustomError("variable", "the name of an environment variable")
    return name


def _check_dotted_path(path: str) -> str:
    names = path.split(".")
    if len(names) < 2 or not all(name.isidentifier() for name in names):  # noqa: PLR2004 - a module and a function
        raise PydanticCustomError("dotted_path", "the dotted path of a function, such as package.module.function")
    return path


def _check_broker_url(url: str) -> str:
    if not re.match(r"\w[\w+]*://", url):
        raise PydanticCustomError("broker_url", "an address such as redis://localhost:6379/0, or filesystem://")
    return url


def _check_pushgateway_url(url: str) -> str:
    if not re.match(r"https?://[^@]+$", url):
        raise PydanticCustomError(
            "pushgateway_url", "an address such as http://localhost:9091, without user and password"
        )
    return url


def _free_form(value: Any) -> Any:
    """Give text written without quotes its YAML type, and hide what is secret, in settings that take anything."""
    if isinstance(value, dict):
        return {
            str(key): SecretStr(item) if isinstance(item, str) and is_secret(str(key)) else _free_form(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_free_form(item) for item in value]
    return value.typed() if isinstance(value, PlainText) else value


Options = Annotated[dict[str, Any], BeforeValidator(_free_form), Field(repr=False)]
Workspace = Annotated[str, Field(min_length=1, max_length=MAX_WORKSPACE_LENGTH), AfterValidator(_check_workspace)]
DottedPath = Annotated[str, AfterValidator(_check_dotted_path)]
Variable = Annotated[str, AfterValidator(_check_variable)]


def _keep_its_file(value: Any, read: ValidatorFunctionWrapHandler) -> SecretStr:
    if isinstance(value, PasswordInFile):
        return value
    secret: SecretStr = read(value)
    return secret


Password = Annotated[SecretStr, Field(min_length=1), WrapValidator(_keep_its_file)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Neo4jSettings(_Section):
    """Where Neo4j is, and the options of every driver; names, units and meaning are the driver's own."""

    uri: Annotated[str, AfterValidator(_check_uri)] = "bolt://localhost:7687"
    username: str = Field("neo4j", min_length=1)
    password: Password
    database: str = Field("neo4j", min_length=1)
    trusted_certificates: Path | None = None
    max_connection_pool_size: PositiveInt = 50
    connection_acquisition_timeout: PositiveFloat = 60.0
    connection_timeout: PositiveFloat = 30.0
    connection_write_timeout: PositiveFloat = 30.0
    max_connection_lifetime: PositiveFloat = 3600.0
    liveness_check_timeout: NonNegativeFloat | None = None
    max_transaction_retry_time: NonNegativeFloat = 30.0
    transaction_timeout: PositiveFloat = 60.0
    check_timeout: PositiveFloat = 10.0
    keep_alive: bool = True
    leak_detection_threshold: NonNegativeFloat = 120.0
    notifications_min_severity: Literal["OFF", "WARNING", "INFORMATION"] = "OFF"

    @field_validator("trusted_certificates")
    @classmethod
    def _can_be_used(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        scheme = info.data.get("uri", "bolt+s://").partition("://")[0]  # one that is wrong is told already
        if scheme not in VERIFIED:
            raise PydanticCustomError(
                "not_verified",
                "nothing, for with {scheme}:// no certificate is verified; set neo4j.uri to {schemes}",
                {"scheme": scheme, "schemes": " or ".join(f"{scheme}://..." for scheme in VERIFIED)},
            )
        if (fault := fault_of_certificates(path)) is not None:
            raise PydanticCustomError(
                "certificates", "a PEM file with the certificates of CAs; it {fault}", {"fault": fault}
            )
        return path.absolute()


class LLMSettings(_Section):
    """The function LightRAG calls as its LLM."""

    function: DottedPath = "wiring.lightrag.offline.complete"
    model: str = "offline"
    options: Options = {}


class EmbeddingSettings(_Section):
    """The function LightRAG calls for embeddings: ``dimension`` floats for each text."""

    function: DottedPath = "wiring.lightrag.offline.embed"
    model: str = "offline"
    dimension: PositiveInt = 256
    max_token_size: PositiveInt = 8192
    options: Options = {}


class LightRAGSettings(_Section):
    """How LightRAG is built, and what a document may cost (bytes, seconds)."""

    workspace: Workspace = "default"
    working_dir: Path = Path(".lightrag/rag")
    graph_storage: GraphStorage = "Neo4JHybridStorage"
    kv_storage: str = "JsonKVStorage"
    vector_storage: str = "NanoVectorDBStorage"
    doc_status_storage: str = "JsonDocStatusStorage"
    environment: dict[Variable, SecretStr] = Field({}, repr=False)
    llm: LLMSettings = LLMSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    options: Options = {}
    max_document_bytes: PositiveInt = 4_000_000
    document_timeout: PositiveFloat = 600.0
    lease_term: float = Field(15.0, ge=1.0)


class WorkerLoopSettings(_Section):
    """The event loop of a worker process; times in seconds."""

    shutdown_timeout: PositiveFloat = 10.0


class MetricsSettings(_Section):
    """Where the figures of a worker's processes go; times in seconds."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    host: str = Field("127.0.0.1", min_length=1)
    pushgateway_url: Annotated[str, AfterValidator(_check_pushgateway_url)] | None = Field(None, repr=False)
    push_interval: PositiveFloat = 15.0
    data_dir: Path = Path(".lightrag/metrics")


class OpenTelemetrySettings(_Section):
    """Whether the application's OpenTelemetry providers are told of tasks, documents, queries and pools."""

    enabled: bool = False


class LoggingSettings(_Section):
    """The log lines of a worker and of the ready deployment."""

    format: Literal["text", "json"] = "text"
    neo4j_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = None


class CelerySettings(_Section):
    """The ready worker ``wiring.celery_app``; names are Celery's own, times in seconds."""

    broker_url: Annotated[str, AfterValidator(_check_broker_url)] = Field("filesystem://", repr=False)
    result_backend: str | None = Field(None, repr=False)
    data_dir: Path = Path(".lightrag/celery")
    check_server: bool = True
    task_soft_time_limit: PositiveFloat = 900.0
    task_time_limit: PositiveFloat = 960.0
    max_retries: NonNegativeInt = 10
    retry_backoff: PositiveInt = 1
    retry_backoff_max: PositiveInt = 60
    delivery_limit: PositiveInt = 6
    visibility_timeout: PositiveInt = 1200

    @field_validator("task_time_limit")
    @classmethod
    def _comes_after_the_soft_limit(cls, limit: float, info: ValidationInfo) -> float:
        soft = info.data.get("task_soft_time_limit", 0.0)
        if limit <= soft:
            raise PydanticCustomError("time_limit", "more than task_soft_time_limit, {soft}", {"soft": f"{soft:g}"})
        return limit

    @field_validator("visibility_timeout")
    @classmethod
    def _comes_after_the_task(cls, timeout: int, info: ValidationInfo) -> int:
        longest = max(info.data.get("task_time_limit", 0.0), info.data.get("retry_backoff_max", 0.0))
        if timeout <= longest:
            raise PydanticCustomError(
                "visibility_timeout",
                "more than task_time_limit and retry_backoff_max, {longest}",
                {"longest": f"{longest:g}"},
            )
        return timeout


class Settings(_Section):
    """Everything ``config.yaml`` may say."""

    neo4j: Neo4jSettings
    lightrag: LightRAGSettings = LightRAGSettings()
    worker_loop: WorkerLoopSettings = WorkerLoopSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    opentelemetry: OpenTelemetrySettings = OpenTelemetrySettings()
    celery: CelerySettings = CelerySettings()


def load_settings(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration file that ``find_config(path)`` finds.

    Raises:
        ConfigurationError: it names every mistake at once, each with file, line, key, variable, what was found and the
            fix; secrets are masked.
    """
    config = read_config(find_config(path, environ), environ)
    source = config.sources.get(("neo4j", "password"))
    if source and source.file:  # so that it may change
        config.tree["neo4j"]["password"] = PasswordInFile(source.file.absolute(), config.tree["neo4j"]["password"])
    try:
        settings = Settings.model_validate(config.tree)
    except ValidationError as error:
        raise ConfigurationError(*config.in_order([*config.problems, *explain(error, Settings, config)])) from None
    if config.problems:
        raise ConfigurationError(*config.in_order(config.problems))
    return settings
