"""What each cut costs: compute, weights and memory of each side, and the size of what crosses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from raysplit.errors import ModelError
from raysplit.split.cuts import list_cuts, partition_nodes
from raysplit.split.probe import Probe, copy_to_meta, on_meta, storage_bytes
from raysplit.split.tracer import model_name, trace

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class CutProfile:
    """The cost of one cut for one image in eval mode; 1 GFLOP is 1e9 operations, 1 MAC is 2."""

    name: str
    shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension."""
    channel_dim: int
    """Dimension of the channels in the batched tensor."""
    device_gflops: float
    """Forward pass."""
    server_gflops: float
    """Forward pass."""
    device_params: int
    server_params: int
    """Includes parameters that the model does not use in eval mode."""
    crossing_bytes_fp32: int
    """Four bytes per value that crosses."""
    device_peak_bytes: int
    """Largest number of bytes of activations that the device half holds at once.

    Counts the input and each value until its last use; values that share memory (views, in-place operations) count
    once. Scratch memory inside a kernel or a module of torch.nn is not counted.
    """
    device_param_bytes: int


def profile(model: nn.Module, shape: tuple[int, int, int]) -> list[CutProfile]:
    """Return the cost of every cut of `model` for images of `shape` (C, H, W), in order of execution.

    Nothing is computed: the model runs on meta tensors. Raises ModelError when it cannot be traced and CutError when
    it has no cut.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    >>> [(cut.name, cut.device_params, cut.server_params) for cut in profile(model, (3, 8, 8))]
    [('0', 32, 5130), ('1', 32, 5130), ('2', 32, 5130)]
    """
    traced = trace(model, shape)
    cuts = list_cuts(traced)
    traced.meta.eval()
    probe = _CountingProbe(traced.meta, traced.eval.nodes[0].graph)
    with probe.counter:
        values = probe(shape, 1)
    weights = {key for node in traced.eval.nodes if node.op == "get_attr" for key in storage_bytes(values[node])}
    profiles = []
    for cut in cuts:
        held = [p for p in model.parameters() if id(p) in cuts.device_ids[cut.name]]
        position = cuts.positions[cut.name][1]
        device, server = partition_nodes(traced.eval, position.index)
        profiles.append(
            CutProfile(
                name=cut.name,
                shape=cut.shape,
                channel_dim=cut.channel_dim,
                device_gflops=sum(probe.flops[n] for n in device) / 1e9,
                server_gflops=sum(probe.flops[n] for n in server) / 1e9,
                device_params=sum(p.numel() for p in held),
                server_params=sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in held),
                crossing_bytes_fp32=4 * math.prod(cut.shape),
                device_peak_bytes=_peak_bytes(device, position.node, values, weights),
                device_param_bytes=sum(p.nbytes for p in held),
            )
        )
    return profiles


def count_flops(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return the number of operations of one forward pass on one image of `shape` (C, H, W) in eval mode.

    1 MAC is 2 operations; only matrix products, convolutions and attention count, as in
    `torch.utils.flop_counter`. Raises ModelError when the model cannot run on meta tensors.

    >>> from torch import nn
    >>> count_flops(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), (3, 8, 8))
    3840
    """
    try:
        with on_meta(), _flop_counter() as counter:
            copy_to_meta(model).eval()(torch.empty(1, *shape))
    except Exception as err:
        reason = str(err).strip().partition("\n")[0]
        raise ModelError(f"the operations of {model_name(model)} cannot be counted: {reason}") from err
    return int(counter.get_total_flops())


def _flop_counter() -> FlopCounterMode:
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton

    return FlopCounterMode(display=False)


class _CountingProbe(Probe):
    def __init__(self, model: nn.Module, graph: fx.Graph):
        super().__init__(model, graph)
        self.counter = _flop_counter()
        self.flops: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        before = self.counter.get_total_flops()
        value = super().run_node(n)
        self.flops[n] = self.counter.get_total_flops() - before
        return value


def _peak_bytes(nodes: list[fx.Node], crossing: fx.Node, values: dict[fx.Node, Any], weights: set[int]) -> int:
    last = {used: i for i, node in enumerate(nodes) for used in node.all_input_nodes}
    last[crossing] = len(nodes)
    live: dict[fx.Node, dict[int, int]] = {}
    peak = 0
    for i, node in enumerate(nodes):
        live[node] = {key: size for key, size in storage_bytes(values[node]).items() if key not in weights}
        together = {key: size for held in live.values() for key, size in held.items()}
        peak = max(peak, sum(together.values()))
        live = {node: held for node, held in live.items() if last.get(node, -1) > i}
    return peak
