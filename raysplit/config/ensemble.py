"""The config of an ensemble of sub-models: base, class groups, pruning, retraining, fusion, devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysplit.config.data import DataConfig
from raysplit.config.model import ModelConfig, Precision
from raysplit.config.training import FitConfig, Patterns
from raysplit.hardware.machine import Machine
from raysplit.utils.frozen import Frozen, Name
from raysplit.utils.settings import with_settings


class ClassifierFit(FitConfig):
    """How a plain classifier is trained."""

    optimizer: Literal["sgd", "adamw", "muon", "muon_sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    compile: bool = False
    """Let torch.compile fuse the operations of a training step: on a CPU a small transformer trains 1.5 to 2 times as
    fast, after a minute of compiling, whose result is cached on disk. On a CPU it needs a C++ compiler."""


class BaseConfig(Frozen):
    """The classifier that the sub-models are cut out of."""

    model: ModelConfig
    weights: str | None = None
    """A file of weights that is the base, as `model.weights` takes it, for the data's classes; None: the base is
    trained."""
    pretrained: str | None = None
    """A file that training starts from: another name of `model.weights`."""
    freeze: Patterns = ()
    """Glob patterns of parameters that are not trained, as in `TrainConfig.freeze`."""
    mean: tuple[float, ...] | None = None
    """With `std`, of each channel, in 0..1: the normalization that the weights expect; None: that of the training
    images, or with `model.normalize=auto` what the weights say."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    train: ClassifierFit = ClassifierFit()
    workers: Annotated[int, Field(ge=0)] = 0
    """Data-parallel workers of Ray Train that train it; 0: it is trained in this process."""

    @model_validator(mode="after")
    def _one_start(self) -> BaseConfig:
        given = {
            "base.weights": self.weights is not None,
            "base.pretrained": self.pretrained is not None,
            "base.model.weights": self.model.weights is not None,
            "base.model.pretrained": self.model.pretrained,
        }
        named = [key for key, is_set in given.items() if is_set]
        if len(named) > 1:
            raise ValueError(
                f"{' and '.join(named)} are set; base.weights replaces training, the others start it: set only one"
            )
        if self.weights is not None and self.freeze:
            raise ValueError("base.weights is not trained, base.freeze has no effect; set base.freeze to []")
        if self.mean is not None and self.model.normalize == "auto":
            raise ValueError("base.mean and base.model.normalize=auto both say how to normalize; leave one of them out")
        return self

    @property
    def start(self) -> ModelConfig:
        """The network with the weights that it has before training."""
        file = self.weights or self.pretrained
        return self.model if file is None else self.model.replaced(weights=file)

    @property
    def start_key(self) -> str:
        """The setting that names the file of those weights."""
        return "base.weights" if self.weights else "base.pretrained" if self.pretrained else "base.model.weights"

    def without_start(self) -> BaseConfig:
        """Return a copy that starts from random weights: for a training that goes on from a checkpoint."""
        return self.replaced(pretrained=None, model=self.model.without_start())


class GroupsConfig(Frozen):
    """Which sub-model knows which classes."""

    n: Annotated[int, Field(ge=1)] | None = None
    """Number of sub-models; None: one for each device."""
    by: Literal["seed", "confusion", "none"] = "seed"
    """`seed`: random groups of near-equal size; `confusion`: groups that keep together the classes that the base
    confuses on validation images; `none`: each sub-model knows all classes."""
    seed: int = 0
    rest: bool = True
    """Give each sub-model's head a first output, "any other class", for images of classes that are not its own."""
    negatives: Annotated[int, Field(ge=0)] | None = None
    """Training images of each other class for that output; None: n_train / (10 · classes) − own classes (EC-SNN)."""
    redraw: bool = True
    """Draw those images anew in each epoch; False: the same ones throughout, as in EC-SNN."""


