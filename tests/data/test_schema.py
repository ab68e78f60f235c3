import json

import pyarrow as pa
import pytest

from raysplit.data.schema import BadRow, arrow_schema, check_label, class_names, file_identity, image_column
from raysplit.errors import DataError

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_written_schema_is_read_back():
    schema = arrow_schema(("cat", "dog"))
    assert image_column(schema, "f") == "image"
    assert class_names(schema, "f") == ("cat", "dog")


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (
            [("picture", CELL), ("label", pa.int64())],
            "f: no column 'image' or 'img'; it has the columns picture, label",
        ),
        ([("img", CELL), ("fine", pa.int64())], "f: no column 'label'; it has the columns img, fine"),
        ([("img", pa.string()), ("label", pa.int64())], "f: column 'img' is string, expected struct<bytes"),
        ([("img", CELL), ("label", pa.float32())], "f: column 'label' is float, expected integers, strings or bool"),
    ],
)
def test_wrong_columns(columns, text):
    with pytest.raises(DataError) as err:
        image_column(pa.schema(columns), "f")
    assert text in str(err.value)


def test_class_names_absent():
    assert class_names(pa.schema([]), "f") is None
    plain = {"info": {"features": {"label": {"_type": "Value", "dtype": "int64"}}}}
    assert class_names(pa.schema([], metadata={"huggingface": json.dumps(plain)}), "f") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"info": {"features": {}}}', '{"info": {"features": {"label": 3}}}'])
def test_class_names_unreadable(text):
    with pytest.raises(DataError, match="f: the metadata 'huggingface' does not describe 'label'"):
        class_names(pa.schema([], metadata={"huggingface": text}), "f")


def test_labels():
    assert check_label(2, 3) == 2
    for label, text in [(None, "null"), (-1, "label -1 is not in 0..2"), (3, "label 3 is not in 0..2")]:
        with pytest.raises(BadRow, match=text):
            check_label(label, 3)


def test_identity_follows_the_file(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before = file_identity(file)
    assert file_identity(file) == before
    file.write_bytes(b"12")
    assert file_identity(file) != before
