"""Build the two halves of a model that is cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import mul
from typing import Any

from torch import Tensor, fx, nn

from raysplit.split.cuts import Cut, Place, carry, cuts_of, find_cut, sides
from raysplit.split.probe import storages
from raysplit.split.tracer import ModeGraph, Traced, trace


class Half(nn.Module):
    """One side of a cut: runs its train or its eval graph, by its own mode.

    It holds the very modules and parameters of the model, under their names there (modules without
    tensors, such as a dropout, are copies, since both sides may use them).
    """

    def __init__(self, traced: Traced, train: fx.Graph, evaluate: fx.Graph):
        super().__init__()
        self._saved = frozenset(traced.model.state_dict())
        nodes = [n for g in (train, evaluate) for n in g.nodes if n.op in ("call_module", "get_attr")]
        order = {name: i for i, (name, _) in enumerate(traced.model.named_modules(remove_duplicate=False))}
        # parameters() keeps the model's order; a module comes before tensors that are also taken from it.
        for node in sorted(nodes, key=lambda n: (_order(order, str(n.target)), n.op)):
            self.hold(str(node.target), _fetch(traced, str(node.target)))
        # GraphModule only serves as a compiler here: its forward takes the module to run on as `self`.
        self._forwards: dict[bool, Callable[..., Any]] = {
            mode: type(fx.GraphModule(self, graph)).forward for mode, graph in ((True, train), (False, evaluate))
        }
        self.train(traced.model.training)

    def hold(self, path: str, thing: nn.Module | Tensor) -> None:
        """Put a module, parameter or buffer of the model at its path, unless it is there already."""
        *parents, name = path.split(".")
        here: nn.Module = self
        for parent in parents:
            if not hasattr(here, parent):
                here.add_module(parent, nn.Module())
            here = getattr(here, parent)
        if hasattr(here, name):
            return
        if isinstance(thing, nn.Module):
            here.add_module(name, thing if [*thing.parameters(), *thing.buffers()] else copy.deepcopy(thing))
        elif isinstance(thing, nn.Parameter):
            here.register_parameter(name, thing)
        else:
            here.register_buffer(name, thing, persistent=path in self._saved)

    def forward(self, x: Tensor) -> Any:
        return self._forwards[self.training](self, x)


@dataclass(frozen=True)
class Halves:
    """`server(device(x))` is the model's own answer, in either mode, with the same gradients."""

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
    traced = trace(model, shape)
    cuts = cuts_of(traced)
    cut = find_cut(cuts, cut_name)
    train, evaluate = cuts.places[cut.name]
    device = Half(traced, _device_graph(traced.train, train), _device_graph(traced.eval, evaluate))
    server = Half(traced, _server_graph(traced.train, train), _server_graph(traced.eval, evaluate))
    near = {id(t) for t in device.state_dict(keep_vars=True).values()}
    taken = {*device.state_dict(), *server.state_dict()}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if name not in taken:
            (device if id(tensor) in near else server).hold(name, tensor)
    return Halves(device, server, cut)


def _order(order: dict[str, int], path: str) -> int:
    return order[path] if path in order else order[path.rpartition(".")[0]]


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