class PruneConfig(Frozen):
    """How much of the base a sub-model keeps, and which units."""

    keep: Annotated[float, Field(gt=0, le=1)] | Literal["fit"] = "fit"
    """Kept share of width, attention, hidden units and filters; `fit`: as much as the devices hold."""
    scores: Literal["fast", "exact", "apoz", "random"] = "fast"
    """How units are ranked (docs/ensembles.md)."""
    proxy: Annotated[int, Field(ge=1)] = 128
    """Training images of a sub-model's own classes that the units are scored on."""


class RetrainConfig(ClassifierFit):
    """How a sub-model is trained after pruning."""

    distill: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a second loss: a linear probe on the features must match the base's predictions for all classes."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Of both softmaxes in that loss."""


class FusionConfig(ClassifierFit):
    """The MLP that turns the features of all sub-models into one prediction, and how it is trained."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    batch_size: Annotated[int, Field(ge=1)] = 256
    layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Number of linear layers; each hidden one is half as wide as the one before."""
    views: Annotated[int, Field(ge=1)] = 2
    """Passes over the training images whose features are computed once and trained on: the first without augmentation,
    the others with it. 1 where `data.augment` is none."""
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Probability that a sub-model's features are missing from a training sample."""
    fill: Literal["zero", "mean"] = "mean"
    """What replaces missing features: zeros, or the sub-model's mean over the training images."""


class EnsembleConfig(Frozen):
    """The config of one ensemble.

    >>> base = BaseConfig(model=ModelConfig(name="vgg5"))
    >>> config = EnsembleConfig(name="mine", data=DataConfig(name="digits"), base=base, groups=GroupsConfig(n=2),
    ...                         prune=PruneConfig(keep=0.5))
    >>> config.with_settings(["groups.n=3"]).n
    3
    """

    name: Name
    data: DataConfig
    base: BaseConfig
    groups: GroupsConfig = GroupsConfig()
    prune: PruneConfig = PruneConfig()
    common: RetrainConfig | None = None
    """How a common network of all classes is trained for each size, which all sub-models of that size are then cut out
    of; None: each sub-model is cut out of the base for its own classes."""
    retrain: RetrainConfig | None = RetrainConfig()
    """How sub-models are trained after pruning; None: they are not."""
    fusion: FusionConfig = FusionConfig()
    precision: Precision = "fp32"
    """Of the sub-models' files; int8 has a scale for each row of a weight and computes in bf16."""
    devices: tuple[Machine, ...] = ()
    samples: Annotated[int, Field(ge=1)] = 1000
    """Images that each device must be able to process with its energy."""
    seed: int = 0
    storage: str = "~/ray_results"
    """Folder or URI (any pyarrow file system) that new builds are made in; shared by all nodes."""

    @model_validator(mode="after")
    def _check_consistency(self) -> EnsembleConfig:
        if self.groups.n is None and not self.devices:
            raise ValueError("groups.n is not set and there are no devices; set groups.n or list devices")
        if self.prune.keep == "fit" and not self.devices:
            raise ValueError("prune.keep is 'fit' and there are no devices to fit; set prune.keep or list devices")
        names = [device.name for device in self.devices]
        if len(set(names)) < len(names):
            raise ValueError(f"two devices have the same name: {', '.join(sorted(names))}; rename one")
        if (self.base.mean is None) != (self.base.std is None):
            raise ValueError("only one of base.mean and base.std is set; set both or neither")
        if self.base.mean and self.base.std and len(self.base.mean) != len(self.base.std):
            raise ValueError("base.mean and base.std differ in length; give one number for each channel")
        return self

    @property
    def n(self) -> int:
        """Number of sub-models."""
        return self.groups.n or len(self.devices)

    def with_settings(self, settings: Iterable[str]) -> EnsembleConfig:
        """Return a copy with `key.path=value` settings applied, as `SplitConfig.with_settings`."""
        return with_settings(self, settings, where=f"recipe {self.name}")
