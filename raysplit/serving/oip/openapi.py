"""What OpenAPI says about inference by the Open Inference Protocol v2."""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
from typing import Literal

from PIL import Image
from pydantic import JsonValue

from raysplit.serving.http.openapi import BINARY, Content, Example, Header, JsonObject, Responses, request_of, schema_of
from raysplit.serving.oip import schema
from raysplit.serving.oip.protocol import DATATYPES, FILES, HEADER_LENGTH, IMAGES, LABELS, PROBABILITIES, ServedModel

_MAX_VALUES = 1024
"""An image with more values than this is no example."""
_LENGTH = "Bytes of JSON before the binary tensors; left out if all tensors are in the JSON."


def describe_infer_request(model: ServedModel | None, media: Literal["image", "audio"]) -> JsonObject:
    """Return the description of a request to infer, with examples that every model for such files accepts.

    `model` is None where its shape is for clients with a key only.
    """
    example = example_png() if media == "image" else example_wav()
    file: JsonObject = {
        "name": FILES,
        "datatype": DATATYPES[FILES],
        "shape": [1, 1],
        "data": [base64.b64encode(example).decode()],
    }
    best: JsonObject = {"name": PROBABILITIES, "parameters": {"classification": 1}}
    examples = {
        "file": Example(f"An {media} file in base64", {"inputs": [file]}),
        "class": Example("Only its most likely class", {"inputs": [file], "outputs": [{"name": LABELS}]}),
        "classification": Example("Probability, index and name of it", {"inputs": [file], "outputs": [best]}),
    }
    pixels = "the model's images" if model is None else f"images of shape {list(model.shape)}"
    if model is not None and (count := math.prod(model.shape)) <= _MAX_VALUES:
        data: list[JsonValue] = [0] * count
        tensor: JsonObject = {"name": IMAGES, "datatype": DATATYPES[IMAGES], "shape": [1, *model.shape], "data": data}
        examples["pixels"] = Example("Its pixels", {"inputs": [tensor]})
    text = (
        f"One input: `{IMAGES}` (UINT8, pixels of {pixels}) or `{FILES}` (BYTES, {media} files). Outputs: "
        f"`{PROBABILITIES}` (FP32) and `{LABELS}` (BYTES). With `{HEADER_LENGTH}`, tensors follow the JSON as bytes "
        "(binary tensor data extension)."
    )
    contents = [
        Content("application/json", schema_of(schema.Request), examples),
        Content("application/octet-stream", BINARY, {}),
    ]
    return request_of(text, contents, [Header(HEADER_LENGTH, _LENGTH)])


def describe_infer_response() -> Responses:
    """Return the description of the response to a request to infer; its JSON is the route's model."""
    header = {"description": _LENGTH, "schema": {"type": "integer", "minimum": 1}}
    content = {"application/octet-stream": {"schema": BINARY}}
    return {200: {"description": "Outputs.", "content": content, "headers": {HEADER_LENGTH: header}}}


def example_png() -> bytes:
    """Return a small image file."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(file, "PNG")
    return file.getvalue()


def example_wav() -> bytes:
    """Return a small recording: a tenth of a second of a tone."""
    rate = 4_000
    samples = [round(8_000 * math.sin(2 * math.pi * 440 * index / rate)) for index in range(rate // 10)]
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()
