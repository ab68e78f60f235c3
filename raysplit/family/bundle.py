"""A prune family as a bundle: one model for each level, for serving at whichever level the link allows."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any, TypeVar

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from raysplit.compress.codec import Codec
from raysplit.compress.user_codec import build_codec
from raysplit.config import Frozen, Level, Prune, SplitConfig, describe, loads
from raysplit.errors import BundleError, ConfigError, nearest
from raysplit.folders.run_dir import RunDir, level_file
from raysplit.records.levels import level_records
from raysplit.train.halves import BuiltHalves, DeviceHalf, ServerHalf, build_device_half, build_server_half
from raysplit.utils.bundle import MANIFEST, Bundle, open_bundle, write_bundle

KIND = "prune_family"
Half = TypeVar("Half", bound=nn.Module)
_RECORD = ("config.json", "metrics.parquet", "summary.json")
"""The run's record goes along: halves are built from the config, and a report reads a family like its run."""


class FamilyLevel(Frozen):
    """One model of a family; the fields of `raysplit.records.levels.LevelRecord`, and where it lies."""

    level: str
    """As a level prints: `c4·b4/b4·zstd`."""
    file: str
    epochs: int
    test_accuracy: float
    val_accuracy: float
    bytes_per_sample_up: float
    bytes_per_sample_down: float
    seconds: float
    bytes_per_image: int
    """Bytes of one image's activation message in a batch of one, header included."""
    bytes_per_image_exact: bool
    """False: an upper bound, because an entropy stage follows."""


