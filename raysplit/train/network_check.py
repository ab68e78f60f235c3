"""What a network must return to be trained, found before any training: the logits of the classes, for any batch."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import cross_entropy, softmax

from raysplit.config import SplitConfig, TrainConfig
from raysplit.errors import ConfigError, ModelError
from raysplit.split import Cut, TracedModel
from raysplit.split.probe import copy_to_meta, is_plain_batch_norm
from raysplit.torch_utils.optim import find_muon_weights

_log = logging.getLogger(__name__)
_MUON = {"muon": "convolutions or transformer blocks", "muon_sgd": "convolutions"}
_SIDES = ("device", "server")
_SOFTMAX = (softmax, torch.softmax, torch.nn.functional.gumbel_softmax, "softmax")


def require_logits(traced: TracedModel, classes: int) -> None:
    """Raise ModelError for a network that does not return the logits of `classes` classes, float (B, classes).

    Both modes are checked, by what tracing showed. The error names type and shape of what it returns.
    """
    for mode, graph in (("train", traced.train), ("eval", traced.eval)):
        output = graph.nodes[-1]
        value = graph.values[0][output]
        if (problem := _find_problem(value, 2, classes)) is not None:
            raise ModelError(f"model {traced.name} returns {_describe(value)} for 2 images in {mode} mode: {problem}")
        if _is_softmax(traced, output.args[0]):
            raise ModelError(
                f"model {traced.name} returns probabilities in {mode} mode, the loss takes logits: omit the softmax"
            )


def require_training(device: nn.Module, server: nn.Module, config: TrainConfig) -> None:
    """Raise ConfigError where `train.freeze` and `train.device_half` leave no parameter of either half to train.

    Also where neither half has weights that `train.optimizer=muon` or `muon_sgd` is for. Logs what is frozen, and where
    all of the device half is, in a way that still sends gradients down.
    """
    name = config.optimizer
    if name in _MUON and not any(find_muon_weights(half, config) for half in (device, server)):
        raise ConfigError(f"train.optimizer {name!r} is for networks with {_MUON[name]}; set it to adamw or sgd")
    if not config.freeze and config.device_half == "trained":
        return
    counts = [[p.requires_grad for p in half.parameters()] for half in (device, server)]
    if not any(map(any, counts)):
        raise ConfigError(
            "train.freeze and train.device_half leave no parameter to train; leave the last layers out of train.freeze"
        )
    texts = [
        f"{count.count(False)} of {len(count)} of the {side} half" for side, count in zip(_SIDES, counts, strict=True)
    ]
    _log.info("parameters that are frozen: %s", ", ".join(texts))
    if config.device_half == "trained" and counts[0] and not any(counts[0]) and config.local_loss is None:
        _log.warning(
            "train.freeze freezes all of the device half, which needs no gradients: set train.device_half=frozen, and "
            "none come down"
        )


def require_trainable(
    device: nn.Module,
    server: nn.Module,
    head: nn.Module | None,
    config: SplitConfig,
    shape: tuple[int, ...],
    classes: int,
) -> None:
    """Raise ModelError where a step on one micro-batch of images of `shape`, or the answer to one image, fails.

    Both halves run forward and backward on the meta device: nothing is computed, and they are not changed.
    """
    name, micro = config.model.name, config.train.batch_size // config.train.in_flight
    parts = copy_to_meta(nn.ModuleList([device, server, *([] if head is None else [head])]))
    _simplify_batch_norms(parts)
    try:
        _train_step(parts.train(), torch.empty(micro, *shape, device="meta"), classes)
    except NotImplementedError as err:
        # An operation without a meta kernel: what it would give is not known before training.
        _log.info("model %s is not checked before training: %s", name, " ".join(str(err).split()))
        return
    except Exception as err:
        reason = " ".join(str(err).split())
        remedy = ""
        if "more than 1 value per channel" in reason:
            remedy = (
                f". Batch norm needs more: lower train.in_flight ({config.train.in_flight}) or raise train.batch_size "
                f"({config.train.batch_size}), for more images in each micro-batch"
            )
        count = "1 image" if micro == 1 else f"{micro} images"
        raise ModelError(
            f"model {name} cannot be trained on micro-batches of {count}: {type(err).__name__}: {reason}{remedy}"
        ) from err
    with torch.no_grad():
        first, last, *_ = parts.eval().children()
        value = last(first(torch.empty(1, *shape, device="meta")))
    if (problem := _find_problem(value, 1, classes)) is not None:
        raise ModelError(f"model {name} returns {_describe(value)} for 1 image in eval mode: {problem}")


def require_levels(config: SplitConfig, cut: Cut, crossing: tuple[int, ...]) -> None:
    """Raise ConfigError for a level that keeps more channels, or more values of a sample, than cross at a cut."""
    channels = cut.shape[cut.channel_dim - 1]
    for level in config.levels():
        if level.channels is not None and level.channels > channels:
            raise ConfigError(
                f"recipe {config.name}: level {level} keeps {level.channels} channels, "
                f"{channels} cross at cut '{cut.name}'"
            )
        values = math.prod(crossing) // channels * (level.channels or channels)
        if level.top is not None and level.top > values:
            raise ConfigError(
                f"recipe {config.name}: level {level} keeps {level.top} values of each sample, "
                f"{values} cross at cut '{cut.name}'"
            )


def _simplify_batch_norms(parts: nn.Module) -> None:
    """Let batch norms scale alone, which has the shapes, types and gradients of the whole in a tenth of the time."""
    for module in parts.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
            module.forward = partial(_scale, module)  # type: ignore[method-assign]


def _scale(norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, images: Tensor) -> Tensor:
    one_value = images.numel() == norm.num_features
    if one_value or not is_plain_batch_norm(norm, (images,), {}):
        return type(norm).forward(norm, images)  # which raises what training would
    return images * norm.weight.view(-1, *[1] * (images.ndim - 2))


def _train_step(parts: nn.Module, images: Tensor, classes: int) -> None:
    device, server, *heads = parts.children()
    code = device(images)
    targets = torch.zeros(len(images), dtype=torch.int64, device="meta")
    for classify in (server, *heads):
        logits = classify(code)
        if (problem := _find_problem(logits, len(images), classes)) is not None:
            raise ValueError(f"it returns {_describe(logits)}: {problem}")
        if logits.requires_grad:
            torch.autograd.backward(cross_entropy(logits.float(), targets), retain_graph=True)


def _find_problem(value: Any, batch: int, classes: int) -> str | None:
    """Return what is wrong with the output for a batch, with the remedy; None if it is right."""
    wanted = f"expected the logits of {classes} classes, a float tensor of shape ({batch}, {classes})"
    if isinstance(value, dict):
        return f"{wanted}; return one of its values"
    if not isinstance(value, Tensor):
        return f"{wanted}; return that alone (in train mode too: leave out auxiliary outputs)"
    if not value.is_floating_point():
        return f"{wanted}; leave out its argmax"
    if tuple(value.shape) == (batch, classes):
        return None
    if value.ndim == 2 and value.shape[0] == batch:
        return f"{wanted}; give its last layer as many outputs as there are classes"
    if value.ndim > 2:
        return f"{wanted}; add a pooling over the other dimensions, or a classifier"
    return f"{wanted}; keep the batch dimension (flatten(1) in place of squeeze())"


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(repr, value))}"
    return f"a {type(value).__name__.removeprefix('immutable_')}"  # fx has lists and dicts of its own


def _is_softmax(traced: TracedModel, node: Any) -> bool:
    if not isinstance(node, fx.Node):
        return False
    if node.op == "call_module":
        return isinstance(traced.model.get_submodule(str(node.target)), nn.Softmax | nn.Softmax2d)
    return node.op in ("call_function", "call_method") and node.target in _SOFTMAX
