"""Which columns hold images, labels and class names."""

import json

import pyarrow as pa
import pytest

from raysplit.data.parquet_columns import arrow_schema, class_names, image_column, label_column
from raysplit.errors import DataError

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PATH = pa.struct([("path", pa.string())])
BINARY, TEXT, NUMBER = pa.binary(), pa.string(), pa.int64()


def find(columns, image=None, label=None, metadata=None):
    schema = pa.schema(columns, metadata=metadata)
    found = image_column(schema, "f", image)
    return found, label_column(schema, "f", found, label)


def described(**features):
    return {"huggingface": json.dumps({"info": {"features": features}})}


def test_written_schema_is_read_back():
    schema = arrow_schema(("cat", "dog"))
    assert find(schema) == ("image", "label")
    assert class_names(schema, "f") == ("cat", "dog")


@pytest.mark.parametrize(
    ("columns", "image", "label"),
    [
        ({"images": CELL, "fine_label": NUMBER}, "images", "fine_label"),
        ({"id": NUMBER, "photo": BINARY, "target": TEXT}, "photo", "target"),
        ({"picture": pa.large_binary(), "caption": TEXT, "class_id": pa.int8()}, "picture", "class_id"),
        ({"img": CELL, "thumbnail": CELL, "label": NUMBER, "coarse_label": NUMBER}, "img", "label"),
        ({"image": TEXT, "Category": pa.dictionary(pa.int8(), TEXT)}, "image", "Category"),
        ({"image": PATH, "label": pa.bool_()}, "image", "label"),
    ],
)
def test_columns_that_can_be_told(columns, image, label):
    assert find(columns.items()) == (image, label)


def test_the_only_class_label_of_the_metadata():
    columns = [("img", CELL), ("kind", NUMBER), ("label_quality", NUMBER)]
    features = {"kind": {"_type": "ClassLabel", "names": ["a"]}, "label_quality": {"_type": "Value"}}
    assert find(columns, metadata=described(**features)) == ("img", "kind")
    assert class_names(pa.schema(columns, described(**features)), "f", "kind") == ("a",)


CIFAR = [("img", CELL), ("fine_label", NUMBER), ("coarse_label", NUMBER)]
PAIRS = [("left", CELL), ("right", CELL), ("label", NUMBER)]
NAMELESS = [("image", CELL), ("kind", NUMBER), ("id", NUMBER)]


@pytest.mark.parametrize(
    ("columns", "example", "image", "label"),
    [
        (
            CIFAR,
            "labels; it has the columns img, fine_label, coarse_label: {}data.label=fine_label",
            None,
            "coarse_label",
        ),
        (PAIRS, "images; it has the columns left, right, label: {}data.image=left", "right", None),
        (NAMELESS, "labels; it has the columns image, kind, id: {}data.label=kind", None, "kind"),
        (
            [("file", TEXT), ("label", NUMBER)],
            "images; it has the columns file, label: {}data.image=file",
            "file",
            None,
        ),
    ],
)
def test_columns_that_must_be_named(columns, example, image, label):
    with pytest.raises(DataError) as err:
        find(columns)
    assert f"f: cannot tell which column holds the {example.format('name it, for example ')}" in str(err.value)
    found = find(columns, image, label)
    assert image in (None, found[0]) and label in (None, found[1])


@pytest.mark.parametrize(
    ("columns", "image", "label", "text"),
    [
        (CIFAR, "image", None, "f: there is no column 'image' (data.image); it has the columns img, fine_"),
        (CIFAR, None, "fine_labels", "f: there is no column 'fine_labels' (data.label); it has the columns img,"),
        (CIFAR, "fine_label", "coarse_label", "f: column 'fine_label' is int64, expected struct<bytes: binary"),
        (PAIRS, "left", "right", "f: column 'right' is struct<bytes: binary, path: string>, expected integers"),
        ([("image", pa.list_(pa.uint8())), ("label", NUMBER)], None, None, "f: column 'image' is list<"),
        (
            [("img", CELL), ("label", pa.float32())],
            None,
            None,
            "f: column 'label' is float, expected integers, strings",
        ),
        ([("img", CELL)], None, None, "f: no column can hold the labels; it has the columns img"),
        ([], None, None, "f: no column can hold the images; it has the columns (none)"),
    ],
)
def test_wrong_columns(columns, image, label, text):
    with pytest.raises(DataError) as err:
        find(columns, image, label)
    assert text in str(err.value)


def test_class_names_absent():
    assert class_names(pa.schema([]), "f") is None
    value = {"_type": "Value", "dtype": "int64"}
    assert class_names(pa.schema([], metadata=described(label=value)), "f") is None
    assert class_names(pa.schema([], metadata=described(other=value)), "f") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"info": {"features": []}}', '{"info": {"features": {"label": 3}}}'])
def test_class_names_unreadable(text):
    with pytest.raises(DataError, match="f: the metadata 'huggingface' does not describe the columns; write the file"):
        class_names(pa.schema([], metadata={"huggingface": text}), "f")
