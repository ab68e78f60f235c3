"""What a device must send to the server halves of a family: as metadata of the model, and in OpenAPI."""

from __future__ import annotations

from raysplit.family.bundle import Family
from raysplit.serving.http.openapi import BINARY, Content, Header, JsonObject, request_of
from raysplit.serving.oip.protocol import ModelMetadata, ModelVersion, TensorMetadata
from raysplit.wire.split_api import CHUNKS_HEADER, FAMILY_HEADER, LEVEL_HEADER, SPLIT_PATH, level_to_header

CODE = "code"
"""The input: what crosses the cut, as the device's encoder outputs it, before it is compressed into a message."""
ANSWER = "images"
"""The output: the most likely classes of each image, with their probabilities."""
TOP = 3
"""Number of classes listed per image."""
_MEDIA_TYPE = "application/octet-stream"


def describe_split_model(model: ModelVersion, family: Family) -> ModelMetadata:
    """Return the metadata of a family: the tensor that crosses, the levels it may be sent at, and where to.

    The tensor travels as a message, so its parameters say what a request holds besides it.
    """
    levels = ",".join(level_to_header(entry.level) for entry in family.levels)
    parameters: dict[str, str] = {
        "path": SPLIT_PATH,
        "content_type": _MEDIA_TYPE,
        LEVEL_HEADER: levels,
        FAMILY_HEADER: family.id,
    }
    manifest = family.manifest
    code = TensorMetadata(name=CODE, datatype="FP32", shape=(-1, *manifest.code_shape), parameters=parameters)
    images = TensorMetadata(name=ANSWER, datatype="BYTES", shape=(-1, min(TOP, len(manifest.classes))))
    return ModelMetadata(name=model.name, versions=(model.version,), inputs=(code,), outputs=(images,))


def describe_split_request(family: Family | None) -> JsonObject:
    """Return the description of a request to `POST /v1/split`; without a family, no word about one."""
    level = "The level of the message, with dots in place of `·`."
    own = "Id of the family that the device has, as `GET /v1/family` gives it."
    headers = [
        Header(
            LEVEL_HEADER,
            level,
            required=True,
            example=None if family is None else level_to_header(family.levels[0].level),
        ),
        Header(FAMILY_HEADER, own, required=True, example=None if family is None else family.id),
        Header(CHUNKS_HEADER, "Of recordings: how many samples of the message are of each, which gets one answer."),
    ]
    text = "A message of activations, as a device half of the family sends it (`raysplit.wire.message`)."
    return request_of(text, [Content(_MEDIA_TYPE, BINARY, {})], headers)
