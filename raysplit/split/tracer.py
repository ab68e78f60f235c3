"""Trace a model with torch.fx once per mode, since functional dropout bakes the mode into the graph."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from raysplit.errors import ModelError
from raysplit.split.probe import Probe, copy_to_meta, find_tensors
from raysplit.split.untraceable import explain, require_no_backward_hook, require_plain


@dataclass(frozen=True, eq=False)
class ModeGraph:
    """The graph of a model in one mode, and what a dry run of it showed."""

    nodes: list[fx.Node]
    """In order of execution."""
    names: dict[fx.Node, str]
    """A unique name for each computed tensor or tuple of tensors."""
    aliases: dict[str, str]
    """Maps an inner module whose output has an outer module's name to that name."""
    plain: set[fx.Node]
    """Values without a tensor, such as an image's height: known from the shape of the input alone."""
    dependent: set[fx.Node]
    """Values that depend on the pixels or on random numbers, and the output. A value that is neither dependent nor
    plain is a constant: either side can recompute it."""
    values: tuple[dict[fx.Node, Any], dict[fx.Node, Any]]
    """Every value, as a meta tensor or a plain object, at batch sizes 2 and 3."""
    written: dict[fx.Node, set[int]]
    """Storages (of the values at batch size 2) that each node writes into in place."""


@dataclass(frozen=True, eq=False)
class TracedModel:
    """A model with its two graphs."""

    model: nn.Module
    meta: nn.Module
    """A copy on the meta device, which also holds the constants that tracing met."""
    shape: tuple[int, int, int]
    train: ModeGraph
    eval: ModeGraph

    @property
    def name(self) -> str:
        return model_name(self.model)


def model_name(model: nn.Module) -> str:
    """Return the name that `raysplit.models.build` gave to a model, or else that of its class."""
    name = vars(model).get("name")
    return name if isinstance(name, str) else type(model).__name__


def trace(model: nn.Module, shape: tuple[int, int, int]) -> TracedModel:
    """Trace `model`, called on one batch of images (B, *shape), in train and in eval mode.

    The model itself is neither run nor changed. Forward hooks are part of the graphs. Raises ModelError when it cannot
    be traced, does not take images of `shape`, or computes something whose shape depends on the pixels; and for a
    compiled or wrapped module, and a hook that would be lost.

    >>> from torch import nn
    >>> traced = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (3, 8, 8))
    >>> [node.op for node in traced.eval.nodes]
    ['placeholder', 'call_module', 'call_module', 'output']
    """
    name = model_name(model)
    require_plain(model, name)
    meta = model
    try:
        meta = copy_to_meta(model)
        train, evaluate = (_trace(meta, shape, training) for training in (True, False))
    except ModelError:
        raise
    except Exception as err:
        size = "×".join(map(str, shape))
        raise ModelError(f"model {name} cannot be traced on images of {size}: {explain(err, meta)}") from err
    return TracedModel(model, meta, shape, train, evaluate)


def _trace(meta: nn.Module, shape: tuple[int, int, int], training: bool) -> ModeGraph:
    meta.train(training)
    tracer = _Tracer()
    graph = tracer.trace(meta)
    nodes = list(graph.nodes)
    two, three = Probe(meta, graph), Probe(meta, graph)
    values = (two(shape, 2), three(shape, 3))
    plain = {n for n in nodes if n.op != "output" and not find_tensors(values[0][n]) and not two.written[n]}
    dependent = {n for n in nodes if n.op in ("placeholder", "output")} | (two.random - plain)
    for node in nodes:
        if node not in plain and not dependent.isdisjoint(node.all_input_nodes):
            dependent.add(node)
    return ModeGraph(nodes, *_name_values(tracer, values[0]), plain, dependent, values, two.written)


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # or buffers would be baked in as constants

    def __init__(self) -> None:
        self._leaves, functions = _timm_leaves()
        super().__init__(autowrap_functions=functions)
        self.paths: dict[fx.Node, list[str]] = {}
        """The modules that return a value, the outermost last."""
        self.scopes: dict[fx.Node, str] = {}
        """The module in whose forward a value is computed."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        childless = next(m.children(), None) is None
        return childless or isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        require_no_backward_hook(self.root, "", model_name(self.root))
        # One placeholder: optional arguments (timm's attn_mask) keep their defaults instead of crossing cuts. The call,
        # not the forward, which would leave out the hooks of the network itself.
        return nn.Module._call_impl, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.is_leaf_module(m, path := self.path_of_module(m)):
            require_no_backward_hook(m, path, model_name(self.root))
        if type(m) is nn.Identity:
            return forward(*args, **kwargs)
        out = super().call_module(m, forward, args, kwargs)
        passed_through = any(out is argument for argument in (*args, *kwargs.values()))
        if isinstance(out, fx.Proxy) and not passed_through:
            self.paths.setdefault(out.node, []).append(path)
        return out

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        if self.module_stack:
            self.scopes[node] = list(self.module_stack.values())[-1][0]
        return node


def _timm_leaves() -> tuple[tuple[type[nn.Module], ...], tuple[Callable[..., Any], ...]]:
    """Return the layers and functions that timm marks as not traceable; none while timm is not imported."""
    if "timm.layers" not in sys.modules:
        return (), ()
    layers: Any = sys.modules["timm.layers"]
    return (layers.BatchNormAct2d, *layers.get_notrace_modules()), tuple(layers.get_notrace_functions())


def _name_values(tracer: _Tracer, values: dict[fx.Node, Any]) -> tuple[dict[fx.Node, str], dict[str, str]]:
    names: dict[fx.Node, str] = {}
    aliases: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for node, value in values.items():
        if node.op not in ("call_module", "call_function", "call_method") or not find_tensors(value):
            continue
        operation = node.target if isinstance(node.target, str) else node.target.__name__
        *inner, name = tracer.paths.get(node) or [f"{tracer.scopes.get(node, '')}.{operation}".lstrip(".")]
        seen[name] += 1
        names[node] = name if seen[name] == 1 else f"{name}#{seen[name]}"
        for path in inner:
            aliases.setdefault(path, names[node])
    return names, {path: name for path, name in aliases.items() if path not in seen}