class FamilyManifest(Frozen):
    """What the manifest says of a family."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    """Of each channel of the training images, in 0..1; with `std`, the normalisation."""
    std: tuple[float, ...]
    cut: str
    channel_dim: int
    """Dimension of the channels in the batched tensor that crosses."""
    code_shape: tuple[int, ...]
    """Shape of what crosses, without the batch dimension."""
    levels: tuple[FamilyLevel, ...]
    """Loosest first."""


def prune_of(config: SplitConfig) -> Prune:
    """Return the schedule of a recipe that trains a family; ConfigError for any other schedule."""
    if not isinstance(config.schedule, Prune):
        kind = getattr(config.schedule, "kind", type(config.schedule).__name__)
        raise ConfigError(
            f"recipe {config.name} has a {kind} schedule, a family is trained by prune "
            "(for example --recipe mnist5k_vgg11_prune)"
        )
    return config.schedule


def write_family(run_dir: str, out: str) -> str:
    """Write the bundle of a finished prune run to a path or URI and return where it is.

    Raises ConfigError for a run of another schedule or one that has not ended.

    >>> family = load_family(write_family("run", "new_family"))
    >>> [level.level for level in family.levels]
    ['all·b4/b4·zstd', 'c2·b4/b4·zstd']
    """
    place = RunDir.at(run_dir)
    config, summary = place.config(), place.summary()
    prune_of(config)
    if summary is None:
        raise ConfigError(f"run '{run_dir}' has not ended; go on with --resume {run_dir}")
    built = build_device_half(config, len(summary.classes), summary.shape, init_weights=False)
    levels: list[dict[str, Any]] = []
    for index, member in enumerate(level_records(place.records(), config.train.batch_size)):
        codec = build_codec(config.codec, Level(member.level), "up", built.cut.channel_dim)
        size = codec.estimate((1, *built.code_shape))
        image = {"bytes_per_image": size.bytes, "bytes_per_image_exact": size.exact}
        levels.append({"level": member.level, "file": level_file(index)} | asdict(member) | image)
    about = FamilyManifest.model_validate(
        {
            "classes": summary.classes,
            "shape": summary.shape,
            "mean": summary.mean,
            "std": summary.std,
            "cut": built.cut.name,
            "channel_dim": built.cut.channel_dim,
            "code_shape": built.code_shape,
            "levels": levels,
        }
    )
    names = [*(level.file for level in about.levels), *_RECORD]
    return write_bundle(out, KIND, about.model_dump(mode="json"), {name: place.read(name) for name in names})


def load_family(location: str) -> Family:
    """Open a family by path or URI, every hash checked.

    Raises BundleError for what is not a family, and for damaged, missing or contradictory files.

    >>> family = load_family("family")
    >>> {level.level: level.bytes_per_image for level in family.levels}
    {'all·b4/b4·zstd': 115, 'c2·b4/b4·zstd': 68}
    """
    bundle = open_bundle(location, KIND)
    try:
        about = FamilyManifest.model_validate(bundle.about)
    except ValidationError as err:
        raise BundleError(f"{MANIFEST} of family '{location}' is malformed: {describe(err)}; write it again") from None
    text = bundle.path("config.json").read_text(encoding="utf-8")
    config = loads(SplitConfig, text, where=f"config.json of family '{location}'")
    here, planned = [level.level for level in about.levels], [str(level) for level in config.levels()]
    if here != planned:
        raise BundleError(
            f"{MANIFEST} of family '{location}' lists the levels {', '.join(here) or 'none'}; its config.json has "
            f"{', '.join(planned)}. Write the family again from its run"
        )
    return Family(bundle, about, config)


class Family:
    """A family that was loaded: what it holds, and its halves level by level.

    Halves come on the CPU in eval mode with fp32 weights. They give the record's accuracy when they compute as
    the run did: in the `train.precision` and `train.channels_last` of the config, with the codec between them.
    """

    def __init__(self, bundle: Bundle, about: FamilyManifest, config: SplitConfig):
        self.about, self.config = about, config
        self._bundle = bundle

    @property
    def id(self) -> str:
        """sha256 of the canonical manifest, in hex."""
        return self._bundle.id

    @property
    def levels(self) -> tuple[FamilyLevel, ...]:
        """Every level, loosest first."""
        return self.about.levels

    def load(self, level: str) -> BuiltHalves:
        """Return both halves at a level, given as it prints; BundleError for one that is not in the family."""
        built = build_device_half(self.config, *self._geometry, init_weights=False)
        device = self._fill(built.half, level, "device")
        return BuiltHalves(built.cut, built.code_shape, device, self.server(level), built.head)

    def device(self, level: str) -> DeviceHalf:
        """Return the device half alone; no memory is allocated for the server half."""
        return self._fill(build_device_half(self.config, *self._geometry, init_weights=False).half, level, "device")

    def server(self, level: str) -> ServerHalf:
        """Return the server half alone; no memory is allocated for the device half."""
        return self._fill(build_server_half(self.config, *self._geometry, init_weights=False).half, level, "server")

    def codec(self, level: str) -> Codec:
        """Return the codec that brings activations up at a level."""
        return build_codec(self.config.codec, self.level(level), "up", self.about.channel_dim)

    def level(self, level: str) -> Level:
        """Return a level of the family, given as it prints; BundleError for one that is not in the family."""
        return Level(self._entry(level).level)

    @property
    def _geometry(self) -> tuple[int, tuple[int, int, int]]:
        """Number of classes, and channels, height and width of the images."""
        return len(self.about.classes), self.about.shape

    @cached_property
    def _by_name(self) -> dict[str, FamilyLevel]:
        return {level.level: level for level in self.levels}

    def _entry(self, level: str) -> FamilyLevel:
        # Plain dots may stand for the middle ones, as everywhere.
        found = self._by_name.get(level) or self._by_name.get(level.replace(".", "·"))
        if found is None:
            hint = nearest(level, self._by_name)
            raise BundleError(f"family '{self._bundle.location}' has no level '{level}'. {hint}")
        return found

    def _fill(self, half: Half, level: str, side: str) -> Half:
        file, prefix = self._entry(level).file, f"{side}."
        try:
            with safe_open(self._bundle.path(file), framework="pt") as stored:
                names = [name for name in stored.keys() if name.startswith(prefix)]  # noqa: SIM118
                half.load_state_dict(
                    {name.removeprefix(prefix): stored.get_tensor(name) for name in names}, assign=True
                )
        except (SafetensorError, RuntimeError) as err:
            reason = " ".join(str(err).split())
            raise BundleError(
                f"{file} of family '{self._bundle.location}' does not fit its config.json: {reason}"
            ) from None
        half.eval()
        return half
