"""Whether a manifest is one: KubeRay's kinds by their CRDs and the CEL rules in them, others by Kubernetes' schemas."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from raysplit.errors import MissingExtra, nearest
from raysplit.serving.check.finding import Finding, as_mapping, join_path

KUBERAY_KINDS = {"RayService": "rayservices", "RayJob": "rayjobs", "RayCluster": "rayclusters"}
KUBERAY_API = "ray.io/v1"
KUBERNETES = "1.33"
"""The version whose kinds are known."""
_RULES = "x-kubernetes-validations"
_FREE = "x-kubernetes-preserve-unknown-fields"
_TYPES = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number", "number": "a number"}
_TYPES |= {"boolean": "true or false"}


def check_schema(manifest: Mapping[Any, Any], path: str, previous: Mapping[Any, Any] | None = None) -> list[Finding]:
    """Return the problems of one manifest by its schema; with `previous`, what it was, also of the changes.

    Raises MissingExtra for a kind of Kubernetes' own where kubernetes-validate is not installed.

    >>> job = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "a"}, "spec": {"entrypont": "python"}}
    >>> for finding in check_schema(job, ""):
    ...     print(finding)
    spec.entrypont: unknown key. Nearest: entrypoint, entrypointNumGpus, entrypointNumCpus.
    """
    kind, api = manifest.get("kind"), manifest.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(api, str):
        missing = "kind" if not isinstance(kind, str) else "apiVersion"
        return [Finding(join_path(path, missing), "is required; a manifest says what it is")]
    if kind in KUBERAY_KINDS:
        if api != KUBERAY_API:
            return [Finding(join_path(path, "apiVersion"), f"is {api}, but {kind} is of {KUBERAY_API}; set that")]
        name = KUBERAY_KINDS[kind]
        found = [finding for error in _validator(name).iter_errors(manifest) for finding in _translate(error, path)]
        return found or list(_check_rules(_load_crd(name), manifest, previous, path))
    if "." in api.partition("/")[0] and not api.partition("/")[0].endswith(".k8s.io"):
        return []  # of an operator that is not known here
    return [finding for error in _find_core_error(manifest, kind) for finding in _translate(error, path)]


def _find_core_error(manifest: Mapping[Any, Any], kind: str) -> Iterator[ValidationError]:
    try:
        import kubernetes_validate
    except ImportError:
        raise MissingExtra.of("kubernetes-validate", "kubernetes", f"checking a {kind}") from None
    try:
        kubernetes_validate.validate(dict(manifest), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as err:
        yield err
    except kubernetes_validate.SchemaNotFoundError:
        api = manifest.get("apiVersion")
        yield ValidationError(f"Kubernetes {KUBERNETES} has no {kind} of {api}; correct one of them", path=["kind"])


@cache
def _load_crd(name: str) -> dict[str, Any]:
    """Return the schema of a kind of KubeRay 1.8, from its CRD."""
    data = files("raysplit.serving.check").joinpath(f"schemas/{name}.json.gz").read_bytes()
    schema: dict[str, Any] = json.loads(gzip.decompress(data))
    schema["properties"]["metadata"] = {"type": "object", _FREE: True}
    return schema


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(_close(_load_crd(name)))


def _close(schema: Any) -> Any:
    """Return a CRD's schema as plain JSON schema, in which keys that it does not name are refused."""
    if isinstance(schema, list):
        return [_close(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], **{k: v for k, v in schema.items() if k == "pattern"}}
    closed: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            closed[key] = {name: _close(inner) for name, inner in value.items()}
        elif key != _RULES and not key.startswith("x-kubernetes"):
            closed[key] = (
                _close(value) if key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf") else value
            )
    if "properties" in schema and "additionalProperties" not in schema and not schema.get(_FREE):
        closed["additionalProperties"] = False
    return closed


def _translate(error: ValidationError, path: str) -> Iterator[Finding]:
    """Yield an error of jsonschema as findings, with a remedy."""
    where = join_path(path, *error.absolute_path)
    value, known = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        names = as_mapping(as_mapping(error.schema).get("properties"))
        for key in as_mapping(value):
            if key not in names:
                yield Finding(join_path(where, key), f"unknown key. {nearest(str(key), names)}")
    elif error.validator == "required":
        absent = [key for key in known if key not in as_mapping(value)]
        yield Finding(join_path(where, absent[0]), "is required; add it")
    elif error.validator == "type":
        types = [known] if isinstance(known, str) else known
        wanted = " or ".join(_TYPES.get(name, name) for name in types if name != "null")
        quotes = " in quotes" if "string" in types and isinstance(value, int | float) else ""
        yield Finding(where, f"must be {wanted}{quotes} (got {value!r})")
    elif error.validator == "enum":
        yield Finding(where, f"'{value}' is none of its values. {nearest(str(value), map(str, known))}")
    else:
        yield Finding(where, f"{error.message}; correct it")


def _check_rules(schema: Mapping[str, Any], value: Any, previous: Any, path: str) -> Iterator[Finding]:
    """Yield the CEL rules that a value breaks, and those about its change if there is a previous one."""
    for rule in schema.get(_RULES, ()):
        changed = "oldSelf" in rule["rule"]
        if changed and previous is None:
            continue
        if not _holds(rule["rule"], value, previous):
            yield Finding(path, f"{rule['message']}; correct it")
    if isinstance(value, Mapping):
        for name, inner in as_mapping(schema.get("properties")).items():
            if name in value:
                yield from _check_rules(inner, value[name], as_mapping(previous).get(name), join_path(path, name))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _check_rules(schema["items"], item, None, join_path(path, index))


def _holds(rule: str, value: Any, previous: Any) -> bool:
    try:
        import cel
    except ImportError:
        package = "common-expression-language"
        raise MissingExtra.of(package, "kubernetes", "checking the rules of a CRD") from None
    return bool(cel.evaluate(rule, {"self": value, "oldSelf": previous}))
