"""A half of a family as a program for machines without this package: torch.export or ONNX."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raysplit.errors import ConfigError, MissingExtra
from raysplit.family.bundle import Family, load_family
from raysplit.utils.storage import write_file

Side = Literal["device", "server"]
_META = "raysplit.json"
"""Name of what a program says of itself, in the file of torch.export; in ONNX, the key of its metadata."""


class DeviceProgram(nn.Module):
    """uint8 images (N, C, H, W) to the code that crosses at a level: float32, the kept channels alone."""

    kept: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(self, family: Family, level: str):
        super().__init__()
        about, budget = family.about, family.level(level).channels
        self.network = family.device(level)
        kept = None if self.network.encoder is None else self.network.encoder.choose_channels(budget)
        self.dim = about.channel_dim
        self.register_buffer("kept", None if kept is None else torch.tensor(kept))
        self.register_buffer("mean", torch.tensor(about.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(about.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        z = self.network((images.to(torch.float32) / 255 - self.mean) / self.std)
        return z if self.kept is None else z.index_select(self.dim, self.kept)


class ServerProgram(nn.Module):
    """The code that crosses at a level, as `DeviceProgram` returns it, to float32 logits (N, classes)."""

    kept: Tensor | None

    def __init__(self, family: Family, level: str, kept: Tensor | None):
        super().__init__()
        self.network = family.server(level)
        self.dim, self.channels = family.about.channel_dim, family.about.code_shape[family.about.channel_dim - 1]
        self.register_buffer("kept", kept)

    def forward(self, code: Tensor) -> Tensor:
        if self.kept is None:
            return self.network(code)
        shape = [*code.shape]
        shape[self.dim] = self.channels
        return self.network(code.new_zeros(shape).index_copy(self.dim, self.kept, code))


def export(location: str, side: Side, out: str, level: str | None = None) -> dict[str, Any]:
    """Write a half of a family at a level, the loosest by default, and return what the program says of itself.

    The end of `out` says how: `.pt2` for torch.export (`torch.export.load`), `.onnx` for ONNX. Both take any number of
    images and compute in fp32, whatever the family was trained in. A device's program ends before the codec: its code
    is quantised and packed as docs/methods.md describes the message.

    Raises BundleError for a level that the family has not, ConfigError for another ending or a network that cannot be
    exported, MissingExtra for ONNX without its packages.
    """
    ending = out.rpartition(".")[2]
    if ending not in ("pt2", "onnx"):
        raise ConfigError(f"'{out}' ends neither in .pt2 (torch.export) nor in .onnx; choose one of them")
    family = load_family(location)
    name = family.level(level or family.levels[0].level)
    device = DeviceProgram(family, str(name)).eval()
    images = torch.zeros(2, *family.about.shape, dtype=torch.uint8)
    program: nn.Module = device if side == "device" else ServerProgram(family, str(name), device.kept).eval()
    with torch.no_grad():
        given = images if side == "device" else device(images)
        says = _says(family, side, str(name), device, given, program(given))
    pack = _pt2 if ending == "pt2" else _onnx
    write_file(out, pack(program, given, says))
    return says


def _says(
    family: Family, side: Side, level: str, device: DeviceProgram, given: Tensor, gives: Tensor
) -> dict[str, Any]:
    about = family.about
    return {
        "family": family.id,
        "half": side,
        "level": level,
        "cut": about.cut,
        "classes": list(about.classes),
        "kept": None if device.kept is None else device.kept.tolist(),
        "input": {"dtype": str(given.dtype).removeprefix("torch."), "shape": ["N", *given.shape[1:]]},
        "output": {"dtype": str(gives.dtype).removeprefix("torch."), "shape": ["N", *gives.shape[1:]]},
    }


def _pt2(program: nn.Module, given: Tensor, says: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    torch.export.save(_exported(program, given), out, extra_files={_META: json.dumps(says)})
    return out.getvalue()


def _onnx(program: nn.Module, given: Tensor, says: dict[str, Any]) -> bytes:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as err:
        raise MissingExtra.of(err.name or "onnx", "onnx", "export to ONNX") from None
    exported = _exported(program, given)
    with _quiet():
        made = torch.onnx.export(exported, (given,), dynamo=True, input_names=["input"], output_names=["output"])
    assert made is not None
    made.model.metadata_props[_META] = json.dumps(says)
    return made.model_proto.SerializeToString()


def _exported(program: nn.Module, given: Tensor) -> torch.export.ExportedProgram:
    try:
        with _quiet():
            return torch.export.export(program, (given,), dynamic_shapes=({0: torch.export.Dim("N", min=1)},))
    except Exception as err:
        reason = str(err).strip().partition("\n")[0]
        raise ConfigError(f"this half cannot be exported: {type(err).__name__}: {reason}") from err


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep torch's progress and advice to itself."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
