"""The manifests without a cluster: each fits its schema, and all fit each other, the image and the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from app_container.pools.pool_budget import LIMIT_SETTING, PoolBudget
from app_container.settings import Settings, load_settings
from tests import PROJECT, PROJECT_TABLE
from tests.deploy.keda_schemas import KEDA_SCHEMAS
from wiring.celery.options import make_app

FOLDER = PROJECT / "deploy/kubernetes"
CLOSING = 25
"""Seconds for the worker loop, LightRAG and a driver after the last task; see docs/reliability.md."""

Manifest = dict[str, Any]


def read(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text()))


KUSTOMIZATIONS = {folder: read(folder / "kustomization.yaml")[0] for folder in (FOLDER, FOLDER / "keda")}
FILES = [folder / name for folder, kustomization in KUSTOMIZATIONS.items() for name in kustomization["resources"]]
MANIFESTS = {
    (m["kind"], m["metadata"]["name"]): m for path in [*FILES, FOLDER / "secret.example.yaml"] for m in read(path)
}
DEPLOYMENT = MANIFESTS["Deployment", "lightrag-neo4j-worker"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
(WORKER,) = POD["containers"]
SECRET = MANIFESTS["Secret", "lightrag-neo4j"]
SCALED = MANIFESTS["ScaledObject", "lightrag-neo4j-worker"]
MOUNTS = {mount["name"]: mount for mount in WORKER["volumeMounts"]}
ENVIRONMENT = {variable["name"]: variable["value"] for variable in WORKER["env"]}
PROBES = {name: WORKER[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """What the worker reads: the ConfigMap's file with the Deployment's variables, its secrets in another folder."""
    for key, value in SECRET["stringData"].items():
        (tmp_path / key).write_text(value)
    folder = MOUNTS["secrets"]["mountPath"]
    environ = {name: value.replace(folder, str(tmp_path)) for name, value in ENVIRONMENT.items()}
    del environ["APP_CONTAINER_CONFIG"]
    return load_settings(FOLDER / "config.yaml", environ)


def validate(manifest: Manifest) -> None:
    if manifest["kind"] in KEDA_SCHEMAS:
        jsonschema.Draft202012Validator(KEDA_SCHEMAS[manifest["kind"]]).validate(manifest)
    else:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=["-".join(key) for key in MANIFESTS])
def test_each_manifest_fits_its_schema_and_would_not_with_a_wrong_field(manifest: Manifest) -> None:
    validate(manifest)
    for wrong in mutations(manifest):
        with pytest.raises(jsonschema.ValidationError):
            validate(wrong)


def mutations(manifest: Manifest) -> Iterator[Manifest]:
    """The manifest with a field nobody knows, at the top and within, and with text where a selector belongs."""
    yield manifest | {"nonsense": 1}
    within = "spec" if "spec" in manifest else "metadata"
    yield manifest | {within: manifest[within] | {"nonsense": 1}}
    if "selector" in manifest.get("spec", {}):
        yield manifest | {"spec": manifest["spec"] | {"selector": "worker"}}


def test_every_file_is_listed_once_and_the_example_never() -> None:
    there = {path for path in FOLDER.rglob("*.yaml") if path.name not in ("kustomization.yaml", "config.yaml")}
    assert there - {FOLDER / "secret.example.yaml"} == set(FILES)
    assert len(FILES) == len(set(FILES))


def test_all_selectors_find_the_worker() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    (spread,) = POD["topologySpreadConstraints"]
    name = "lightrag-neo4j-worker"
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        MANIFESTS["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"],
        MANIFESTS["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"],
        MANIFESTS["Service", name]["spec"]["selector"],
        spread["labelSelector"]["matchLabels"],
    ]
    assert [selector for selector in selectors if selector != labels] == []


def test_names_that_refer_to_others_are_theirs() -> None:
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes.keys() == MOUNTS.keys()
    (generated,) = KUSTOMIZATIONS[FOLDER]["configMapGenerator"]
    assert volumes["config"]["configMap"]["name"] == generated["name"]
    assert generated["files"] == [Path(ENVIRONMENT["APP_CONTAINER_CONFIG"]).name]
    assert ENVIRONMENT["APP_CONTAINER_CONFIG"] == f"{MOUNTS['config']['mountPath']}/config.yaml"
    assert volumes["secrets"]["secret"]["secretName"] == SECRET["metadata"]["name"]
    assert SCALED["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    (trigger,) = SCALED["spec"]["triggers"]
    login = MANIFESTS["TriggerAuthentication", trigger["authenticationRef"]["name"]]["spec"]["secretTargetRef"]
    assert {entry["name"] for entry in login} == {SECRET["metadata"]["name"]}
    assert {entry["key"] for entry in login} <= SECRET["stringData"].keys()
    assert {kustomization["namespace"] for kustomization in KUSTOMIZATIONS.values()} == {
        SECRET["metadata"]["namespace"]
    }


def test_secrets_are_files_of_a_folder_that_follows_the_secret() -> None:
    folder = MOUNTS["secrets"]["mountPath"]
    files = {value for name, value in ENVIRONMENT.items() if name.endswith("_FILE")}
    assert files == {f"{folder}/{key}" for key in SECRET["stringData"]}
    assert "subPath" not in MOUNTS["secrets"]
    assert not any("valueFrom" in variable for variable in WORKER["env"])


def test_the_settings_are_those_of_several_workers(settings: Settings) -> None:
    assert settings.neo4j.password.get_secret_value() == "REPLACE-ME"
    storages = settings.lightrag.kv_storage, settings.lightrag.vector_storage, settings.lightrag.doc_status_storage
    assert storages == ("RedisKVStorage", "Neo4JVectorStorage", "RedisDocStatusStorage")
    assert settings.lightrag.environment["REDIS_URI"].get_secret_value() == "redis://:REPLACE-ME@redis:6379/0"
    app = make_app(settings.celery)
    assert SCALED["spec"]["triggers"][0]["metadata"]["queueName"] == app.conf.task_default_queue


def test_the_metrics_port_is_the_same_everywhere(settings: Settings) -> None:
    (port,) = WORKER["ports"]
    (of_service,) = MANIFESTS["Service", "lightrag-neo4j-worker"]["spec"]["ports"]
    (let_in,) = MANIFESTS["NetworkPolicy", "lightrag-neo4j-worker"]["spec"]["ingress"]
    assert {port["containerPort"], of_service["port"], let_in["ports"][0]["port"]} == {settings.metrics.port}
    assert of_service["targetPort"] == port["name"]
    assert settings.metrics.host == "0.0.0.0"  # noqa: S104 - of a pod


def test_the_network_lets_out_what_the_settings_name(settings: Settings) -> None:
    rules = MANIFESTS["NetworkPolicy", "lightrag-neo4j-worker"]["spec"]["egress"]
    let_out = {port["port"] for rule in rules for port in rule["ports"]}
    result_backend = settings.celery.result_backend or ""
    addresses = [settings.neo4j.uri, settings.celery.broker_url, result_backend]
    assert {int(re.findall(r":(\d+)", address)[-1]) for address in addresses} | {53, 443} == let_out


def test_the_pools_of_all_workers_fit_the_server(settings: Settings) -> None:
    concurrency = int(WORKER["command"][WORKER["command"].index("--concurrency") + 1])
    surge = DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    # While a roll-out replaces them, as many again may still be ending.
    workers = 2 * (SCALED["spec"]["maxReplicaCount"] + surge)
    limit = int(DEPLOYMENT["metadata"]["annotations"][LIMIT_SETTING])
    budget = PoolBudget(workers * concurrency, settings.neo4j.max_connection_pool_size, limit)
    assert budget.warning is None
    document = (PROJECT / "docs/kubernetes.md").read_text()
    assert f"| {SCALED['spec']['maxReplicaCount']} | {budget.worst_case // 2} | {budget.worst_case} |" in document


def test_a_worker_has_the_time_to_end(settings: Settings) -> None:
    assert POD["terminationGracePeriodSeconds"] > settings.celery.task_time_limit + CLOSING
    assert settings.worker_loop.shutdown_timeout <= CLOSING


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_has_the_time_to_answer(name: str, settings: Settings) -> None:
    assert PROBES[name]["timeoutSeconds"] >= settings.neo4j.check_timeout + 2


def test_the_pod_fits_the_image() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    security = POD["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in dockerfile
    assert f"VOLUME {MOUNTS['data']['mountPath']}" in dockerfile
    (image,) = KUSTOMIZATIONS[FOLDER]["images"]
    assert image["name"] == WORKER["image"]
    commands = PROJECT_TABLE["scripts"]
    assert all(probe["exec"]["command"][0] in commands for probe in PROBES.values())
