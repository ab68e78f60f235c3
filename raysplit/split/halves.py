"""Build the two halves of a model that is cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from torch import Tensor, fx, nn

from raysplit.split.cuts import (
    Cut,
    CutPosition,
    ModelCuts,
    find_cut,
    find_cut_back,
    find_cuts,
    nodes_between,
    partition_nodes,
    rebuild_value,
)
from raysplit.split.probe import storage_bytes
from raysplit.split.tracer import ModeGraph, TracedModel
from raysplit.torch_utils.layout import find_order


class ModelHalf(nn.Module):
    """One side of a cut: runs the train or the eval graph, depending on its own mode.

    It holds the modules and parameters of the model themselves, under their names there (modules without tensors,
    such as a dropout, are copies, since both sides may use them).
    """

    def __init__(self, traced: TracedModel, train: fx.Graph, evaluate: fx.Graph):
        super().__init__()
        saved = traced.model.state_dict()
        nodes = [n for g in (train, evaluate) for n in g.nodes if n.op in ("call_module", "get_attr")]
        order = {path: i for i, path in enumerate(_paths(traced.model))}
        # In the model's order: it is that of parameters(), and a module comes before tensors taken from it.
        for path in sorted({str(n.target) for n in nodes}, key=lambda p: order.get(p, len(order))):
            _attach(self, path, _fetch(traced, path), persistent=path in saved)
        # GraphModule only serves as a compiler here: its forward takes the module to run on as `self`.
        self._forwards: dict[bool, Callable[..., Any]] = {
            mode: type(fx.GraphModule(self, graph)).forward for mode, graph in ((True, train), (False, evaluate))
        }
        self.train(traced.model.training)

    def forward(self, x: Tensor) -> Any:
        return self._forwards[self.training](self, x)


@dataclass(frozen=True)
class SplitModel:
    """A model in two halves: `server(device(x))` is the model's own output, bit for bit.

    That holds in either mode, gradients included, and across a link that makes what crosses contiguous: the server
    half puts it into the memory layout that it has in the model (ConvNeXt permutes it), on which the last bits depend.
    The gradient must come back in the layout of the device half's output (`raysplit.torch_utils.layout.arrange_like`).
    With a second cut, the server half ends there, and the model's output is `tail(server(device(x)))`.
    """

    device: ModelHalf
    server: ModelHalf
    cut: Cut
    tail: ModelHalf | None = None
    back: Cut | None = None
    """The second cut."""


def split_model(model: nn.Module, shape: tuple[int, int, int], cut_name: str) -> SplitModel:
    """Cut `model`, called on images of `shape` (C, H, W), in two; the halves share its parameters.

    The keys of the halves' state dicts are disjoint and together those of the model; what no graph uses goes to the
    server. Both start in the mode of the model. The server half never writes into the tensor that it is given.
    Raises ModelError for a model that cannot be traced and CutError for a name that is not a cut.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    >>> split, x = split_model(model, (3, 8, 8), "1"), torch.randn(4, 3, 8, 8)
    >>> split.server(split.device(x)).equal(model(x))
    True
    >>> list(split.device.state_dict()), list(split.server.state_dict())
    (['0.weight', '0.bias'], ['3.weight', '3.bias'])
    """
    return split_at(find_cuts(model, shape), cut_name)


def split_at(cuts: ModelCuts, cut_name: str, back_name: str | None = None) -> SplitModel:
    """Cut a model in two at one of its cuts, as `split_model` does; the model is not traced again.

    With the name of a second, later cut there are three parts. Raises CutError for one that is none, or not later.
    """
    cut, traced = find_cut(cuts, cut_name), cuts.traced
    back = None if back_name is None else find_cut_back(cuts, cut, back_name)
    first = cuts.positions[cut.name]
    device, tail = _make_half(traced, _device_graph, first), None
    if back is None:
        server = _make_half(traced, _rest, first)
    else:
        second = cuts.positions[back.name]
        server, tail = _make_half(traced, _between, first, second), _make_half(traced, _rest, second)
    parts = [device, server] if tail is None else [device, server, tail]
    holders = {id(tensor): part for part in parts for tensor in part.state_dict(keep_vars=True).values()}
    attached = {name for part in parts for name in part.state_dict()}
    for name, tensor in traced.model.state_dict(keep_vars=True).items():
        if name not in attached:
            _attach(holders.get(id(tensor), server), name, tensor, persistent=True)
    return SplitModel(device, server, cut, tail, back)


def _make_half(
    traced: TracedModel, make: Callable[..., fx.Graph], *positions: tuple[CutPosition, CutPosition]
) -> ModelHalf:
    """Return the half whose graphs `make` makes of each mode's graph and its positions there."""
    return ModelHalf(
        traced, *(make(mode, *ends) for mode, *ends in zip((traced.train, traced.eval), *positions, strict=True))
    )


