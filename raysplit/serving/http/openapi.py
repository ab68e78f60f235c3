"""What the applications' OpenAPI says beyond what FastAPI sees: bodies, headers, keys, errors and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import Security
from fastapi.params import Depends
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, JsonValue

from raysplit.serving.args import Access
from raysplit.utils.frozen import Frozen
from raysplit.wire.split_api import KEY_HEADER

Responses: TypeAlias = "dict[int | str, dict[str, Any]]"
"""FastAPI's description of responses, by status."""
JsonObject: TypeAlias = "dict[str, JsonValue]"
BINARY: JsonObject = {"type": "string", "format": "binary"}
"""The schema of a body of bytes."""
_WORDS = {
    400: "The request is malformed, or not for this model.",
    401: "The key is missing or wrong.",
    403: "Only clients on the same machine are answered: the application has no key.",
    404: "No such model, version or level.",
    408: "The answer took longer than `request_timeout_s` of Ray Serve, which says so as plain text.",
    409: "The device has another family.",
    413: "The request is larger than `limits` allow.",
    415: "The type or encoding of the body is not supported.",
    500: "An error in the server; its log says more.",
    501: "The model is asked in another way.",
    503: "Not possible for now, or (as plain text, by Ray Serve) too many requests are waiting.",
}
_TIMED_OUT = 408


class Error(Frozen):
    """Body of a response with a status of 400 or more."""

    error: str
    """What is wrong, where, and what to do about it."""


def errors(*statuses: int, access: Access | None = None) -> Responses:
    """Return the descriptions of errors, with their bodies and headers.

    `access` is given for routes that not every client may use.

    >>> list(errors(413, 503, access=Access()))
    [403, 413, 503, 'default']
    """
    refused = () if access is None or (access.anyone and access.api_key_env is None) else (403,)
    if access is not None and access.api_key_env is not None:
        refused = (401,)
    described: Responses = {status: _describe_error(status) for status in sorted({*refused, *statuses})}
    return described | {"default": {"model": Error, "description": "Any other error."}}


def _describe_error(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _WORDS[status]}
    if status != _TIMED_OUT:
        answer["model"] = Error
    if status in (_TIMED_OUT, 503):
        text: JsonObject = {"schema": {"type": "string"}}
        answer["content"] = (
            {"text/plain": text} if status == _TIMED_OUT else {"application/json": {}, "text/plain": text}
        )
    if status == 503:
        after = "Seconds after which the request may be repeated."
        answer["headers"] = {"Retry-After": {"description": after, "schema": {"type": "integer", "minimum": 0}}}
    if status == 401:
        name = "The header that the key is sent in."
        answer["headers"] = {"WWW-Authenticate": {"description": name, "schema": {"const": KEY_HEADER}}}
    return answer


def key_dependencies(access: Access) -> list[Depends]:
    """Return what declares the key of routes that need it; the routes check it themselves."""
    if access.api_key_env is None:
        return []
    return [Security(APIKeyHeader(name=KEY_HEADER, auto_error=False))]


@dataclass(frozen=True)
class Header:
    """A header of a request."""

    name: str
    description: str
    required: bool = False
    example: str | None = None

    def parameter(self) -> JsonObject:
        """Return it as OpenAPI writes it."""
        schema: JsonObject = {"type": "string"}
        parameter: JsonObject = {
            "name": self.name,
            "in": "header",
            "required": self.required,
            "description": self.description,
            "schema": schema,
        }
        return parameter if self.example is None else parameter | {"example": self.example}


@dataclass(frozen=True)
class Example:
    """A body that the application accepts."""

    summary: str
    value: JsonValue


@dataclass(frozen=True)
class Content:
    """A form that a body may have."""

    media_type: str
    schema: JsonObject
    examples: Mapping[str, Example]


ENCODING = Header("Content-Encoding", "`gzip` or `deflate` if the body is compressed.")


def request_of(description: str, contents: Sequence[Content], headers: Sequence[Header]) -> JsonObject:
    """Return the description of a request, for `openapi_extra` of a route."""
    content: JsonObject = {}
    for each in contents:
        media: JsonObject = {"schema": each.schema}
        if each.examples:
            media["examples"] = {
                name: {"summary": example.summary, "value": example.value} for name, example in each.examples.items()
            }
        content[each.media_type] = media
    body: JsonObject = {"required": True, "description": description, "content": content}
    return {"requestBody": body, "parameters": [header.parameter() for header in (*headers, ENCODING)]}


def schema_of(model: type[BaseModel]) -> JsonObject:
    """Return the JSON schema of a model with what it refers to in place.

    >>> schema_of(Error)["properties"]["error"]
    {'title': 'Error', 'type': 'string'}
    """
    schema: JsonObject = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: JsonValue) -> JsonValue:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str) and isinstance(definitions, dict):
            return inline(definitions[reference.rpartition("/")[2]])
        return {key: inline(value) for key, value in node.items()}

    inlined = inline(schema)
    assert isinstance(inlined, dict)
    return inlined
