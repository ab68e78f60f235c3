"""What all stages of a build share: its folder, its config, the facts about its data, and then its plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raysplit import models
from raysplit.config import EnsembleConfig
from raysplit.config.ensemble_plan import EnsemblePlan
from raysplit.data import Facts, load, mean_std, read_facts
from raysplit.ensemble.samples import Samples
from raysplit.folders.build_dir import BuildDir
from raysplit.records.build_stages import Normalization


def read_normalization(config: EnsembleConfig) -> Normalization:
    """Return the config's normalization, that which the base's weights expect, or that of its training images.

    Raises what `raysplit.models.read_normalization` raises.
    """
    if config.base.mean is not None and config.base.std is not None:
        return Normalization(mean=config.base.mean, std=config.base.std)
    images = load(config.data, "train").images
    base = config.base
    expected = models.read_normalization(base.start, images.shape[1], settings="base.model", key=base.start_key)
    mean, std = expected or mean_std(images)
    return Normalization(mean=mean, std=std)


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
        chunks = None if split == "train" else images.chunks
        normalization = self.normalization
        return Samples(images.images, images.labels, normalization.mean, normalization.std, chunks=chunks)

    def with_plan(self, plan: EnsemblePlan) -> PlannedBuild:
        """Return the build with its plan."""
        return PlannedBuild(self.folder, self.config, self.data, self.normalization, plan)


@dataclass(frozen=True)
class PlannedBuild(BuildContext):
    """One build whose sub-models are planned: what the stages after the base work on."""

    plan: EnsemblePlan


def open_build(config: EnsembleConfig, location: str) -> BuildContext:
    """Return the context of a config's build in a folder, a path or URI, which need not exist yet.

    Raises DataError for data that cannot be used, and what `read_normalization` raises.
    """
    folder = BuildDir.at(location)
    kept = folder.normalization()
    return BuildContext(folder, config, read_facts(config.data), kept or read_normalization(config))
