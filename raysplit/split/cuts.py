"""Find the cuts of a model: places where a single tensor crosses, and no other value that depends on the input."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from raysplit.errors import CutError, nearest
from raysplit.split.probe import find_tensors, storage_bytes
from raysplit.split.tracer import ModeGraph, TracedModel, trace


@dataclass(frozen=True)
class Cut:
    """A place where a model can be cut in two."""

    name: str
    """The outermost module whose output crosses (`layer1.0`), or else module and operation (`blocks.0.add`)."""
    shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension, which comes first."""
    dtype: torch.dtype
    channel_dim: int
    """Dimension of the channels in the batched tensor: 1 in (B, C) and (B, C, H, W), 2 in (B, N, D), 3 in
    (B, H, W, C)."""


@dataclass(frozen=True)
class CutPosition:
    """Where a cut lies in one graph."""

    index: int
    """Index of the last node before the cut."""
    node: fx.Node
    """The node whose value crosses."""


@dataclass(frozen=True)
class RejectedCut:
    """A place that is not a valid cut."""

    reason: str
    preceding: int
    """Number of valid cuts before it."""


class ModelCuts(list[Cut]):
    """The cuts of a model in order of execution, and where they lie in its graphs."""

    def __init__(self, traced: TracedModel):
        super().__init__()
        self.traced = traced
        self.positions: dict[str, tuple[CutPosition, CutPosition]] = {}
        """By name of the cut: its position in the train graph and in the eval graph."""
        self.device_ids: dict[str, set[int | str]] = {}
        """By name of the cut: the identities (`id`) of the tensors that its device half holds."""
        self.rejected: dict[str, RejectedCut] = {}


def find_cuts(model: nn.Module, shape: tuple[int, int, int]) -> ModelCuts:
    """Return every cut of `model` for images of `shape` (C, H, W), in order of execution.

    Raises ModelError when the model cannot be traced and CutError when it has no cut.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())
    >>> [(cut.name, cut.shape) for cut in find_cuts(model, (3, 8, 8))]
    [('0', (8, 8, 8)), ('1', (8, 8, 8))]
    """
    return list_cuts(trace(model, shape))


def list_cuts(traced: TracedModel) -> ModelCuts:
    """Return the cuts of a traced model that exist in both of its graphs; CutError when there are none."""
    cuts = ModelCuts(traced)
    train, evaluate = _find_positions(traced.train), _find_positions(traced.eval)
    parameters = {id(p) for p in traced.model.parameters()}
    owned = [_find_owned(traced.model, mode) for mode in (traced.train, traced.eval)]
    for name, position in evaluate.items():
        other = train.get(name, "it does not exist in train mode")
        reason = next((p for p in (position, other) if isinstance(p, str)), None)
        if isinstance(position, CutPosition) and isinstance(other, CutPosition):
            value = traced.eval.values[0][position.node]
            cut = Cut(name, tuple(value.shape[1:]), value.dtype, _channel_dim(value, traced.shape))
            value = traced.train.values[0][other.node]
            if (tuple(value.shape[1:]), value.dtype) != (cut.shape, cut.dtype):
                reason = "what crosses differs between train and eval mode"
            else:
                device, server = _find_held(traced, (other, position), owned)
                if not device.isdisjoint(server):
                    reason = "parameters, buffers or a module with state are used on both sides"
                elif device.isdisjoint(parameters) or server.isdisjoint(parameters):
                    reason = f"no parameter comes {'before' if device.isdisjoint(parameters) else 'after'} it"
                else:
                    cuts.append(cut)
                    cuts.positions[name], cuts.device_ids[name] = (other, position), device
        if reason:
            cuts.rejected[name] = RejectedCut(reason, len(cuts))
    if not cuts:
        raise CutError(f"{traced.name} has no cut: nowhere does exactly one tensor per image cross")
    return cuts


