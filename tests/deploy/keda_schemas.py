"""The part of KEDA's custom resources that the manifests use, since kubernetes-validate has none of them.

Names and types are those of KEDA's own definitions, `keda.sh/v1alpha1`; what the rabbitmq trigger takes is in none.
"""

from __future__ import annotations

from typing import Any


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
NUMBER = {"type": "integer", "minimum": 0}
NAMED = _object("name", name=TEXT)


def _resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": "keda.sh/v1alpha1"}, kind={"const": kind}, metadata=NAMED, spec=spec,
    )  # fmt: skip


_SCALING_RULES = _object(
    "policies",
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    policies={
        "type": "array",
        "items": _object(
            "type value periodSeconds", type={"enum": ["Pods", "Percent"]}, value=NUMBER, periodSeconds=NUMBER
        ),
    },
)
_RABBITMQ = _object(
    "type authenticationRef metadata",
    type={"const": "rabbitmq"},
    authenticationRef=NAMED,
    metadata=_object(  # all of it is text
        "protocol host queueName mode value",
        protocol={"enum": ["http", "amqp", "auto"]},
        host={"type": "string", "pattern": "^(https?|amqps?)://[^@]+$"},  # who logs in is in the Secret
        vhostName=TEXT,
        queueName=TEXT,
        mode={"enum": ["QueueLength", "MessageRate"]},
        value={"type": "string", "pattern": "^[1-9][0-9]*$"},
    ),
)

KEDA_SCHEMAS: dict[str, dict[str, Any]] = {
    "ScaledObject": _resource(
        "ScaledObject",
        _object(
            "scaleTargetRef minReplicaCount maxReplicaCount triggers",
            scaleTargetRef=NAMED,
            minReplicaCount=NUMBER,
            maxReplicaCount=NUMBER,
            pollingInterval=NUMBER,
            advanced=_object(
                "horizontalPodAutoscalerConfig",
                horizontalPodAutoscalerConfig=_object(
                    "behavior", behavior=_object("scaleDown", scaleDown=_SCALING_RULES)
                ),
            ),
            triggers={"type": "array", "minItems": 1, "items": _RABBITMQ},
        ),
    ),
    "TriggerAuthentication": _resource(
        "TriggerAuthentication",
        _object(
            "secretTargetRef",
            secretTargetRef={
                "type": "array",
                "minItems": 1,
                "items": _object("parameter name key", parameter=TEXT, name=TEXT, key=TEXT),
            },
        ),
    ),
}
