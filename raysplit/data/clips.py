"""Which rows are the chunks of one recording, a clip, and which clips must stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from raysplit.config import DataConfig
from raysplit.errors import DataError
from raysplit.torch_utils.seeds import generator


@dataclass(frozen=True)
class Clips:
    """The clips of a split, in the order of its rows, of which each has its chunks one after the other.

    >>> clips = Clips(torch.tensor([2, 1]), groups=torch.tensor([0, 0]), held_out=torch.tensor([False, False]))
    >>> clips.rows(torch.tensor([1, 0])).tolist()
    [2, 0, 1]
    """

    chunks: torch.Tensor
    """Of each clip, int64 (M,)."""
    groups: torch.Tensor
    """Number of each clip's speaker or song, int64 (M,)."""
    held_out: torch.Tensor
    """Whether the data set itself has it in its validation split, bool (M,)."""

    def rows(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the rows of some clips, int64, clip by clip."""
        counts = self.chunks[clips]
        first = (self.chunks.cumsum(0) - self.chunks)[clips]
        within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        return first.repeat_interleave(counts) + within


def average_chunks(probabilities: torch.Tensor, chunks: Sequence[int]) -> torch.Tensor:
    """Return the mean of the probabilities (N, classes) of each clip's chunks, (clips, classes).

    >>> average_chunks(torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]), [2, 1]).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    return torch.stack([part.mean(0) for part in probabilities.split(list(chunks))])


def label_clips(labels: torch.Tensor, chunks: Sequence[int]) -> torch.Tensor:
    """Return the label of each clip, int64 (clips,), from those of its chunks (N,).

    >>> label_clips(torch.tensor([3, 3, 7]), [2, 1]).tolist()
    [3, 7]
    """
    counts = torch.tensor(list(chunks))
    return labels[counts.cumsum(0) - counts]


def split_clips(clips: Clips, config: DataConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which clips of a training split are trained on and which are for validation, shuffled by the seed.

    Where the data set has no validation split of its own, whole groups are drawn until `val_fraction` of the rows is
    reached as nearly as it can be. No group is on both sides. Raises DataError where nothing would be left to train on
    or to validate on.
    """
    order = torch.randperm(len(clips.chunks), generator=generator("split", config.split_seed))
    held_out = clips.held_out if clips.held_out.any() else _draw_groups(clips, config)
    train, val = order[~held_out[order]], order[held_out[order]]
    if not len(train):
        raise DataError(f"{config.name}: the validation split holds all recordings; none is left to train on")
    if config.train_rows is not None:
        fitting = int((clips.chunks[train].cumsum(0) <= config.train_rows).sum())
        train = train[: max(fitting, 1)]
    return train, val


def _draw_groups(clips: Clips, config: DataConfig) -> torch.Tensor:
    """Return which clips are of the groups drawn for validation, bool (M,)."""
    count = int(clips.groups.max()) + 1
    if count < 2:
        raise DataError(
            f"{config.name}: all recordings are of one speaker or song, so none is left to validate on; data.group "
            "says how they are told apart"
        )
    rows = torch.zeros(count, dtype=torch.int64).index_add_(0, clips.groups, clips.chunks)
    drawn = torch.randperm(count, generator=generator("groups", config.split_seed))
    missed = (rows[drawn].cumsum(0) - config.val_fraction * int(rows.sum())).abs()
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[drawn[: int(missed[: count - 1].argmin()) + 1]] = True
    return chosen[clips.groups]
