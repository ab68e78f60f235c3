"""The unsplit network with a call inserted at a cut: what split training is compared with."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, fx, nn

from raysplit.split import ModelHalf, find_cut, list_cuts, trace


def insert_after(
    model: nn.Module, shape: tuple[int, int, int], cut_name: str, function: Callable[[Tensor], Tensor]
) -> nn.Module:
    """Return the whole of `model`, in both modes, with `function` applied to the value of a cut.

    `function` is called exactly between the two halves' operations; it must be a module-level function.
    """
    traced = trace(model, shape)
    cuts = list_cuts(traced)
    graphs = []
    for mode, cut in zip((traced.train, traced.eval), cuts.positions[find_cut(cuts, cut_name).name], strict=True):
        graph, env = fx.Graph(), {}
        for position, node in enumerate(mode.nodes):
            env[node] = graph.node_copy(node, env.__getitem__)
            if position == cut.index:
                env[cut.node] = graph.call_function(function, (env[cut.node],))
        graphs.append(graph)
    return ModelHalf(traced, *graphs)