def find_cut(cuts: ModelCuts, name: str) -> Cut:
    """Return the cut of that name; the name of an inner module that returns the same value works too.

    Raises CutError, which says why a place in the model is not a valid cut and lists the nearest cuts.
    """
    known = cuts.traced.eval.aliases.get(name, name)
    for cut in cuts:
        if cut.name == known:
            return cut
    text = f"cut '{name}' is not a cut of {cuts.traced.name}"
    rejected = cuts.rejected.get(known)
    if rejected:
        around = cuts[max(0, rejected.preceding - 1) : rejected.preceding + 1]
        raise CutError(f"{text}: {rejected.reason}. Nearest cuts: {', '.join(c.name for c in around)}")
    raise CutError(f"{text}. {nearest(name, [cut.name for cut in cuts])}")


def find_cut_back(cuts: ModelCuts, cut: Cut, name: str) -> Cut:
    """Return the second cut, of that name, of a network that is cut at `cut` too.

    Raises CutError, which lists the cuts that may be the second, where it is none, or the server would hold nothing
    between the two.
    """
    back = find_cut(cuts, name)
    order = [known.name for known in cuts]
    later = [known for known in order[order.index(cut.name) + 1 :] if _separates(cuts, cut.name, known)]
    if back.name in later:
        return back
    if back.name == cut.name:
        reason = "is the same place"
    elif order.index(back.name) < order.index(cut.name):
        reason = "comes before it"
    else:
        reason = "has no parameter between itself and it, so that the server half would hold nothing"
    remedy = f"set cut_back to one of {', '.join(later)}" if later else "none may follow it, set cut to an earlier one"
    raise CutError(f"cut_back '{name}' does not follow cut '{cut.name}': it {reason}; {remedy}")


def _separates(cuts: ModelCuts, first: str, second: str) -> bool:
    """Return whether parameters lie between two cuts, of which `second` follows in both graphs."""
    follows = all(one.index < two.index for one, two in zip(cuts.positions[first], cuts.positions[second], strict=True))
    parameters = {id(parameter) for parameter in cuts.traced.model.parameters()}
    return follows and bool((cuts.device_ids[second] - cuts.device_ids[first]) & parameters)


def partition_nodes(mode: ModeGraph, index: int) -> tuple[list[fx.Node], list[fx.Node]]:
    """Return the nodes before and after the cut at `index`, each side with the constants that it needs.

    Plain values that the server needs are not among its nodes: `rebuild_value` gives them.
    """
    before = mode.nodes[: index + 1]
    device = {n for n in before if n in mode.dependent}
    server = mode.dependent - device
    device |= {n for n in before if n in mode.plain and not n.users}  # assertions
    for node in reversed(mode.nodes):
        if node in device:
            device.update(given for given in node.all_input_nodes if given not in mode.dependent)
        if node in server:
            server.update(n for n in node.all_input_nodes if n not in mode.dependent and n not in mode.plain)
    return [n for n in mode.nodes if n in device], [n for n in mode.nodes if n in server]


def nodes_between(mode: ModeGraph, first: int, last: int) -> list[fx.Node]:
    """Return the nodes after the cut at `first`, up to that at `last`, with the constants that they need."""
    inner = {n for n in mode.nodes[first + 1 : last + 1] if n in mode.dependent}
    for node in reversed(mode.nodes):
        if node in inner:
            inner.update(n for n in node.all_input_nodes if n not in mode.dependent and n not in mode.plain)
    return [n for n in mode.nodes if n in inner]


