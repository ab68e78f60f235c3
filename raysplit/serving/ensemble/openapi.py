"""What OpenAPI says about requests with image files."""

from __future__ import annotations

from raysplit.serving.http.openapi import BINARY, Content, JsonObject, request_of


def describe_predict_request() -> JsonObject:
    """Return the description of a request to `POST /v1/predict`."""
    files: JsonObject = {"type": "array", "items": BINARY, "minItems": 1}
    form: JsonObject = {"type": "object", "properties": {"files": files}, "additionalProperties": BINARY}
    text = (
        "One image file as the body, of any image type; or several in a form, each with a filename, under any names. "
        "The bytes decide what the format is."
    )
    contents = [
        Content("image/*", BINARY, {}),
        Content("application/octet-stream", BINARY, {}),
        Content("multipart/form-data", form, {}),
    ]
    return request_of(text, contents, [])
