"""Export a family, a half of it or the whole, for machines without this package: torch.export, ONNX or weights."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError, MissingExtra
from raysplit.family.bundle import Family, load_family
from raysplit.family.network import SplitNetwork
from raysplit.utils.storage import write_file

Part = Literal["device", "server", "whole"]
"""What of a network is exported."""
_log = logging.getLogger(__name__)
_METADATA = "raysplit.json"
"""Where a program describes itself: the name of a file in torch.export's archive, the key of a property in ONNX."""


@dataclass(frozen=True)
class TensorSpec:
    """Dtype and shape of what a program takes or returns; the first dimension is "N", any number of images."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class ProgramInfo:
    """What an exported program says about itself, in JSON under the names of these fields."""

    family: str
    """The id of the family."""
    half: Part
    level: str
    cut: str
    classes: tuple[str, ...]
    channels: tuple[int, ...] | None
    """The channels that cross, ascending; None for all of them."""
    input: TensorSpec
    output: TensorSpec

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class DeviceProgram(nn.Module):
    """From uint8 images (N, C, H, W) to the code that crosses at a level: float32, only the channels that are sent."""

    channels: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(self, family: Family, level: str):
        super().__init__()
        manifest = family.manifest
        self.network = family.device(level)
        encoder = self.network.encoder
        channels = None if encoder is None else encoder.choose_channels(family.level(level).channels)
        self.dim = manifest.channel_dim
        self.register_buffer("channels", None if channels is None else torch.tensor(channels))
        self.register_buffer("mean", torch.tensor(manifest.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(manifest.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        z: Tensor = self.network((images.to(torch.float32) / 255 - self.mean) / self.std)
        return z if self.channels is None else z.index_select(self.dim, self.channels)


class ServerProgram(nn.Module):
    """From the code that crosses at a level, as `DeviceProgram` returns it, to float32 logits (N, classes)."""

    channels: Tensor | None

    def __init__(self, family: Family, level: str, channels: Tensor | None):
        super().__init__()
        manifest = family.manifest
        self.network = family.server(level)
        self.dim, self.width = manifest.channel_dim, manifest.code_shape[manifest.channel_dim - 1]
        self.register_buffer("channels", channels)

    def forward(self, code: Tensor) -> Tensor:
        if self.channels is not None:
            shape = [*code.shape]
            shape[self.dim] = self.width
            code = code.new_zeros(shape).index_copy(self.dim, self.channels, code)
        logits: Tensor = self.network(code)
        return logits


class WholeProgram(nn.Module):
    """From uint8 images (N, C, H, W) to float32 logits (N, classes): both programs, without a codec between them."""

    def __init__(self, device: DeviceProgram, server: ServerProgram):
        super().__init__()
        self.device, self.server = device, server

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.server(self.device(images))
        return logits


def export(
    location: str,
    part: Part,
    out: str,
    level: str | None = None,
    opset: int | None = None,
    config: SplitConfig | None = None,
) -> ProgramInfo:
    """Write a half of a family or run, or the whole, at a level, and return what the file says about itself.

    The file name decides the format: `.pt2` for torch.export (`torch.export.load`), `.onnx` for ONNX. Both take any
    number of images and compute in fp32, whatever the family was trained in. A device's program ends before the codec:
    its code is then quantized and packed as docs/methods.md describes; noise of the level is added before that.

    `.safetensors`, for the whole alone, has weights. Without a bottleneck they are the model's own state dict, which
    loads in timm, torchvision or the user's class; it takes images normalized by the family's mean and std, which the
    metadata have. With a bottleneck, or a head that answers, they are the state dict of `load_run`'s module.

    Args:
        level: as it prints; default: the loosest.
        opset: of ONNX; default: torch's own.
        config: of the run, for a network that existed in memory only; its program needs it no more.

    Raises BundleError for a level that the family does not have, ConfigError for another file name or a network that
    cannot be exported, MissingExtra when the packages for ONNX are missing.

    >>> export("family", "server", "server.exe")
    Traceback (most recent call last):
    raysplit.errors.ConfigError: 'server.exe' ends neither in .pt2 (torch.export) nor in .onnx; choose one of them
    """
    ending = out.rpartition(".")[2]
    if ending not in ("pt2", "onnx") and (ending, part) != ("safetensors", "whole"):
        whole = ", or the whole as .safetensors" if ending == "safetensors" else ""
        raise ConfigError(f"'{out}' ends neither in .pt2 (torch.export) nor in .onnx; choose one of them{whole}")
    if part not in get_args(Part):
        raise ConfigError(f"'{part}' is not a part of a network; choose device, server or whole")
    if opset is not None and ending != "onnx":
        raise ConfigError(f"an opset is of ONNX, '{out}' is not; leave it out")
    family = load_family(location, config)
    name = str(family.level(level or family.levels[0].level))
    if part == "device" and (noise := family.level(name).noise):
        _log.warning(
            f"level {name}: the exported device half adds no noise; add it to the code before it is sent, with "
            f"{noise} % of the standard deviation of its values"
        )
    device = DeviceProgram(family, name).eval()
    inputs = torch.zeros(2, *family.manifest.shape, dtype=torch.uint8)
    program: nn.Module = device
    with torch.no_grad():
        if part != "device":
            server = ServerProgram(family, name, device.channels).eval()
            program = WholeProgram(device, server) if part == "whole" else server
            inputs = device(inputs) if part == "server" else inputs
        info = _describe(family, part, name, device.channels, inputs, program(inputs))
    if ending == "safetensors":
        data = _pack_weights(family, name, info)
    else:
        data = _pack_pt2(program, inputs, info) if ending == "pt2" else _pack_onnx(program, inputs, info, opset)
    write_file(out, data)
    return info


def _describe(
    family: Family, part: Part, level: str, channels: Tensor | None, inputs: Tensor, outputs: Tensor
) -> ProgramInfo:
    manifest = family.manifest
    return ProgramInfo(
        family=family.id,
        half=part,
        level=level,
        cut=manifest.cut,
        classes=manifest.classes,
        channels=None if channels is None else tuple(channels.tolist()),
        input=_spec(inputs),
        output=_spec(outputs),
    )


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(str(tensor.dtype).removeprefix("torch."), ("N", *tensor.shape[1:]))


def _pack_pt2(program: nn.Module, inputs: Tensor, info: ProgramInfo) -> bytes:
    out = io.BytesIO()
    torch.export.save(_export_program(program, inputs), out, extra_files={_METADATA: info.to_json()})
    return out.getvalue()


def _pack_weights(family: Family, level: str, info: ProgramInfo) -> bytes:
    """Return the whole network's weights: under the model's own names where it has nothing else."""
    network = SplitNetwork(family, level)
    halves = (network.device_half, network.server_half)
    state = network.state_dict()
    if family.config.bottleneck is None and family.manifest.answered_by == "server":
        state = {name: value for half in halves for name, value in half.body.state_dict().items()}
    manifest = family.manifest
    metadata = {"format": "pt", _METADATA: info.to_json(), "mean": json.dumps(manifest.mean)}
    metadata["std"] = json.dumps(manifest.std)
    return save({name: value.cpu().contiguous().clone() for name, value in state.items()}, metadata)


def _pack_onnx(program: nn.Module, inputs: Tensor, info: ProgramInfo, opset: int | None) -> bytes:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as err:
        raise MissingExtra.of(err.name or "onnx", "onnx", "export to ONNX") from None
    exported = _export_program(program, inputs)
    with _silence():
        onnx_program = torch.onnx.export(
            exported, (inputs,), dynamo=True, input_names=["input"], output_names=["output"], opset_version=opset
        )
    assert onnx_program is not None
    onnx_program.model.metadata_props[_METADATA] = info.to_json()
    proto = onnx_program.model_proto
    _name_batch(proto.graph)
    data: bytes = proto.SerializeToString()
    return data


def _name_batch(graph: Any) -> None:
    """Call the number of images N in an ONNX graph, where torch has numbered it."""
    numbered = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == numbered:
                dim.dim_param = "N"


def _export_program(program: nn.Module, inputs: Tensor) -> torch.export.ExportedProgram:
    try:
        with _silence():
            return torch.export.export(program, (inputs,), dynamic_shapes=({0: torch.export.Dim("N", min=1)},))
    except Exception as err:
        reason = str(err).strip().partition("\n")[0]
        raise ConfigError(f"this half cannot be exported: {type(err).__name__}: {reason}") from err


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress torch's progress messages and advice."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
