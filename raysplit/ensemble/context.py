"""What all stages of a build share: its folder, its config, the facts about its data, and then its plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raysplit.config import EnsembleConfig
from raysplit.config.ensemble_plan import EnsemblePlan
from raysplit.data import Facts, load, mean_std, read_facts
from raysplit.ensemble.samples import Samples
from raysplit.folders.build_dir import BuildDir

Channels = tuple[float, ...]
"""A number for each channel, in 0..1."""


@dataclass(frozen=True)
class Normalization:
    """What the channels of an image are normalized by."""

    mean: Channels
    std: Channels


def read_normalization(config: EnsembleConfig) -> Normalization:
    """Return the config's normalization, or that of its training images."""
    if config.base.mean is not None and config.base.std is not None:
        return Normalization(config.base.mean, config.base.std)
    return Normalization(*mean_std(load(config.data, "train").images))


@dataclass(frozen=True)
class BuildContext:
    """One build, before its sub-models are planned. It is small and can be pickled; images are loaded when needed."""

    folder: BuildDir
    config: EnsembleConfig
    data: Facts
    normalization: Normalization

    def load_samples(self, split: Literal["train", "val", "test"]) -> Samples:
        """Return a split of the data, normalized as the base expects it."""
        images = load(self.config.data, split)
        return Samples(images.images, images.labels, self.normalization.mean, self.normalization.std)

    def with_plan(self, plan: EnsemblePlan) -> PlannedBuild:
        """Return the build with its plan."""
        return PlannedBuild(self.folder, self.config, self.data, self.normalization, plan)


@dataclass(frozen=True)
class PlannedBuild(BuildContext):
    """One build whose sub-models are planned: what the stages after the base work on."""

    plan: EnsemblePlan


def open_build(config: EnsembleConfig, location: str) -> BuildContext:
    """Return the context of a config's build in a folder, a path or URI, which need not exist yet.

    Raises DataError for data that cannot be used.
    """
    return BuildContext(BuildDir.at(location), config, read_facts(config.data), read_normalization(config))
