"""Deals one data set to many devices: every row to exactly one of them, by seed alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from raysplit.config import Shards
from raysplit.errors import DataError
from raysplit.torch_utils.seeds import generator, mix

_DRAWS = 1_000
"""How often Dirichlet shares are drawn anew until every device has a batch."""
Shares = npt.NDArray[np.float64]
"""Of each class (row), the share that each device (column) has; rows sum to 1."""


def draw_shares(
    shards: Shards, labels: torch.Tensor, classes: int, count: int, seed: int, least: int, required: bool = True
) -> Shares:
    """Return which share of each class each of `count` devices gets, from the training labels int64 (N,).

    `dirichlet`: for each class from Dir(α) (Hsu, Qi, Brown, arXiv 1909.06335, the other way round: Yurochkin et al.,
    ICML 2019), drawn anew until every device has `least` rows; `classes`: each device has that many classes, and shares
    each with the others that have it; otherwise equal shares. Raises DataError where a device would have fewer rows
    than `least`, if so many are `required`.

    >>> shares = draw_shares(Shards("classes(1)"), torch.tensor([0, 0, 1]), classes=2, count=2, seed=0, least=1)
    >>> shares.sum(0).tolist()
    [1.0, 1.0]
    """
    rows = np.bincount(labels.numpy(), minlength=classes)
    if shards.kind == "classes":
        shares = _class_shares(shards.classes or 0, classes, count, seed)
    elif shards.kind == "dirichlet":
        random = np.random.RandomState(mix(seed, "shards") % (1 << 32))
        for _ in range(_DRAWS):
            shares = _dirichlet(random, shards.alpha or 0.0, classes, count)
            if _sizes(shares, rows).min() >= least:
                break
    else:
        shares = np.full((classes, count), 1 / count)
    if not required:
        return shares
    sizes = _sizes(shares, rows) if shards.kind in ("classes", "dirichlet") else _even_sizes(len(labels), count)
    require_rows(sizes, least, f"devices.shards={shards}")
    return shares


def require_rows(sizes: npt.NDArray[np.int64], least: int, how: str) -> None:
    """Raise DataError where the smallest of the devices' shards has fewer training rows than `least`, one batch."""
    smallest = int(sizes.argmin())
    if sizes[smallest] < least:
        raise DataError(
            f"{how}: {int(sizes.sum())} training rows dealt to {len(sizes)} devices leave device {smallest} with "
            f"{int(sizes[smallest])}, fewer than a batch of {least}; lower devices.count or train.batch_size, or deal "
            "them more evenly"
        )


def deal(shards: Shards, shares: Shares, labels: torch.Tensor, seed: int, split: str) -> torch.Tensor:
    """Return the device of each row of a split, int64 (N,), by the shares that `draw_shares` drew.

    >>> shares = draw_shares(Shards(), torch.zeros(6).long(), classes=1, count=3, seed=0, least=1)
    >>> deal(Shards(), shares, torch.zeros(6).long(), seed=0, split="train").bincount().tolist()
    [2, 2, 2]
    """
    owners = torch.empty(len(labels), dtype=torch.int64)
    if shards.kind == "iid":
        order = torch.randperm(len(labels), generator=generator("shards", seed, split))
        owners[order] = torch.arange(len(labels)) % shares.shape[1]
        return owners
    for label in range(len(shares)):
        rows = (labels == label).nonzero().flatten()
        order = rows[torch.randperm(len(rows), generator=generator("shards", seed, split, label))]
        ends = _ends(shares[label : label + 1], np.array([len(rows)]))[0]
        owners[order] = torch.from_numpy(np.searchsorted(ends, np.arange(len(rows)), side="right"))
    return owners


def deal_values(values: list[str], train: list[str], count: int, column: str) -> torch.Tensor:
    """Return the device of each of some rows, int64 (N,), by their values in a column; `train` has all training rows'.

    Values go to the device that has the fewest training rows so far, those with the most rows first. Raises DataError
    for fewer values than devices.

    >>> deal_values(["anna", "ben", "anna"], ["anna", "ben", "anna"], count=2, column="speaker").tolist()
    [0, 1, 0]
    """
    counts: dict[str, int] = {}
    for value in train:
        counts[value] = counts.get(value, 0) + 1
    if len(counts) < count:
        raise DataError(
            f"devices.shards=column({column}): the training rows have {len(counts)} values for {count} devices; lower "
            "devices.count"
        )
    sizes, owner = [0] * count, {}
    for value in sorted(counts, key=lambda value: (-counts[value], value)):
        owner[value] = sizes.index(min(sizes))
        sizes[owner[value]] += counts[value]
    unseen = sorted(set(values) - set(owner))
    owner |= {value: index % count for index, value in enumerate(unseen)}
    return torch.tensor([owner[value] for value in values], dtype=torch.int64)


def _class_shares(each: int, classes: int, count: int, seed: int) -> Shares:
    """Return equal shares of `each` classes for each device, all classes taken in turn."""
    if each > classes:
        raise DataError(f"devices.shards=classes({each}): the data have {classes} classes; lower it")
    if each * count < classes:
        raise DataError(
            f"devices.shards=classes({each}): {count} devices take {each * count} of {classes} classes, and every row "
            f"goes to one of them; set at least classes({-(-classes // count)}), or more devices"
        )
    order = torch.randperm(classes, generator=generator("shards", seed)).numpy()
    held = np.zeros((classes, count))
    for device in range(count):
        held[order[(device * each + np.arange(each)) % classes], device] = 1
    shares: Shares = held / held.sum(1, keepdims=True)
    return shares


def _dirichlet(random: np.random.RandomState, alpha: float, classes: int, count: int) -> Shares:
    # In logarithms: at small α a gamma variate is often below the smallest number, and all of a row may be.
    logs = np.log(random.gamma(alpha + 1, size=(classes, count))) + np.log(1 - random.rand(classes, count)) / alpha
    weights = np.exp(logs - logs.max(1, keepdims=True))
    shares: Shares = weights / weights.sum(1, keepdims=True)
    return shares


def _ends(shares: Shares, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where each device's rows of each class end; the last ends with the class."""
    ends = np.rint(shares.cumsum(1) * rows[:, None]).astype(np.int64)
    ends[:, -1] = rows
    return np.minimum(ends, rows[:, None])


def _sizes(shares: Shares, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    sizes: npt.NDArray[np.int64] = np.diff(_ends(shares, rows), axis=1, prepend=0).sum(0)
    return sizes


def _even_sizes(rows: int, count: int) -> npt.NDArray[np.int64]:
    return np.array([rows // count + (device < rows % count) for device in range(count)])
