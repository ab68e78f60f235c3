"""timm's and torchvision's own weights, and the normalization that weights expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from raysplit.config import ModelConfig
from raysplit.errors import ConfigError, ModelError
from raysplit.models.build import create_timm, find_library
from raysplit.models.checkpoint_file import find_weights_file, read_about

MeanStd = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of each channel, in 0..1."""


def fetch_state(config: ModelConfig, shape: tuple[int, int, int], settings: str = "model") -> dict[str, Tensor]:
    """Return the state dict of the library's own weights, from its cache or its hub; timm adapts them to `shape`.

    `settings` is where `config` is in the config of a run or build, for errors. Raises ModelError for a network without
    such weights, and where no hub can be reached.
    """
    library, bare = find_library(config.name)
    if library == "torchvision":
        import torchvision.models as zoo

        weights = zoo.get_model_weights(bare)
        if not len(weights):
            raise ModelError(f"torchvision has no weights of {bare}; set {settings}.weights=FILE")
        fetch = weights.DEFAULT.get_state_dict
    elif library == "timm":
        import timm

        found = timm.get_pretrained_cfg(bare)
        if found is None or not found.has_weights:
            known = ", ".join(name for name in timm.list_pretrained(f"{bare.partition('.')[0]}*")[:3])
            raise ModelError(
                f"timm has no weights of {bare}{f' (it has {known})' if known else ''}; set {settings}.weights=FILE"
            )

        def fetch() -> dict[str, Tensor]:
            state: dict[str, Tensor] = create_timm(bare, shape, config.args, pretrained=True).state_dict()
            return state
    else:
        raise ConfigError(
            f"{settings}.pretrained=true: {config.name} is neither torchvision's nor timm's, whose weights can be "
            f"fetched; set {settings}.weights=FILE"
        )
    try:
        return dict(fetch())
    except Exception as err:
        reason = " ".join(str(err).split())[:200]
        raise ModelError(
            f"the weights of {library}'s {bare} are not in the cache and cannot be fetched here "
            f"({type(err).__name__}: {reason}); fetch them where there is a network and set {settings}.weights=FILE"
        ) from None


def read_normalization(
    config: ModelConfig, channels: int, *, settings: str = "model", key: str = "model.weights"
) -> MeanStd | None:
    """Return mean and deviation that the config's weights expect; None: they say nothing, or are not asked.

    For errors, `settings` is where `config` is in the config of a run or build, and `key` the setting of the file.

    The file's own come first (safetensors metadata, entries beside the state dict, timm's `pretrained_cfg`), then the
    library's for the network's name. Raises ConfigError for images of another number of channels.
    """
    if config.normalize != "auto":
        return None
    if config.module is not None:
        found = _find_mean_std({"pretrained_cfg": getattr(config.module, "pretrained_cfg", None)}, settings)
    elif config.weights is not None:
        about = read_about(find_weights_file(config.weights, key))
        found = _find_mean_std(about, settings) or _library_mean_std(config.name)
    else:
        found = _library_mean_std(config.name) if config.pretrained else None
    if found is not None and not len(found[0]) == len(found[1]) == channels:
        raise ConfigError(
            f"{settings}.normalize=auto: the weights of {config.name} are for images of {len(found[0])} channels, "
            f"these have {channels}; set data.channels={len(found[0])}, or {settings}.normalize=data"
        )
    return found


def _find_mean_std(about: Mapping[str, Any], settings: str) -> MeanStd | None:
    for holder in (about, about.get("pretrained_cfg"), about.get("default_cfg")):
        if isinstance(holder, Mapping) and holder.get("mean") is not None and holder.get("std") is not None:
            try:
                mean, std = (tuple(float(value) for value in holder[key]) for key in ("mean", "std"))
            except (TypeError, ValueError):
                raise ModelError(
                    f"mean and std of the weights are {holder['mean']!r} and {holder['std']!r}, expected a list of "
                    f"numbers each; set {settings}.normalize=data"
                ) from None
            return mean, std
    return None


def _library_mean_std(name: str) -> MeanStd | None:
    library, bare = find_library(name)
    if library == "torchvision":
        import torchvision.models as zoo

        weights = zoo.get_model_weights(bare)
        transform = weights.DEFAULT.transforms() if len(weights) else None
        return None if transform is None else (tuple(transform.mean), tuple(transform.std))
    if library == "timm":
        import timm

        found = timm.get_pretrained_cfg(bare)
        return None if found is None else (tuple(found.mean), tuple(found.std))
    return None
