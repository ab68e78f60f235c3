"""The graphs of a run's network, which are traced once in a process: its halves are often built one after the other."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace

from torch import nn

from raysplit.config import ModelConfig
from raysplit.split import TracedModel, trace

_KEPT = 4
_traced: OrderedDict[str, TracedModel] = OrderedDict()
"""The networks that were traced last, without their values."""


def trace_built(model: nn.Module, config: ModelConfig, classes: int, shape: tuple[int, int, int]) -> TracedModel:
    """Return the graphs of `model`, which `raysplit.models.build` has made of the other arguments.

    A network of a library has those of the last one of the same name and arguments; a user's is traced each time.
    Raises what `raysplit.split.trace` raises.

    >>> from raysplit.models import build
    >>> config = ModelConfig(name="vgg5", args={"width": 0.125})
    >>> one, other = (trace_built(build(config, 10, (1, 28, 28)), config, 10, (1, 28, 28)) for _ in range(2))
    >>> one.train is other.train, one.model is other.model
    (True, False)
    """
    if config.module is not None or ".py:" in config.name:
        return trace(model, shape)
    key = json.dumps([config.name, config.args, classes, shape], sort_keys=True, default=repr)
    known = _traced.pop(key, None)
    found = trace(model, shape) if known is None else replace(known, model=model)
    _traced[key] = replace(found, model=found.meta)
    while len(_traced) > _KEPT:
        _traced.popitem(last=False)
    return found