def rebuild_value(small: Any, large: Any, per_image: Callable[[int], Any], device: Callable[[], Any]) -> Any:
    """Return what replaces a plain value, such as an image's height, on the server.

    `small` and `large` are the value at batch sizes 2 and 3; `per_image(k)` stands for k times the batch size and
    `device()` for the device of the tensor that crosses. Raises CutError for any other value that varies.

    >>> rebuild_value((8, 4), (8, 6), per_image=lambda k: f"{k}*B", device=lambda: "device")
    (8, '2*B')
    """
    if isinstance(small, tuple | list) and len(small) == len(large):
        return tuple(rebuild_value(s, b, per_image, device) for s, b in zip(small, large, strict=True))
    if isinstance(small, torch.device):
        return device()
    if isinstance(small, int | float | str | torch.dtype | None) and small == large:
        return small
    if isinstance(small, int) and small % 2 == 0 and small * 3 == large * 2:
        return per_image(small // 2)
    raise CutError("a number that depends on the batch size crosses there")


def _find_positions(mode: ModeGraph) -> dict[str, CutPosition | str]:
    """Return, for every named value in order, the position right after it, or why no cut is possible there."""
    positions: dict[str, CutPosition | str] = {}
    order = {node: i for i, node in enumerate(mode.nodes)}
    last = {n: max((order[u] for u in n.users if u in mode.dependent), default=-1) for n in mode.dependent}
    live: list[fx.Node] = []
    for index, node in enumerate(mode.nodes[:-1]):
        if node in mode.dependent:
            live.append(node)
        live = [n for n in live if last[n] > index]
        name = mode.names.get(live[0]) if len(live) == 1 else None
        if name and not isinstance(positions.get(name), CutPosition):
            positions[name] = _rejection(mode, index, live[0]) or CutPosition(index, live[0])
        if node in live and node in mode.names and len(live) > 1:
            count = sum(len(find_tensors(mode.values[0][n])) for n in live)
            positions[mode.names[node]] = f"{count} tensors cross there"
    return positions


def _rejection(mode: ModeGraph, index: int, node: fx.Node) -> str | None:
    """Return why the value of `node` cannot cross; None if it can."""
    two, three = (values[node] for values in mode.values)
    if not isinstance(two, Tensor):
        return f"{len(find_tensors(two))} tensors cross there"
    if not two.is_floating_point():
        return f"what crosses is {two.dtype}, which has no gradient"
    if two.ndim < 2 or three.shape != (3, *two.shape[1:]) or two.shape[0] != 2:
        return "the first dimension of what crosses is not the batch"
    server = partition_nodes(mode, index)[1]
    if len(server) == 1:
        return "it is the output"
    try:
        for given in {g for n in server for g in n.all_input_nodes if g in mode.plain}:
            rebuild_value(mode.values[0][given], mode.values[1][given], lambda k: k, lambda: None)
    except CutError as err:
        return str(err)
    return None


def _find_owned(model: nn.Module, mode: ModeGraph) -> dict[fx.Node, set[int | str]]:
    """Return, per node, what identifies the tensors and modules that only one side may hold.

    torch's own modules without tensors, and buffers that are constants, may be on both sides.
    """
    owned: dict[fx.Node, set[int | str]] = {}
    saved = model.state_dict(keep_vars=True)
    written = set().union(*mode.written.values())
    for node in mode.nodes:
        if node.op == "call_module":
            module = model.get_submodule(str(node.target))
            held: set[int | str] = {id(t) for t in (*module.parameters(), *module.buffers())}
            plain = type(module).__module__.startswith("torch.nn")
            owned[node] = held if plain and not held else held | {id(module)}
        elif node.op == "get_attr" and node.target in saved:
            owned[node] = {id(saved[str(node.target)])}
        elif node.op == "get_attr" and not written.isdisjoint(storage_bytes(mode.values[0][node])):
            owned[node] = {str(node.target)}
    return owned


def _find_held(
    traced: TracedModel, positions: tuple[CutPosition, CutPosition], owned: list[dict[fx.Node, set[int | str]]]
) -> tuple[set[int | str], set[int | str]]:
    """Return what the device's side and the server's side own in either graph."""
    held: tuple[set[int | str], set[int | str]] = (set(), set())
    for mode, position, owners in zip((traced.train, traced.eval), positions, owned, strict=True):
        for side, nodes in zip(held, partition_nodes(mode, position.index), strict=True):
            side.update(*(owners.get(node, ()) for node in nodes))
    return held


def _channel_dim(value: Tensor, image: tuple[int, int, int]) -> int:
    """Guess where the channels are: in four dimensions, the grid is the pair closest to the image's aspect ratio."""
    if value.ndim == 3:
        return 2
    if value.ndim != 4:
        return 1
    aspect = math.log(image[1] / image[2])
    first, last = (abs(math.log(value.shape[d] / value.shape[d + 1]) - aspect) for d in (2, 1))
    return 1 if first <= last else 3