def _attach(half: nn.Module, path: str, thing: nn.Module | Tensor, persistent: bool) -> None:
    """Put a module, parameter or buffer of the model at its path, unless it is there already."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(half, parent):
            half.add_module(parent, nn.Module())
        half = getattr(half, parent)
    if hasattr(half, name):
        return
    if isinstance(thing, nn.Module):
        half.add_module(name, thing if [*thing.parameters(), *thing.buffers()] else copy.deepcopy(thing))
    elif isinstance(thing, nn.Parameter):
        half.register_parameter(name, thing)
    else:
        half.register_buffer(name, thing, persistent)


def _paths(model: nn.Module) -> Iterator[str]:
    for path, module in model.named_modules(remove_duplicate=False):
        yield path
        yield from (f"{path}.{name}".lstrip(".") for name in (*module._parameters, *module._buffers))


def _fetch(traced: TracedModel, path: str) -> nn.Module | Tensor:
    parent, _, name = path.rpartition(".")
    value: nn.Module | Tensor | None = getattr(traced.model.get_submodule(parent), name, None)
    if value is None:  # a constant that tracing met: only the traced copy has it
        value = getattr(traced.meta, name)
    assert isinstance(value, nn.Module | Tensor)
    return value


def _device_graph(mode: ModeGraph, position: CutPosition) -> fx.Graph:
    graph = fx.Graph()
    env: dict[fx.Node, Any] = {}
    _copy(graph, partition_nodes(mode, position.index)[0], env, env.__getitem__)
    graph.output(env[position.node])
    return graph


def _rest(mode: ModeGraph, position: CutPosition) -> fx.Graph:
    """Return the graph from a cut to the model's output."""
    return _graph_after(mode, position, partition_nodes(mode, position.index)[1])[0]


def _between(mode: ModeGraph, position: CutPosition, end: CutPosition) -> fx.Graph:
    """Return the graph from a cut to a later one."""
    graph, env = _graph_after(mode, position, nodes_between(mode, position.index, end.index))
    graph.output(env[end.node])
    return graph


def _graph_after(
    mode: ModeGraph, position: CutPosition, nodes: Sequence[fx.Node]
) -> tuple[fx.Graph, dict[fx.Node, Any]]:
    """Return the graph of `nodes`, which takes the tensor that crosses at a cut, and what stands for them in it."""
    graph = fx.Graph()
    received = graph.placeholder("x")
    crossing = storage_bytes(mode.values[0][position.node])
    written = any(key in crossing for node in nodes for key in mode.written[node])
    # Writing in place into a leaf that requires a gradient is an error, and the leaf is the caller's.
    value = graph.call_method("clone", (received,)) if written else received
    env: dict[fx.Node, Any] = {position.node: value}
    if order := find_order(mode.values[0][position.node]):
        laid_out = graph.call_method("contiguous", (graph.call_method("permute", (value, order)),))
        env[position.node] = graph.call_method("permute", (laid_out, tuple(order.index(d) for d in range(len(order)))))

    def per_image(k: int) -> fx.Node:
        batch = graph.call_method("size", (received, 0))
        return batch if k == 1 else graph.call_function(mul, (batch, k))

    def device() -> fx.Node:
        return graph.call_function(getattr, (received, "device"))

    def argument(node: fx.Node) -> Any:
        if node not in env:
            env[node] = rebuild_value(mode.values[0][node], mode.values[1][node], per_image, device)
        return env[node]

    _copy(graph, nodes, env, argument)
    return graph, env


def _copy(
    graph: fx.Graph, nodes: Iterable[fx.Node], env: dict[fx.Node, Any], argument: Callable[[fx.Node], Any]
) -> None:
    for node in nodes:
        env[node] = graph.node_copy(node, argument)
