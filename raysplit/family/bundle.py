"""A family as a bundle: a model for each level, to serve at whichever level the link allows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Literal, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from raysplit.compress.codec import Codec
from raysplit.compress.user_codec import build_codec
from raysplit.config import DevicesConfig, Level, Prune, SplitConfig, describe, loads
from raysplit.config.in_memory import PREFIX
from raysplit.data.inputs import InputFormat
from raysplit.errors import BundleError, ConfigError, nearest
from raysplit.family.shared_levels import SharedLevels
from raysplit.folders.search_names import NETWORKS, SEARCH
from raysplit.records.family import FOLDER, KIND, FamilyLevel, FamilyManifest
from raysplit.schedules import Decision, History, RunContext
from raysplit.torch_utils.finite import holds_nan
from raysplit.train.half_modules import DeviceHalf, ServerHalf
from raysplit.train.halves import build_device_half, build_server_half
from raysplit.train.own_states import RECEIPT, StateReference, describe_missing_half
from raysplit.train.user_files import CODEC_FILE, MODEL_FILE, use_copies
from raysplit.utils.bundle import MANIFEST, Bundle, FileEntry, open_bundle
from raysplit.utils.storage import Folder
from raysplit.utils.user_code import ObjectRecord

_EARLIER_KIND = "prune_family"
KINDS = (KIND, _EARLIER_KIND)
"""The kinds of bundle that are families; the second was written before every run had one."""
Side = Literal["device", "server"]
Half = TypeVar("Half", DeviceHalf, ServerHalf)


def require_prune_schedule(config: SplitConfig) -> Prune:
    """Return the schedule of a recipe that trains a family; ConfigError for any other schedule."""
    if not isinstance(config.schedule, Prune):
        kind = getattr(config.schedule, "kind", type(config.schedule).__name__)
        raise ConfigError(
            f"recipe {config.name} has a {kind} schedule, a family is trained by prune "
            "(for example --recipe mnist5k_vgg11_prune)"
        )
    return config.schedule


def find_family(location: str) -> str:
    """Return where the family is at a path or URI: a family, or a run that has written its own.

    Raises BundleError for a run that has none, and for a search, which has several.

    >>> find_family("family")
    'family'
    """
    folder = Folder.at(location)
    if folder.has(SEARCH):
        networks = [posixpath.join(location, NETWORKS, name) for name in Folder.at(f"{location}/{NETWORKS}").names()]
        raise BundleError(
            f"'{location}' is a search; name a point of its front: {', '.join(networks) or 'it has none'}"
        )
    if folder.has(MANIFEST) or not folder.has("config.json"):
        return location
    inner = posixpath.join(location, FOLDER)
    if Folder.at(inner).has(MANIFEST):
        return inner
    if folder.has("summary.json") and (receipt := folder.find(RECEIPT)) is not None:
        raise BundleError(describe_missing_half(location, StateReference.parse(receipt)))
    if folder.has("summary.json"):
        raise BundleError(
            f"run '{location}' was trained before every run wrote its family: "
            f"raysplit.write_family('{location}', '{inner}') writes it"
        )
    raise BundleError(f"run '{location}' has not ended; continue it with --resume {location}")


def load_family(location: str, config: SplitConfig | None = None) -> Family:
    """Open a family, or the one in the folder of a run, by path or URI and check the hash of every file.

    `config` is that of the run, for a network, data set or codec that existed in memory only.

    Raises BundleError for anything that is not a family, and for damaged, missing or contradictory files.

    >>> family = load_family("family")
    >>> {level.level: level.bytes_per_image for level in family.levels}
    {'all·b4/b4·zstd': 115, 'c2·b4/b4·zstd': 68}
    """
    location = find_family(location)
    bundle = open_bundle(location, KIND, earlier=_EARLIER_KIND)
    try:
        manifest = FamilyManifest.model_validate(bundle.about)
    except ValidationError as err:
        raise BundleError(f"{MANIFEST} of family '{location}' is malformed: {describe(err)}; write it again") from None
    text = bundle.path("config.json").read_text(encoding="utf-8")
    stored = loads(SplitConfig, text, where=f"config.json of family '{location}'")
    listed = [level.level for level in manifest.levels]
    # The levels of a user's own schedule are in the user's own file, which a family does without.
    trained = [str(level) for level in stored.schedule.levels()] if isinstance(stored.schedule, Prune) else listed
    if not listed or listed != trained:
        raise BundleError(
            f"{MANIFEST} of family '{location}' lists the levels {', '.join(listed) or 'none'}; its config.json has "
            f"{', '.join(trained)}. Write the family again from its run"
        )
    if config is not None and config.model_dump(mode="json") != stored.model_dump(mode="json"):
        raise ConfigError(f"the config is not that of family '{location}'; pass the one that its run was trained with")
    return Family(bundle, manifest, config or stored)


class _KeptLevels:
    """Stands for the schedule of a run that has ended: halves are built for the levels that it kept."""

    def __init__(self, manifest: FamilyManifest):
        self._levels = tuple(Level(entry.level) for entry in manifest.levels)
        self.hands_over = manifest.answered_by == "both"

    def levels(self) -> tuple[Level, ...]:
        return self._levels

    def decide(self, context: RunContext, history: History) -> Decision:
        raise AssertionError("a family is not trained")


class Family:
    """A loaded family: its manifest, and its halves level by level.

    Halves are on the CPU in eval mode with fp32 weights, and each allocates its own weights alone. They reach the
    recorded accuracy when they compute as the run did: in the `train.precision` and `train.channels_last` of the
    config, with the codec between them.

    >>> family = load_family("family")
    >>> device, codec = family.device("c2.b4/b4.zstd"), family.codec("c2.b4/b4.zstd")
    >>> z = device(torch.zeros(1, *family.manifest.shape))
    >>> codec.compress(z, 0, device.encoder.choose_channels(2)).size <= 68
    True
    """

    def __init__(self, bundle: Bundle, manifest: FamilyManifest, config: SplitConfig):
        self.manifest, self.config = manifest, config
        self._bundle = bundle
        copies = {name: bundle.path(name) for name in self.code}
        # How devices trained is no matter any more, and not every mode goes with every schedule. There are two halves:
        # what follows a second cut is part of the server's.
        ended = config.replaced(schedule=_KeptLevels(manifest), devices=DevicesConfig(), cut_back=None)
        self._ended = use_copies(ended, copies)

    @property
    def id(self) -> str:
        """sha256 of the canonical manifest, in hex."""
        return self._bundle.id

    @property
    def files(self) -> Mapping[str, FileEntry]:
        """What the bundle's manifest records about each file, by name."""
        return self._bundle.files

    @property
    def input(self) -> InputFormat:
        """What the device half takes, and how files become it."""
        return InputFormat(self.manifest.shape, self.config.data.audio)

    @property
    def code(self) -> tuple[str, ...]:
        """The user's own files in the bundle, which run when a half or a codec is built."""
        return tuple(name for name in (MODEL_FILE, CODEC_FILE) if name in self._bundle.files)

    def require_parts(self) -> None:
        """Raise ConfigError for a network or codec that existed in memory only and was not given again."""
        model, codec = self.config.model, self.config.codec
        if model.module is None and model.name.startswith(PREFIX):
            raise self._lost("model", model.name.removeprefix(PREFIX), "path.py:function")
        if isinstance(codec, ObjectRecord):
            raise self._lost("codec", codec.name, "path.py:Class")

    def _lost(self, part: str, name: str, file: str) -> ConfigError:
        return ConfigError(
            f"the {part} of family '{self._bundle.location}' was an object in memory ({name}), which no file holds: "
            f"pass it again in Python, load_run(…, config=config.replaced({part}=…)), export takes config= too; to "
            f"serve it, train it as {file}"
        )

    @cached_property
    def levels(self) -> tuple[FamilyLevel, ...]:
        """Every level, loosest first: the one with the largest message."""
        return tuple(sorted(self.manifest.levels, key=lambda level: -level.bytes_per_image))

    def device(self, level: str) -> DeviceHalf:
        """Return the device half at a level, given as it prints; BundleError for one that is not in the family."""
        return self._load(self._build_device(), level, "device")

    def server(self, level: str) -> ServerHalf:
        """Return the server half at a level, given as it prints; BundleError for one that is not in the family.

        Where the device learned alone to the end, it is the device's head.
        """
        return self._load(self._build_server(), level, "server")

    def device_levels(self, device: torch.device) -> SharedLevels[DeviceHalf]:
        """Return the device half at all levels in one module, ready to compute on `device` as it was trained."""
        return self._share(self._build_device(), "device", device)

    def server_levels(self, device: torch.device) -> SharedLevels[ServerHalf]:
        """Return the server half at all levels in one module, ready to compute on `device` as it was trained."""
        return self._share(self._build_server(), "server", device)

    def codec(self, level: str) -> Codec:
        """Return the codec for activations at a level."""
        self.require_parts()
        return build_codec(self._ended.codec, self.level(level), "up", self.manifest.channel_dim)

    def level(self, level: str) -> Level:
        """Return a level of the family, given as it prints; BundleError for one that is not in the family."""
        return Level(self._find(level).level)

    def _build_device(self) -> DeviceHalf:
        self.require_parts()
        classes, shape = len(self.manifest.classes), self.manifest.shape
        return build_device_half(self._ended, classes, shape, init_weights=False).half.eval()

    def _build_server(self) -> ServerHalf:
        self.require_parts()
        classes, shape = len(self.manifest.classes), self.manifest.shape
        if self.manifest.answered_by == "head":
            head = build_device_half(self._ended, classes, shape, init_weights=False).head
            assert head is not None  # its config has a train.local_loss
            return ServerHalf(None, head, None).eval()
        return build_server_half(self._ended, classes, shape, init_weights=False).half.eval()

    @cached_property
    def _by_name(self) -> dict[str, FamilyLevel]:
        return {level.level: level for level in self.levels}

    def _find(self, level: str) -> FamilyLevel:
        # Levels may be written with plain dots, as everywhere.
        entry = self._by_name.get(level) or self._by_name.get(level.replace(".", "·"))
        if entry is None:
            hint = nearest(level, self._by_name)
            raise BundleError(f"family '{self._bundle.location}' has no level '{level}'. {hint}")
        return entry

    def _load(self, half: Half, level: str, side: Side) -> Half:
        file = self._find(level).file
        with self._fitting(file):
            half.load_state_dict(self._read(file, side, half.state_dict()), assign=True)
        return half

    def _share(self, half: Half, side: Side, device: torch.device) -> SharedLevels[Half]:
        shared = SharedLevels(half, device, self.config.train.channels_last)
        for entry in self.levels:
            with self._fitting(entry.file):
                shared.add(entry.level, self._read(entry.file, side, half.state_dict()))
        return shared

    def _read(self, file: str, side: Side, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of one side of a level, copied, in the dtypes of the half: a view would hold the file.

        Raises BundleError for a tensor that holds NaN.
        """
        state = {}
        with safe_open(self._bundle.path(file), framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                key = name.removeprefix(f"{side}.")
                if key != name:
                    tensor: Tensor = stored.get_tensor(name)
                    if holds_nan(tensor):
                        raise BundleError(
                            f"{name} in {file} of family '{self._bundle.location}' holds NaN: its training diverged; "
                            "train the family again with a lower train.lr"
                        )
                    state[key] = tensor.to(expected[key].dtype if key in expected else tensor.dtype, copy=True)
        return state

    @contextmanager
    def _fitting(self, file: str) -> Iterator[None]:
        """Raise BundleError where the weights in a file are not those of the config's network."""
        try:
            yield
        except (SafetensorError, RuntimeError) as err:
            reason = " ".join(str(err).split())
            raise BundleError(
                f"{file} of family '{self._bundle.location}' does not fit its config.json: {reason}"
            ) from None
