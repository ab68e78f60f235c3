"""Build the two halves of a model that is cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import mul
from typing import Any

from torch import Tensor, fx, nn

from raysplit.split.cuts import Cut, Cuts, Place, carry, find_cut, find_cuts, sides
from raysplit.split.probe import storages
from raysplit.split.tracer import ModeGraph, Traced


class Half(nn.Module):
    """One side of a cut: runs its train or its eval graph, by its own mode.

    It holds the very modules and parameters of the model, under their names there (modules without
    tensors, such as a dropout, are copies, since both sides may use them).
    """

    def __init__(self, traced: Traced, train: fx.Graph, evaluate: fx.Graph):
        super().__init__()
        saved = traced.model.state_dict()
        nodes = [n for g in (train, evaluate) for n in g.nodes if n.op in ("call_module", "get_attr")]
        order = {path: i for i, path in enumerate(_paths(traced.model))}
        # As the model orders them: so are parameters(), and a module comes before tensors taken from it.
        for path in sorted({str(n.target) for n in nodes}, key=lambda p: order.get(p, len(order))):
            _hold(self, path, _fetch(traced, path), persistent=path in saved)
        # GraphModule only serves as a compiler here: its forward takes the module to run on as `self`.
        self._forwards: dict[bool, Callable[..., Any]] = {
            mode: type(fx.GraphModule(self, graph)).forward for mode, graph in ((True, train), (False, evaluate))
        }
        self.train(traced.model.training)

    def forward(self, x: Tensor) -> Any:
        return self._forwards[self.training](self, x)


@dataclass(frozen=True)
class Halves:
    """`server(device(x))` is the model's own answer, in either mode, with the same gradients, bit for bit.

    So it is across a wire that keeps the strides of what crosses. One that makes it contiguous can change
    the last bits where the model's own layout is another (ConvNeXt, Swin).
    """

    device: Half
    server: Half
    cut: Cut


def halve(model: nn.Module, shape: tuple[int, int, int], cut_name: str) -> Halves:
    """Cut `model`, called on images of `shape` (C, H, W), in two; it lends the halves its parameters.

    The keys of the halves' state dicts are disjoint and together those of the model; what no graph uses
    stays with the server. Both start in the mode of the model. The server half never writes into the
    tensor that it is given. Raises ModelError for a model that cannot be traced and CutError for a name
    that is no cut.
    """
    return halves_of(find_cuts(model, shape), cut_name)


def halves_of(cuts: Cuts, cut_name: str) -> Halves:
    """Do what `halve` does, at one of the cuts that were found before."""
    cut, traced = find_cut(cuts, cut_name), cuts.traced
    train, evaluate = cuts.places[cut.name]
    device = Half(traced, _device_graph(traced.train, train), _device_graph(traced.eval, evaluate))
    server = Half(traced, _server_graph(traced.train, train), _server_graph(traced.eval, evaluate))
    near = {id(t) for t in device.state_dict(keep_vars=True).values()}
    taken = {*device.state_dict(), *server.state_dict()}
    for name, tensor in traced.model.state_dict(keep_vars=True).items():
        if name not in taken:
            _hold(device if id(tensor) in near else server, name, tensor, persistent=True)
    return Halves(device, server, cut)


def _hold(half: nn.Module, path: str, thing: nn.Module | Tensor, persistent: bool) -> None:
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


def _fetch(traced: Traced, path: str) -> nn.Module | Tensor:
    parent, _, name = path.rpartition(".")
    found = getattr(traced.model.get_submodule(parent), name, None)
    # Constants that tracing met are on the traced copy alone.
    return getattr(traced.meta, name) if found is None else found


def _device_graph(mode: ModeGraph, place: Place) -> fx.Graph:
    graph = fx.Graph()
    env: dict[fx.Node, Any] = {}
    _copy(graph, sides(mode, place.position)[0], env, env.__getitem__)
    graph.output(env[place.node])
    return graph


def _server_graph(mode: ModeGraph, place: Place) -> fx.Graph:
    graph = fx.Graph()
    received = graph.placeholder("x")
    nodes = sides(mode, place.position)[1]
    crossing = storages(mode.values[0][place.node])
    written = any(key in crossing for node in nodes for key in mode.written[node])
    # In-place writes into a leaf that wants a gradient are an error, and the leaf is the caller's.
    env: dict[fx.Node, Any] = {place.node: graph.call_method("clone", (received,)) if written else received}

    def per_image(k: int) -> fx.Node:
        batch = graph.call_method("size", (received, 0))
        return batch if k == 1 else graph.call_function(mul, (batch, k))

    def device() -> fx.Node:
        return graph.call_function(getattr, (received, "device"))

    def given(node: fx.Node) -> Any:
        if node not in env:
            env[node] = carry(mode.values[0][node], mode.values[1][node], per_image, device)
        return env[node]

    _copy(graph, nodes, env, given)
    return graph


def _copy(graph: fx.Graph, nodes: Iterable[fx.Node], env: dict[fx.Node, Any], given: Callable[[fx.Node], Any]) -> None:
    for node in nodes:
        env[node] = graph.node_copy(node, given)
