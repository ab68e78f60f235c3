"""Triton's extension of the Open Inference Protocol v2 that its own tools ask for: the configuration of a model."""

from __future__ import annotations

from raysplit.serving.oip.protocol import ModelMetadata, TensorMetadata
from raysplit.utils.frozen import Frozen


class TensorConfiguration(Frozen):
    """An output for one image."""

    name: str
    data_type: str
    """`TYPE_` and the datatype of the protocol, but `TYPE_STRING` for BYTES."""
    dims: tuple[int, ...]
    """Its shape without the number of images."""


class InputConfiguration(TensorConfiguration):
    """An input for one image."""

    optional: bool
    """Whether a request may have another input in its place."""


class ModelConfiguration(Frozen):
    """Response to `GET /v2/models/NAME/config`; its keys are some of those in Triton's `ModelConfig` message."""

    name: str
    platform: str
    max_batch_size: int
    """Images per request."""
    input: tuple[InputConfiguration, ...]
    output: tuple[TensorConfiguration, ...]


def configure(metadata: ModelMetadata, max_batch_size: int) -> ModelConfiguration:
    """Return the configuration of a model whose tensors have the number of images as their first extent.

    A request has one of the inputs, so each of several is optional.

    >>> from raysplit.serving.oip.protocol import ServedModel
    >>> configuration = configure(ServedModel("digits", "1", ("zero", "one"), (1, 8, 8)).metadata(), 64)
    >>> for tensor in configuration.input:
    ...     print(tensor.name, tensor.data_type, tensor.dims, tensor.optional)
    images TYPE_UINT8 (1, 8, 8) True
    files TYPE_STRING (1,) True
    """
    optional = len(metadata.inputs) > 1
    return ModelConfiguration(
        name=metadata.name,
        platform=metadata.platform,
        max_batch_size=max_batch_size,
        input=tuple(
            InputConfiguration(name=tensor.name, data_type=_type(tensor), dims=tensor.shape[1:], optional=optional)
            for tensor in metadata.inputs
        ),
        output=tuple(
            TensorConfiguration(name=tensor.name, data_type=_type(tensor), dims=tensor.shape[1:])
            for tensor in metadata.outputs
        ),
    )


def _type(tensor: TensorMetadata) -> str:
    return "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
