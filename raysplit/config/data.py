"""Which images or recordings a run trains on, and how they are split, resized and augmented."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, SerializerFunctionWrapHandler, model_serializer, model_validator

from raysplit.config.audio import AudioConfig
from raysplit.config.in_memory import PREFIX, InMemoryData, is_dataset, read_dataset
from raysplit.utils.frozen import Frozen, Name

Files = str | Annotated[tuple[str, ...], Field(min_length=1)]
"""A path or glob, or several: relative to the folder of the data, or absolute."""


class DataSplits(Frozen):
    """The Parquet files of each split: paths or globs, below the folder of the data or absolute.

    >>> DataSplits(train="part-*.parquet", test=["a.parquet", "b.parquet"]).patterns("test")
    ('a.parquet', 'b.parquet')
    """

    train: Files
    validation: Files | None = None
    """Serves as the test split where there is none with labels."""
    test: Files | None = None
    """None: the validation split serves or, without one, a fifth of train, drawn with a fixed seed."""

    def patterns(self, split: Literal["train", "validation", "test"]) -> tuple[str, ...]:
        """Return the paths and globs of a split."""
        files: Files | None = getattr(self, split)
        return () if files is None else (files,) if isinstance(files, str) else files


class DataConfig(Frozen):
    """Which images, and how they are split, resized and augmented.

    A data set in memory replaces the name: `DataConfig(dataset=mine)`, or `SplitConfig(data=mine, …)`.

    >>> DataConfig(name="cifar10", augment="crop_flip").val_fraction
    0.1
    >>> DataConfig(dataset=[("pixels of a digit", 7)]).name
    'object:list'
    """

    name: Name
    """A catalogue name (`mnist5k`, `cifar10`, …), `folder:PATH`, `parquet:PATH` or `audio:PATH`; `object:CLASS` in
    memory."""
    root: str | None = None
    """Where downloads are kept; None: the user's cache."""
    size: Annotated[int, Field(ge=8, le=8192)] | None = None
    """Height and width in pixels to resize to; None: as stored."""
    channels: Literal[1, 3] | None = None
    """Grey (1) or RGB (3); None: as stored."""
    train_rows: Annotated[int, Field(ge=1)] | None = None
    """Train on this many rows of the shuffled training part only; None: all."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training split that is held out for validation."""
    split_seed: int = 0
    augment: Literal["none", "crop", "crop_flip", "small_crop", "small_crop_flip"] = "none"
    """`crop` shifts each training image by up to an eighth of its height and width, `small_crop` by up to a sixteenth,
    which is better where there are few epochs; `_flip` mirrors half of them as well."""
    on_bad_rows: Literal["raise", "skip"] = "raise"
    audio: AudioConfig | None = None
    """How recordings become spectrograms, which are then treated as images; given for `parquet:PATH` with recordings,
    and there by itself for `audio:PATH`. None: the data are images."""
    group: str | None = None
    """Which recordings are of one speaker or song, and stay on one side of every split: for `audio:PATH` a regular
    expression whose first group, searched in the path below the class folder, is the name; for `parquet:PATH` a column.
    None: as docs/audio.md says."""
    image: str | None = None
    """Column of the images or recordings in Parquet files; None: it is told by its name or type."""
    label: str | None = None
    """Column of the labels in Parquet files; None: it is told by its name."""
    splits: DataSplits | None = None
    """Parquet files of each split; None: they are told by their names."""
    unused_labels: Literal["keep", "drop"] = "keep"
    """Of whole numbers as labels, in Parquet and in memory: `keep` makes a class of every number from 0 to the largest,
    or of every class name; `drop` of those alone that occur."""
    dataset: Annotated[InMemoryData | None, PlainValidator(read_dataset), Field(exclude=True, repr=False)] = None
    """A map-style data set of (image, label), a tuple (train, test) or a dict of both (docs/extending.md). A fifth of
    a single one, drawn with a fixed seed, is the test split. It is not written to `config.json`."""

    @model_validator(mode="before")
    @classmethod
    def _from_dataset(cls, value: Any) -> Any:
        given = isinstance(value, Iterable) and not isinstance(value, str | dict | Frozen)
        if given or is_dataset(value) or (isinstance(value, dict) and "name" not in value and "train" in value):
            value = {"dataset": value}
        if isinstance(value, dict) and value.get("dataset") is not None:
            dataset = read_dataset(value["dataset"])
            assert dataset is not None
            value = {"name": dataset.name, **value, "dataset": dataset}
        if isinstance(value, dict) and str(value.get("name")).startswith("audio:") and value.get("audio") is None:
            value = {**value, "audio": AudioConfig()}
        return value

    @model_serializer(mode="wrap")
    def _without_parquet(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Write data whose columns and files are told by their names as files have always held them."""
        told = {"audio": None, "group": None, "image": None, "label": None, "splits": None, "unused_labels": "keep"}
        written: dict[str, object] = write(self)
        return {key: value for key, value in written.items() if key not in told or value != told[key]}

    @model_validator(mode="after")
    def _parquet_alone(self) -> DataConfig:
        given = [key for key in ("image", "label", "splits") if getattr(self, key) is not None]
        if given and not self.name.startswith("parquet:"):
            raise ValueError(
                f"{' and '.join(given)} name columns and files of Parquet data, and name is '{self.name}': leave them "
                "out (null), or use parquet:PATH"
            )
        if self.image is not None and self.image == self.label:
            raise ValueError(f"image and label are the same column, '{self.image}'; name two")
        return self

    @model_validator(mode="after")
    def _audio_alone(self) -> DataConfig:
        if self.audio is None:
            if self.group is not None:
                raise ValueError("group tells speakers or songs apart, and the data are images; leave it out (null)")
            return self
        if not self.name.startswith(("audio:", "parquet:")):
            raise ValueError(
                f"audio is for audio:PATH and parquet:PATH, and name is '{self.name}'; leave it out (null)"
            )
        if self.size is not None or self.channels == 3:
            given = "channels" if self.size is None else "size"
            raise ValueError(
                f"{given} is of images; a spectrogram has one channel, its height is audio.n_mels, and audio.seconds "
                "and audio.hop_ms make its width: leave it out (null)"
            )
        if self.augment.endswith("_flip"):
            remedy = f"use {self.augment.removesuffix('_flip')} or none"
            raise ValueError(f"augment={self.augment} would play recordings backwards; {remedy}")
        if self.group is not None and self.name.startswith("audio:"):
            try:
                re.compile(self.group)
            except re.error as err:
                raise ValueError(f"group '{self.group}' is not a regular expression ({err})") from None
        return self

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if self.dataset is not None and not self.name.startswith(PREFIX):
            raise ValueError(f"name is '{self.name}' and a data set is given; replace all of it: {{name: {self.name}}}")
        return self
