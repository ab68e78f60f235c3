"""The columns of a Parquet file, as Hugging Face lays them out: images or recordings, labels, names of the classes."""

from __future__ import annotations

import json

import pyarrow as pa

from raysplit.data.parquet_images import pixels_shape
from raysplit.errors import DataError

IMAGE, AUDIO, LABEL, SPEAKER = "image", "audio", "label", "speaker_id"
"""The columns that raysplit writes, and looks for first."""
_IMAGES = (IMAGE, "img")
_GROUPS = (SPEAKER, "speaker", "song_id", "song")
_LABEL_WORDS = ("label", "class", "target", "category")
METADATA_KEY = b"huggingface"


def image_column(schema: pa.Schema, where: object, wanted: str | None = None, recordings: bool = False) -> str:
    """Return the name of the column with the images: `wanted`, else `image` or `img`, else the only one with bytes
    or pixels.

    It is a struct with `bytes` or `path`, or bytes, or uint8 tensors of one shape, or the paths of images as strings.
    Of `recordings` it is called `audio`, and holds no tensors. Raises DataError if it is missing or of another type, or
    if it cannot be told.
    """
    what = "recordings" if recordings else "images"
    fitting = [field.name for field in schema if _holds_items(field, recordings)]
    if wanted is not None:
        name = known_column(schema, where, "data.image", wanted)
    else:
        if not recordings and AUDIO in schema.names and not any(one in schema.names for one in _IMAGES):
            raise DataError(f"{where}: the column '{AUDIO}' holds recordings; set data.audio={{}} to read them")
        name = next((one for one in ((AUDIO,) if recordings else _IMAGES) if one in schema.names), "")
        if not name and len(fitting) == 1:
            (name,) = fitting
    if not name:
        raise _cannot_tell(schema, where, what, "data.image", fitting or schema.names)
    kind = schema.field(name).type
    in_files = _is_text(kind) or (pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)
    if name not in fitting and not in_files:
        tensors = "" if recordings else "tensors of uint8 (height, width, 1 or 3) of one shape, "
        raise DataError(
            f"{where}: column '{name}' is {kind}, expected struct<bytes: binary, path: string>, bytes, {tensors}or "
            f"paths as strings; if another one holds the {what}, name it: data.image=…; {_columns(schema)}"
        )
    return name


def group_column(schema: pa.Schema, where: object, wanted: str | None) -> str | None:
    """Return the name of the column with the speakers or songs: `wanted`, else one with such a name, else None.

    Raises DataError if `wanted` is missing.

    >>> group_column(pa.schema([("audio", pa.binary()), ("speaker_id", pa.string())]), "example", None)
    'speaker_id'
    """
    if wanted is not None:
        return known_column(schema, where, "data.group", wanted)
    return next((name for name in _GROUPS if name in schema.names), None)


def label_column(schema: pa.Schema, where: object, image: str, wanted: str | None = None) -> str:
    """Return the name of the column with the labels: `wanted`, else `label`, else the only one that the metadata calls
    a ClassLabel, else the only one with a name like `fine_label`, `class`, `target` or `category`.

    Raises DataError if it is missing or holds neither integers, strings nor booleans, or if it cannot be told.
    """
    others = [field.name for field in schema if field.name != image and _holds_labels(field.type)]
    if wanted is not None:
        name = known_column(schema, where, "data.label", wanted)
    elif LABEL in schema.names:
        name = LABEL
    else:
        described = [one for one in others if one in _class_labels(schema)]
        likely = described if len(described) == 1 else label_columns(schema, image)
        if len(likely) != 1:
            raise _cannot_tell(schema, where, "labels", "data.label", likely or others)
        (name,) = likely
    kind = schema.field(name).type
    if name == image or not _holds_labels(kind):
        raise DataError(
            f"{where}: column '{name}' is {kind}, expected integers, strings or booleans; if another one holds the "
            f"labels, name it: data.label=…; {_columns(schema)}"
        )
    return name


