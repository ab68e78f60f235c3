"""What OpenAPI says about requests with files."""

from __future__ import annotations

from typing import Literal

from raysplit.serving.http.openapi import BINARY, Content, JsonObject, request_of


def describe_predict_request(media: Literal["image", "audio"]) -> JsonObject:
    """Return the description of a request to `POST /v1/predict`, for a model that takes files of this kind."""
    files: JsonObject = {"type": "array", "items": BINARY, "minItems": 1}
    form: JsonObject = {"type": "object", "properties": {"files": files}, "additionalProperties": BINARY}
    text = (
        f"One {media} file as the body, of any {media} type; or several in a form, each with a filename, under any "
        "names. The bytes decide what the format is."
    )
    contents = [
        Content(f"{media}/*", BINARY, {}),
        Content("application/octet-stream", BINARY, {}),
        Content("multipart/form-data", form, {}),
    ]
    return request_of(text, contents, [])
