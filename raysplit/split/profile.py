"""What each cut costs: computation, weights and memory of either side, and the size of what crosses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from raysplit.errors import ModelError
from raysplit.split.cuts import cuts_of, sides
from raysplit.split.probe import Probe, meta_copy, on_meta, storages
from raysplit.split.tracer import name_of, trace


@dataclass(frozen=True)
class CutProfile:
    """The cost of one cut for one image in eval mode; 1 GFLOP is 1e9 operations, 1 MAC is 2."""

    name: str
    shape: tuple[int, ...]
    """Of what crosses, without the batch dimension."""
    channel_dim: int
    """Dimension of the channels in the batched tensor."""
    device_gflops: float
    """Forward pass."""
    server_gflops: float
    """Forward pass."""
    device_params: int
    server_params: int
    """With the parameters that the model does not use in eval mode."""
    crossing_bytes_fp32: int
    """Four bytes for each value that crosses."""
    device_peak_bytes: int
    """Most bytes of activations that the device half holds at once.

    Counts the input and every value until its last use; values that share memory (views, in-place
    operations) count once. Scratch memory inside a kernel or a module of torch.nn is not counted.
    """
    device_param_bytes: int


def profile(model: nn.Module, shape: tuple[int, int, int]) -> list[CutProfile]:
    """Return the cost of every cut of `model` for images of `shape` (C, H, W), in the order of execution.

    Nothing is computed: the model runs on meta tensors. Raises ModelError when it cannot be traced and
    CutError when it has no cut.
    """
    traced = trace(model, shape)
    cuts = cuts_of(traced)
    traced.meta.eval()
    probe = _CountingProbe(traced.meta, traced.eval.nodes[0].graph)
    with probe.counter:
        values = probe(shape, 1)
    weights = {key for node in traced.eval.nodes if node.op == "get_attr" for key in storages(values[node])}
    profiles = []
    for cut in cuts:
        held = [p for p in model.parameters() if id(p) in cuts.device_ids[cut.name]]
        place = cuts.places[cut.name][1]
        device, server = sides(traced.eval, place.position)
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
                device_peak_bytes=_peak_bytes(device, place.node, values, weights),
                device_param_bytes=sum(p.nbytes for p in held),
            )
        )
    return profiles


def count_flops(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return the operations of one forward pass on one image of `shape` (C, H, W) in eval mode.

    1 MAC is 2 operations; only matrix products, convolutions and attention count, as in
    `torch.utils.flop_counter`. Raises ModelError when the model cannot run on meta tensors.
    """
    try:
        with on_meta(), FlopCounterMode(display=False) as counter:
            meta_copy(model).eval()(torch.empty(1, *shape))
    except Exception as err:
        reason = str(err).strip().partition("\n")[0]
        raise ModelError(f"the operations of {name_of(model)} cannot be counted: {reason}") from err
    return counter.get_total_flops()


class _CountingProbe(Probe):
    def __init__(self, model: nn.Module, graph: fx.Graph):
        super().__init__(model, graph)
        self.counter = FlopCounterMode(display=False)
        self.flops: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        before = self.counter.get_total_flops()
        value = super().run_node(n)
        self.flops[n] = self.counter.get_total_flops() - before
        return value


def _peak_bytes(nodes: list[fx.Node], crossing: fx.Node, values: dict[fx.Node, Any], weights: set[int]) -> int:
    last = {given: i for i, node in enumerate(nodes) for given in node.all_input_nodes}
    last[crossing] = len(nodes)
    live: dict[fx.Node, dict[int, int]] = {}
    peak = 0
    for i, node in enumerate(nodes):
        live[node] = {key: size for key, size in storages(values[node]).items() if key not in weights}
        together = {key: size for held in live.values() for key, size in held.items()}
        peak = max(peak, sum(together.values()))
        live = {node: held for node, held in live.items() if last.get(node, -1) > i}
    return peak
