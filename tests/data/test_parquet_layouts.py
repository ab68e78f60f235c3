"""Parquet files as people have them: folders, labels and images of several kinds."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysplit.config import DataConfig
from raysplit.data import load, read_facts
from raysplit.errors import DataError
from tests.data.parquet_files import read_part


@pytest.fixture
def write(png):
    """Return a writer of files with some labels, of a type."""

    def write(path, labels, kind=None, cell=lambda i, raw: {"bytes": raw, "path": None}):
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = pa.array([cell(i, png(seed=i)) for i in range(len(labels))], CELL)
        pq.write_table(pa.table({"image": cells, "label": pa.array(labels, kind)}), path)

    return write


CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("default/train/0000.parquet", "default/train/0001.parquet"), "default/test/0000.parquet"),
        (("train/16_000000_000000.parquet", "train/16_000001_000000.parquet"), "test/16_000000_000000.parquet"),
        (("data/train/a.parquet", "data/train/b.parquet"), "data/validation/a.parquet"),
        (("train/part-0.parquet", "train/part-1.parquet"), "valid.parquet"),
    ],
)
def test_layouts(tmp_path, write, train, test):
    write(tmp_path / train[0], [0, 0, 1])
    write(tmp_path / train[1], [1, 1])
    write(tmp_path / test, [1, 0])
    assert [row.label for row in read_part(tmp_path, "train").rows()] == [0, 0, 1, 1, 1]
    assert [row.label for row in read_part(tmp_path, "test").rows()] == [1, 0]


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        (["bee", "ant", "bee", None], pa.string(), ("ant", "bee")),
        (["bee", "ant", "bee", None], pa.dictionary(pa.int8(), pa.string()), ("ant", "bee")),
        (["bee", "ant", "bee", None], pa.large_string(), ("ant", "bee")),
        ([True, False, True, None], pa.bool_(), ("False", "True")),
        ([1, 0, 1, None], pa.dictionary(pa.int32(), pa.int64()), ("0", "1")),
    ],
)
def test_labels_of_other_types(tmp_path, write, labels, kind, classes):
    write(tmp_path / "train.parquet", labels, kind)
    write(tmp_path / "test.parquet", labels[:2], kind)
    part = read_part(tmp_path, "train")
    assert part.classes == classes and [row.label for row in part.rows()] == [1, 0, 1, None]
    assert [row.label for row in read_part(tmp_path, "test").rows()] == [1, 0]


def test_labels_of_two_types_are_refused(tmp_path, write):
    write(tmp_path / "train.parquet", ["a", "b"])
    write(tmp_path / "test.parquet", [0, 1])
    with pytest.raises(DataError, match="some files have integers as labels, others text"):
        read_part(tmp_path, "train")


@pytest.mark.parametrize("where", ["beside", "below", "absolute"])
def test_paths_of_images(tmp_path, write, where):
    folder = tmp_path / "images" if where == "below" else tmp_path
    folder.mkdir(exist_ok=True)

    def cell(i, raw):
        file = folder / f"{i}.png"
        file.write_bytes(raw)
        return {"bytes": None, "path": str(file) if where == "absolute" else str(file.relative_to(tmp_path))}

    write(tmp_path / "train.parquet", [0, 1], cell=cell)
    write(tmp_path / "test.parquet", [1])
    images = load(DataConfig(name=f"parquet:{tmp_path}", val_fraction=0.5), "train").images
    assert images.shape == (1, 3, 8, 8)
    (folder / "1.png").unlink()
    row = next(read_part(tmp_path, "train").rows())
    with Image.open(io.BytesIO(row.image.read_bytes())) as image:
        assert image.size == (8, 8)


UNLABELLED = "has no labels (all are -1 or null)"
FIFTH = "a fifth of the training split, drawn with a fixed seed, serves as the test split, and training goes without it"


@pytest.mark.parametrize(
    ("files", "taken_from", "test_rows", "text"),
    [
        ({"test": [-1, -1]}, "train", 2, f"test.parquet {UNLABELLED}; {FIFTH}"),
        (
            {"test": [None, -1], "validation": [None]},
            "train",
            2,
            f"validation.parquet {UNLABELLED}; {FIFTH}",
        ),
        ({}, "train", 2, f"has no test split; {FIFTH}"),
        ({"test": [None], "val": [1, 1, 0]}, "validation", 3, "val.parquet serves as the test split"),
        ({"dev": [1]}, "validation", 1, "has no test split; "),
        (
            {"test": [1], "valid": [1, 1]},
            "test",
            1,
            "valid.parquet is not read: data.val_fraction of the training split",
        ),
        ({"test": [-1, 0]}, "test", 2, ""),
    ],
)
def test_what_serves_as_the_test_split(tmp_path, write, files, taken_from, test_rows, text, caplog):
    write(tmp_path / "train.parquet", [0, 1] * 5)
    for name, labels in files.items():
        write(tmp_path / f"{name}.parquet", labels, pa.int64())
    train, test = read_part(tmp_path, "train"), read_part(tmp_path, "test")
    assert (test.taken_from, test.count, train.count) == (taken_from, test_rows, 8 if taken_from == "train" else 10)
    places = [[row.where for row in part.rows()] for part in (train, test)]
    assert not set(places[0]) & set(places[1]) and list(map(len, places)) == [train.count, test.count]
    assert text in caplog.text if text else not caplog.text
    config = DataConfig(name=f"parquet:{tmp_path}", val_fraction=0.25, on_bad_rows="skip")
    facts = read_facts(config)
    assert (facts.train_rows + facts.val_rows, facts.test_rows, facts.test_from) == (train.count, test_rows, taken_from)
    assert load(config, "test").taken_from == taken_from


def test_a_test_file_without_a_label_column(tmp_path, write):
    write(tmp_path / "train.parquet", [0, 1] * 5)
    table = pq.read_table(tmp_path / "train.parquet")
    for name, columns in {"test": ["image"], "other": ["image", "id"]}.items():
        pq.write_table(table.append_column("id", table["label"]).select(columns), tmp_path / f"{name}.parquet")
    (tmp_path / "other.parquet").rename(tmp_path / "validation.parquet")
    assert read_part(tmp_path, "test").taken_from == "train"
    pq.write_table(table.rename_columns(["image", "class"]), tmp_path / "validation.parquet")
    assert [row.label for row in read_part(tmp_path, "test").rows()] == [0, 1] * 5


@pytest.mark.parametrize("labels", [[-1, -1], [None, None]])
def test_training_needs_labels(tmp_path, write, labels):
    write(tmp_path / "train.parquet", labels, pa.int64())
    with pytest.raises(DataError, match=r"train\.parquet has no labels .*; training needs labels: data\.label names"):
        read_part(tmp_path, "train")


@pytest.mark.parametrize("column", ["struct", "path", "text"])
def test_the_cache_follows_images_beside_the_file(tmp_path, png, column):
    kinds = {"struct": CELL, "path": pa.struct([("path", pa.string())]), "text": pa.string()}
    cells = [f"{i}.png" for i in range(4)] if column == "text" else [{"path": f"{i}.png"} for i in range(4)]
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(png(seed=i))
    for split in ("train", "test"):
        table = pa.table({"image": pa.array(cells, kinds[column]), "label": [0, 1, 0, 1]})
        pq.write_table(table, tmp_path / f"{split}.parquet")
    config = DataConfig(name=f"parquet:{tmp_path}")
    before = load(config, "test").images.clone()
    assert load(config, "test").images.equal(before)
    (tmp_path / "1.png").write_bytes(png(seed=50))
    after = load(config, "test").images
    assert [bool(row) for row in (after == before).flatten(1).all(1)] == [True, False, True, True]
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"test\.parquet row 2: .*2\.png"):
        load(config, "test")


def test_images_in_the_file_have_no_other_identity(tmp_path, write, png):
    write(tmp_path / "train.parquet", [0, 1], cell=lambda i, raw: {"bytes": raw, "path": f"{i}.png"})
    write(tmp_path / "test.parquet", [0, 1])
    before = read_part(tmp_path, "train").identity
    (tmp_path / "0.png").write_bytes(png())
    assert read_part(tmp_path, "train").identity == before
    assert len(before) == 2


def test_labels_as_text_that_the_metadata_names(tmp_path, write):
    names = {
        "huggingface": '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["wasp", "bee", "ant"]}}}}'
    }
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", ["ant", "bee"])
        file = tmp_path / f"{split}.parquet"
        pq.write_table(pq.read_table(file).replace_schema_metadata(names), file)
    assert [row.label for row in read_part(tmp_path, "train").rows()] == [2, 1]
    assert read_part(tmp_path, "train", unused_labels="drop").classes == ("bee", "ant")
    write(tmp_path / "test.parquet", ["ant", "fly"])
    with pytest.raises(DataError, match="the label 'fly' is not one of the class names. Known: wasp, bee, ant"):
        read_part(tmp_path, "train")
