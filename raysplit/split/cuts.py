"""Find the cuts of a model: places where one tensor, and no other value of the input, crosses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from raysplit.errors import CutError, nearest
from raysplit.split.probe import storages, tensors
from raysplit.split.tracer import ModeGraph, Traced, trace


@dataclass(frozen=True)
class Cut:
    """A place where a model can be cut in two."""

    name: str
    """The outermost module whose output crosses (`layer1.0`), else module and operation (`blocks.0.add`)."""
    shape: tuple[int, ...]
    """Of what crosses, without the batch dimension, which comes first."""
    dtype: torch.dtype
    channel_dim: int
    """Dimension of the channels in the batched tensor: 1 in (B, C) and (B, C, H, W), 2 in (B, N, D), 3 in
    (B, H, W, C)."""


@dataclass(frozen=True)
class Place:
    """Where a cut lies in one graph."""

    position: int
    """Index of the last node before the cut."""
    node: fx.Node
    """What crosses."""


@dataclass(frozen=True)
class Refusal:
    """Why a place is no cut, and how many cuts come before it."""

    reason: str
    before: int


class Cuts(list[Cut]):
    """The cuts of a model in the order of execution, and where they lie."""

    def __init__(self, traced: Traced):
        super().__init__()
        self.traced = traced
        self.places: dict[str, tuple[Place, Place]] = {}
        """Of each cut, in the train and in the eval graph."""
        self.device_ids: dict[str, set[int | str]] = {}
        """Of each cut, the identities (`id`) of the tensors that its device half holds."""
        self.refused: dict[str, Refusal] = {}


def find_cuts(model: nn.Module, shape: tuple[int, int, int]) -> Cuts:
    """Return every cut of `model` for images of `shape` (C, H, W), in the order of execution.

    Raises ModelError when the model cannot be traced and CutError when it has no cut.
    """
    return cuts_of(trace(model, shape))


def cuts_of(traced: Traced) -> Cuts:
    """Return the cuts of a traced model; they exist in both of its graphs. CutError when there is none."""
    cuts = Cuts(traced)
    train, evaluate = _places(traced.train), _places(traced.eval)
    parameters = {id(p) for p in traced.model.parameters()}
    owned = [_owned(traced.model, mode) for mode in (traced.train, traced.eval)]
    for name, place in evaluate.items():
        other = train.get(name, "it does not exist in train mode")
        reason = next((p for p in (place, other) if isinstance(p, str)), None)
        if isinstance(place, Place) and isinstance(other, Place):
            value = traced.eval.values[0][place.node]
            cut = Cut(name, tuple(value.shape[1:]), value.dtype, _channel_dim(value, traced.shape))
            value = traced.train.values[0][other.node]
            if (tuple(value.shape[1:]), value.dtype) != (cut.shape, cut.dtype):
                reason = "what crosses differs between train and eval mode"
            else:
                device, server = _held(traced, (other, place), owned)
                if not device.isdisjoint(server):
                    reason = "parameters, buffers or a module with state are used on both sides"
                elif device.isdisjoint(parameters) or server.isdisjoint(parameters):
                    reason = f"no parameter comes {'before' if device.isdisjoint(parameters) else 'after'} it"
                else:
                    cuts.append(cut)
                    cuts.places[name], cuts.device_ids[name] = (other, place), device
        if reason:
            cuts.refused[name] = Refusal(reason, len(cuts))
    if not cuts:
        raise CutError(f"{traced.name} has no cut: nowhere does exactly one tensor per image cross")
    return cuts


def find_cut(cuts: Cuts, name: str) -> Cut:
    """Return the cut of that name; the name of an inner module that returns the same value will do too.

    Raises CutError that says why the place is no cut, where it is one in the model, and lists the nearest cuts.
    """
    known = cuts.traced.eval.aliases.get(name, name)
    for cut in cuts:
        if cut.name == known:
            return cut
    text = f"cut '{name}' is not a cut of {cuts.traced.name}"
    refusal = cuts.refused.get(known)
    if refusal:
        around = cuts[max(0, refusal.before - 1) : refusal.before + 1]
        raise CutError(f"{text}: {refusal.reason}. Nearest cuts: {', '.join(c.name for c in around)}")
    raise CutError(f"{text}. {nearest(name, [cut.name for cut in cuts])}")


def sides(mode: ModeGraph, position: int) -> tuple[list[fx.Node], list[fx.Node]]:
    """Return the nodes of the device's and of the server's side, each with the constants that it needs.

    The server's plain values are not among its nodes: `carry` gives them.
    """
    before = mode.nodes[: position + 1]
    device = {n for n in before if n in mode.dependent}
    server = mode.dependent - device
    device |= {n for n in before if n in mode.plain and not n.users}  # assertions
    for node in reversed(mode.nodes):
        if node in device:
            device.update(given for given in node.all_input_nodes if given not in mode.dependent)
        if node in server:
            server.update(n for n in node.all_input_nodes if n not in mode.dependent and n not in mode.plain)
    return [n for n in mode.nodes if n in device], [n for n in mode.nodes if n in server]


def carry(small: Any, large: Any, per_image: Callable[[int], Any], device: Callable[[], Any]) -> Any:
    """Return what stands on the server for a plain value, such as an image's height.

    `small` and `large` are the value at batch sizes 2 and 3; `per_image(k)` stands for k times the batch
    size and `device()` for the device of what crosses. Raises CutError for any other value.
    """
    if isinstance(small, tuple | list) and len(small) == len(large):
        return tuple(carry(s, b, per_image, device) for s, b in zip(small, large, strict=True))
    if isinstance(small, torch.device):
        return device()
    if isinstance(small, int | float | str | torch.dtype | None) and small == large:
        return small
    if isinstance(small, int) and small % 2 == 0 and small * 3 == large * 2:
        return per_image(small // 2)
    raise CutError("a number that depends on the batch size crosses there")


def _places(mode: ModeGraph) -> dict[str, Place | str]:
    """Return, for every named value in order, the place right after it, or why it is no cut."""
    found: dict[str, Place | str] = {}
    index = {node: i for i, node in enumerate(mode.nodes)}
    last = {n: max((index[u] for u in n.users if u in mode.dependent), default=-1) for n in mode.dependent}
    live: list[fx.Node] = []
    for position, node in enumerate(mode.nodes[:-1]):
        if node in mode.dependent:
            live.append(node)
        live = [n for n in live if last[n] > position]
        name = mode.names.get(live[0]) if len(live) == 1 else None
        if name and not isinstance(found.get(name), Place):
            found[name] = _refuse(mode, position, live[0]) or Place(position, live[0])
        if node in live and node in mode.names and len(live) > 1:
            count = sum(len(tensors(mode.values[0][n])) for n in live)
            found[mode.names[node]] = f"{count} tensors cross there"
    return found


def _refuse(mode: ModeGraph, position: int, node: fx.Node) -> str | None:
    two, three = (values[node] for values in mode.values)
    if not isinstance(two, Tensor):
        return f"{len(tensors(two))} tensors cross there"
    if not two.is_floating_point():
        return f"what crosses is {two.dtype}, which has no gradient"
    if two.ndim < 2 or three.shape != (3, *two.shape[1:]) or two.shape[0] != 2:
        return "the first dimension of what crosses is not the batch"
    server = sides(mode, position)[1]
    if len(server) == 1:
        return "it is the output"
    try:
        for given in {g for n in server for g in n.all_input_nodes if g in mode.plain}:
            carry(mode.values[0][given], mode.values[1][given], lambda k: k, lambda: None)
    except CutError as err:
        return str(err)
    return None


def _owned(model: nn.Module, mode: ModeGraph) -> dict[fx.Node, set[int | str]]:
    """Return, per node, what identifies the tensors and modules that only one side may hold.

    Modules of torch without tensors and buffers that are constants may be on both sides.
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
        elif node.op == "get_attr" and not written.isdisjoint(storages(mode.values[0][node])):
            owned[node] = {str(node.target)}
    return owned


def _held(
    traced: Traced, places: tuple[Place, Place], owned: list[dict[fx.Node, set[int | str]]]
) -> tuple[set[int | str], set[int | str]]:
    held: tuple[set[int | str], set[int | str]] = (set(), set())
    for mode, place, owns in zip((traced.train, traced.eval), places, owned, strict=True):
        for side, nodes in zip(held, sides(mode, place.position), strict=True):
            side.update(*(owns.get(node, ()) for node in nodes))
    return held


def _channel_dim(value: Tensor, image: tuple[int, int, int]) -> int:
    """Guess where the channels are: in four dimensions, the grid is the pair nearest to the image's aspect."""
    if value.ndim == 3:
        return 2
    if value.ndim != 4:
        return 1
    aspect = math.log(image[1] / image[2])
    first, last = (abs(math.log(value.shape[d] / value.shape[d + 1]) - aspect) for d in (2, 1))
    return 1 if first <= last else 3
