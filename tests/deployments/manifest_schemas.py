"""What Kubernetes takes of the kinds that the manifests use: their fields as JSON schemas, unknown ones refused.

Source: Kubernetes API reference, v1.32; only the fields in use are written down.
"""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "integer", "minimum": 0}
TRUTH: Schema = {"type": "boolean"}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}  # RFC 1123
LABELS: Schema = {"type": "object", "additionalProperties": TEXT, "minProperties": 1}
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$"}
QUANTITIES: Schema = {"type": "object", "additionalProperties": QUANTITY, "minProperties": 1}


def fields(*required: str, **known: Schema) -> Schema:
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


def many(of: Schema) -> Schema:
    return {"type": "array", "items": of, "minItems": 1}


REFERENCE = fields("name", name=NAME)
VARIABLE = fields(
    "name",
    name=TEXT,
    value={"type": "string"},
    valueFrom=fields("secretKeyRef", secretKeyRef=fields("name", "key", name=NAME, key=TEXT)),
)
PROBE = fields(
    "httpGet",
    httpGet=fields("path", "port", path={"type": "string", "pattern": "^/"}, port=NAME),
    periodSeconds=NUMBER,
    failureThreshold=NUMBER,
    timeoutSeconds=NUMBER,
)
CONTAINER = fields(
    *("name", "image", "command", "resources"),
    name=NAME,
    image=TEXT,
    command=many(TEXT),
    envFrom=many(fields("configMapRef", configMapRef=REFERENCE)),
    env=many(VARIABLE),
    ports=many(fields("name", "containerPort", name=NAME, containerPort=NUMBER)),
    startupProbe=PROBE,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    resources=fields("requests", "limits", requests=QUANTITIES, limits=QUANTITIES),
    securityContext=fields(
        "allowPrivilegeEscalation",
        allowPrivilegeEscalation={"const": False},
        capabilities=fields("drop", drop={"const": ["ALL"]}),
    ),
    volumeMounts=many(fields("name", "mountPath", name=NAME, mountPath=TEXT, readOnly=TRUTH)),
)
POD = fields(
    *("containers", "securityContext"),
    automountServiceAccountToken=TRUTH,
    enableServiceLinks=TRUTH,
    restartPolicy={"enum": ["Always", "OnFailure", "Never"]},
    securityContext=fields("runAsNonRoot", runAsNonRoot={"const": True}, runAsUser=NUMBER, fsGroup=NUMBER),
    tolerations=many(fields("key", key=TEXT, operator={"enum": ["Exists", "Equal"]}, effect=TEXT, value=TEXT)),
    containers=many(CONTAINER),
    volumes=many(
        fields(
            "name",
            name=NAME,
            emptyDir={"type": "object"},
            persistentVolumeClaim=fields("claimName", claimName=NAME, readOnly=TRUTH),
        )
    ),
)
TEMPLATE = fields("metadata", "spec", metadata=fields("labels", labels=LABELS), spec=POD)
SELECTOR = fields("matchLabels", matchLabels=LABELS)
SPECS: dict[tuple[str, str], Schema | None] = {  # by apiVersion and kind; None: has none
    ("v1", "Namespace"): None,
    ("v1", "ConfigMap"): None,
    ("v1", "PersistentVolumeClaim"): fields(
        *("accessModes", "resources"),
        accessModes=many({"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]}),
        resources=fields("requests", requests=QUANTITIES),
    ),
    ("v1", "Service"): fields(
        *("selector", "ports"),
        selector=LABELS,
        ports=many(fields("port", name=NAME, port=NUMBER, targetPort=NAME)),
    ),
    ("apps/v1", "Deployment"): fields(
        *("selector", "template"),
        replicas=NUMBER,
        selector=SELECTOR,
        template=TEMPLATE,
        strategy=fields("type", type={"enum": ["Recreate", "RollingUpdate"]}),
    ),
    ("batch/v1", "Job"): fields("template", template=TEMPLATE, backoffLimit=NUMBER),
    ("networking.k8s.io/v1", "NetworkPolicy"): fields(
        "podSelector",
        podSelector=SELECTOR,
        policyTypes=many({"enum": ["Ingress", "Egress"]}),
        ingress=many(fields("from", **{"from": many(fields("podSelector", podSelector=SELECTOR))})),
    ),
}


def schema_of(api: str, kind: str) -> Schema:
    """The whole document's schema.

    Raises:
        KeyError: The kind is not known in this version of the API.
    """
    metadata = fields("name", name=NAME, labels=LABELS)
    head = {"apiVersion": {"const": api}, "kind": {"const": kind}, "metadata": metadata}
    spec = SPECS[api, kind]
    if kind == "ConfigMap":
        return fields(*head, "data", **head, data={"type": "object", "additionalProperties": {"type": "string"}})
    return fields(*head, **head) if spec is None else fields(*head, "spec", **head, spec=spec)
