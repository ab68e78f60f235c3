"""The unsplit network with a call inserted at a cut: what split training is compared with."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, fx, nn

from raysplit.split import ModelHalf, find_cut, list_cuts, trace


def insert_after(
    model: nn.Module,
    shape: tuple[int, int, int],
    cut_name: str,
    function: Callable[[Tensor], Tensor],
    *second: tuple[str, Callable[[Tensor], Tensor]],
) -> nn.Module:
    """Return the whole of `model`, in both modes, with `function` applied to the value of a cut.

    `function` is called exactly between the two halves' operations; it must be a module-level function. Other cuts
    with a function may follow.
    """
    traced = trace(model, shape)
    cuts = list_cuts(traced)
    calls = [(cuts.positions[find_cut(cuts, name).name], call) for name, call in ((cut_name, function), *second)]
    graphs = []
    for number, mode in enumerate((traced.train, traced.eval)):
        graph, env = fx.Graph(), {}
        for position, node in enumerate(mode.nodes):
            env[node] = graph.node_copy(node, env.__getitem__)
            for positions, call in calls:
                if position == positions[number].index:
                    crossing = positions[number].node
                    env[crossing] = graph.call_function(call, (env[crossing],))
        graphs.append(graph)
    return ModelHalf(traced, *graphs)
