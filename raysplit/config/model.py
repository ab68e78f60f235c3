"""Which network, and how its weights are stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, SerializerFunctionWrapHandler, model_serializer, model_validator

from raysplit.config.in_memory import PREFIX, is_module, read_module
from raysplit.utils.frozen import Frozen, Name

Precision = Literal["fp32", "bf16", "int8"]


class ModelConfig(Frozen):
    """Which network.

    A module in memory replaces the name: `ModelConfig(module=net)`, or `SplitConfig(model=net, …)`.

    >>> ModelConfig(name="timm:resnet18", weights="resnet18.safetensors", normalize="auto").args
    {}
    """

    name: Name
    """`resnet9`, `vgg5`…`vgg19`, `spiking_vgg5`…`spiking_vgg16`, `vit`, a torchvision or timm name, or
    `path.py:function`; `object:CLASS` in memory."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the builder."""
    weights: str | None = None
    """A file that training starts from: safetensors, or `.pth`, `.pt`, `.bin` of torch.save with tensors and plain data
    alone; a head for other classes is replaced. Only the start of a run reads it. None: random weights."""
    pretrained: bool = False
    """Start from timm's or torchvision's own weights, from their cache or hub."""
    normalize: Literal["data", "auto"] = "data"
    """`data`: images are normalized by mean and deviation of the training images; `auto`: by those that the weights
    expect, where they say so."""
    module: Annotated[Any, PlainValidator(read_module), Field(exclude=True, repr=False)] = None
    """A torch module that maps images (B, C, H, W) to logits (B, classes). A copy of it is trained, from its weights.
    It is not written to `config.json`."""

    @model_serializer(mode="wrap")
    def _without_start(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Write a network that starts from random weights as files have always held it."""
        start = {"weights": None, "pretrained": False, "normalize": "data"}
        written: dict[str, object] = write(self)
        return {key: value for key, value in written.items() if key not in start or value != start[key]}

    def without_start(self) -> ModelConfig:
        """Return a copy that starts from random weights: for a training that goes on from a checkpoint."""
        return self.replaced(weights=None, pretrained=False, normalize="data")

    @model_validator(mode="before")
    @classmethod
    def _from_module(cls, value: Any) -> Any:
        if is_module(value):
            value = {"module": value}
        if isinstance(value, dict) and value.get("module") is not None:
            value = {"name": f"{PREFIX}{type(value['module']).__name__}", **value}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if self.module is not None and not self.name.startswith(PREFIX):
            raise ValueError(f"name is '{self.name}' and a module is given; replace all of it: {{name: {self.name}}}")
        if self.module is not None and self.args:
            raise ValueError("args are for a builder and a module is given; leave one of them out")
        if self.pretrained and (self.weights is not None or self.module is not None):
            given = "model.weights" if self.weights is not None else "a module"
            raise ValueError(f"pretrained=true and {given} both say what to start from; leave one of them out")
        return self
