"""The weights that training starts from: read from a file or fetched from a hub, and fitted to a network."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysplit.config import ModelConfig
from raysplit.errors import ModelError
from raysplit.models.checkpoint_file import find_weights_file, hash_file, read_tensors
from raysplit.models.pretrained import fetch_state

_log = logging.getLogger(__name__)
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""What data parallelism, torch.compile and common wrappers put before the names of a network."""
_AUXILIARY = ("aux1.", "aux2.", "aux_classifier.", "AuxLogits.")
"""Heads that only help training; networks are built without them."""
_LISTED = 8


@dataclass(frozen=True)
class StartWeights:
    """The tensors that a network starts from, under its own names, and what had to be done for that."""

    tensors: dict[str, Tensor]
    sha256: str
    """Of the file, or of names and values where they come from a hub."""
    notes: str
    """One line for the log."""

    def load_into(self, half: nn.Module) -> None:
        """Copy the values into the parameters and buffers of the same names; what has no values is left alone."""
        with torch.no_grad():
            for name, own in half.state_dict(keep_vars=True).items():
                if name in self.tensors and not own.is_meta:
                    own.copy_(self.tensors[name])

    def log(self) -> None:
        """Log what was loaded, and what had to be done for it."""
        _log.info(self.notes)


def read_start_weights(
    config: ModelConfig,
    model: nn.Module,
    classes: int,
    shape: tuple[int, int, int],
    *,
    settings: str = "model",
    key: str = "model.weights",
    new_head: bool = True,
) -> StartWeights | None:
    """Return what `model`, built from `config`, starts from; None: its random weights.

    Prefixes of wrappers are left out, and with `new_head` a head for other classes is replaced by the model's own.
    `model` may be on the meta device; for errors, `settings` is where `config` is in the config of a run or build, and
    `key` the setting that names the file. Raises ConfigError for a file that does not exist, and ModelError for one
    that cannot be read, holds NaN or belongs to another network, and for weights that cannot be fetched.
    """
    if config.weights is not None:
        path = find_weights_file(config.weights, key)
        where, digest, found = f"'{path}'", hash_file(path), read_tensors(path)
    elif config.pretrained:
        where, found = f"the hub's {config.name}", fetch_state(config, shape, settings)
        digest = _hash_tensors(found)
    else:
        return None
    for name, tensor in found.items():
        if tensor.is_floating_point() and tensor.isnan().any():
            raise ModelError(f"{name} in {where} holds NaN: its training diverged; use other weights")
    tensors, notes = fit_weights(
        model.state_dict(), found, classes, where, config.name, settings=settings, new_head=new_head
    )
    return StartWeights(tensors, digest, notes)


def fit_weights(
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    classes: int,
    where: str,
    name: str,
    *,
    settings: str = "model",
    new_head: bool = True,
) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file under a network's own names, without a head for other classes, and a line about it.

    Raises ModelError, which lists each key with its shapes, for tensors that do not fit; without `new_head` also for a
    head for other classes.

    >>> own = nn.Linear(4, 2).state_dict()
    >>> theirs = {f"module.{key}": value for key, value in nn.Linear(4, 1000).state_dict().items()}
    >>> fit_weights(own, theirs, classes=2, where="'net.pth'", name="linear")
    ({}, "weights of 'net.pth': 0 of 2 tensors; prefix 'module.' left out (2 keys); new head: weight, bias, for 2 \
classes in place of 1000")
    """
    tensors, prefixes = _rename(own, found)
    if not any(key in own for key in tensors):
        raise ModelError(
            f"{where} has none of the {len(own)} tensors of {name}, such as {_some(own, 2)}; it has "
            f"{_some(tensors, 3)}. Name the network that it belongs to, or its weights"
        )
    head = _find_new_head(own, tensors, classes) if new_head else []
    unused = [key for key in tensors if key not in own and not key.startswith(_AUXILIARY)]
    if head and unused and not any(key in tensors for key in head) and len({_module(key) for key in unused}) == 1:
        old_head, unused = unused, []  # a head of another name
    else:
        old_head = [key for key in head if key in tensors]
    problems = [
        f"{key}: {_size(tensors[key])} in the file, {_size(value)} in the network"
        for key, value in own.items()
        if key in tensors and key not in head and tensors[key].shape != value.shape
    ]
    missing = [key for key in own if key not in tensors and key not in head and not key.endswith("num_batches_tracked")]
    problems += [f"{key}: {_size(own[key])} in the network, not in the file" for key in missing]
    problems += [f"{key}: {_size(tensors[key])} in the file, not in the network" for key in unused]
    if problems:
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise ModelError(
            f"{where} does not fit {name}: {'; '.join(problems[:_LISTED])}{more}. Set {settings}.name, "
            f"{settings}.args, data.size and data.channels to what the file was trained with"
        )
    fitted = {key: tensors[key] for key in own if key in tensors and key not in head}
    notes = [f"weights of {where}: {len(fitted)} of {len(own)} tensors"]
    notes += [f"prefix '{prefix}' left out ({count} keys)" for prefix, count in prefixes.items() if prefix]
    if head:
        rows = {len(tensors[key]) for key in old_head if tensors[key].ndim}
        instead = f" in place of {min(rows)}" if len(rows) == 1 else ""
        notes.append(f"new head: {', '.join(head)}, for {classes} classes{instead}")
    if left := [key for key in tensors if key.startswith(_AUXILIARY) and key not in own]:
        notes.append(f"{len(left)} tensors of auxiliary heads left out")
    return fitted, "; ".join(notes)


def _rename(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Counter[str]]:
    """Return tensors under the network's names where they differ by prefixes, and how often each prefix was left out.

    A name that is the network's own comes before one that becomes it.
    """
    renamed = {key: value for key, value in found.items() if key in own}
    prefixes: Counter[str] = Counter()
    for key, value in found.items():
        if key in own:
            continue
        bare = _strip(key)
        target = next((name for name in (*_ends(key), *(f"{prefix}{bare}" for prefix in _PREFIXES)) if name in own), "")
        if target and target not in renamed:
            prefixes[key.removesuffix(target) if key.endswith(target) else ""] += 1
            renamed[target] = value
        elif not target and bare not in renamed:  # of a head, perhaps
            renamed[bare] = value
        else:
            renamed[key] = value
    return renamed, prefixes


def _ends(key: str) -> list[str]:
    """Return a name with one, two, … of the known prefixes left out."""
    ends = []
    while prefix := next((prefix for prefix in _PREFIXES if key.startswith(prefix)), ""):
        key = key.removeprefix(prefix)
        ends.append(key)
    return ends


def _strip(key: str) -> str:
    return _ends(key)[-1] if _ends(key) else key


def _find_new_head(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], classes: int) -> list[str]:
    """Return the tensors with a row for each class that the file has for other classes, or lacks at the end."""
    rows = [key for key, value in own.items() if value.shape[:1] == (classes,)]
    last = _module(next((key for key in reversed(rows) if own[key].ndim > 1), ""))

    def is_new(key: str) -> bool:
        if key not in tensors:
            return _module(key) == last
        ours, theirs = own[key].shape, tensors[key].shape
        return bool(len(theirs)) and ours[1:] == theirs[1:] and ours[0] != theirs[0]

    return [key for key in rows if is_new(key)]


def _module(key: str) -> str:
    return key.rpartition(".")[0]


def _some(keys: Mapping[str, Tensor], count: int) -> str:
    names: Sequence[str] = list(keys)[:count]
    return ", ".join(names) + (", …" if len(keys) > count else "")


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
