"""Parquet files as people have them: folders, labels and images of several kinds."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysplit.config import DataConfig
from raysplit.data import load
from raysplit.data.sources import parquet_part
from raysplit.errors import DataError


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
    assert [row.label for row in parquet_part(tmp_path, "train").rows()] == [0, 0, 1, 1, 1]
    assert [row.label for row in parquet_part(tmp_path, "test").rows()] == [1, 0]


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
    part = parquet_part(tmp_path, "train")
    assert part.classes == classes and [row.label for row in part.rows()] == [1, 0, 1, None]
    assert [row.label for row in parquet_part(tmp_path, "test").rows()] == [1, 0]


def test_labels_of_two_types_are_refused(tmp_path, write):
    write(tmp_path / "train.parquet", ["a", "b"])
    write(tmp_path / "test.parquet", [0, 1])
    with pytest.raises(DataError, match="some files have integers as labels, others text"):
        parquet_part(tmp_path, "train")


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
    row = next(parquet_part(tmp_path, "train").rows())
    with Image.open(io.BytesIO(row.image.read_bytes())) as image:
        assert image.size == (8, 8)


@pytest.mark.parametrize("missing", [[-1, -1], [None, None], [-1, None]])
def test_a_test_split_without_labels(tmp_path, write, missing, caplog):
    write(tmp_path / "train.parquet", [0, 1])
    write(tmp_path / "test.parquet", missing, pa.int64())
    with pytest.raises(DataError, match=r"test\.parquet has no labels \(all are -1 or null\); use parquet:FILE"):
        parquet_part(tmp_path, "train")
    write(tmp_path / "validation.parquet", [1, 1, 0])
    assert parquet_part(tmp_path, "test").count == 3
    assert f"{tmp_path / 'validation.parquet'} serves as the test split" in caplog.text