def label_columns(schema: pa.Schema, image: str) -> list[str]:
    """Return the columns that look like labels by name and type.

    >>> label_columns(pa.schema([("img", pa.binary()), ("fine_label", pa.int64()), ("id", pa.int64())]), "img")
    ['fine_label']
    """
    fitting = (field.name for field in schema if field.name != image and _holds_labels(field.type))
    return [name for name in fitting if any(word in name.lower() for word in _LABEL_WORDS)]


def class_names(schema: pa.Schema, where: object, label: str = LABEL) -> tuple[str, ...] | None:
    """Return the names of a label's classes in the schema's metadata, None if there are none.

    Raises DataError for metadata that cannot be read.
    """
    feature = _features(schema, where).get(label)
    if feature is None:
        return None
    if not isinstance(feature, dict):
        raise _unreadable(where)
    names = feature.get("names")
    return tuple(str(name) for name in names) if names else None


def arrow_schema(classes: tuple[str, ...]) -> pa.Schema:
    """Return the schema of the files that raysplit writes, with the class names in its metadata.

    >>> class_names(arrow_schema(("cat", "dog")), "example")
    ('cat', 'dog')
    """
    label = {"names": list(classes), "_type": "ClassLabel"}
    features = {IMAGE: {"_type": "Image"}, LABEL: label}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.schema(
        [(IMAGE, image), (LABEL, pa.int64())],
        metadata={METADATA_KEY: json.dumps({"info": {"features": features}}).encode()},
    )


def audio_schema(classes: tuple[str, ...]) -> pa.Schema:
    """Return the schema of the files of recordings that raysplit writes: audio, label, speaker.

    >>> audio_schema(("yes", "no")).names
    ['audio', 'label', 'speaker_id']
    """
    images = arrow_schema(classes)
    info = {"features": {AUDIO: {"_type": "Audio"}, LABEL: {"names": list(classes), "_type": "ClassLabel"}}}
    return pa.schema(
        [images.field(0).with_name(AUDIO), images.field(1), (SPEAKER, pa.string())],
        metadata={METADATA_KEY: json.dumps({"info": info}).encode()},
    )


def _features(schema: pa.Schema, where: object) -> dict[str, object]:
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        raise _unreadable(where) from None
    if not isinstance(features, dict):
        raise _unreadable(where)
    return features


def _unreadable(where: object) -> DataError:
    return DataError(
        f"{where}: the metadata '{METADATA_KEY.decode()}' does not describe the columns; write the file again without "
        "it (pyarrow: table.replace_schema_metadata(None))"
    )


def _class_labels(schema: pa.Schema) -> list[str]:
    features = _features(schema, "").items()
    return [name for name, one in features if isinstance(one, dict) and one.get("_type") == "ClassLabel"]


def known_column(schema: pa.Schema, where: object, setting: str, name: str) -> str:
    """Return the name of a column that a setting names; DataError, with those that there are, if it is missing."""
    if name not in schema.names:
        raise DataError(f"{where}: there is no column '{name}' ({setting}); {_columns(schema)}")
    return name


def _cannot_tell(schema: pa.Schema, where: object, what: str, setting: str, likely: list[str]) -> DataError:
    if not likely:
        return DataError(f"{where}: no column can hold the {what}; {_columns(schema)}")
    return DataError(
        f"{where}: cannot tell which column holds the {what}; {_columns(schema)}: name it, for example "
        f"{setting}={likely[0]}"
    )


def _columns(schema: pa.Schema) -> str:
    return f"it has the columns {', '.join(schema.names) or '(none)'}"


def _holds_items(field: pa.Field, recordings: bool) -> bool:
    """Return whether a column may hold files or, of images, pixels."""
    kind = field.type
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    in_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return bool(binary or in_struct or (not recordings and pixels_shape(field) is not None))


def _holds_labels(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind) or pa.types.is_null(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
