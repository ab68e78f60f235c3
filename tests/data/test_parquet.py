import pyarrow.parquet as pq
import pytest

from raysplit.data.folders import folder_part
from raysplit.errors import DataError
from tests.data.parquet_files import read_part


@pytest.fixture
def folders(tmp_path, png):
    for split, classes in {"train": ("ant", "bee"), "val": ("bee",)}.items():
        for name in classes:
            (tmp_path / split / name).mkdir(parents=True)
            for i, suffix in enumerate((".png", ".JPG", ".txt")):
                (tmp_path / split / name / f"{i}{suffix}").write_bytes(png(seed=i))
    return tmp_path


def test_folder(folders):
    train, test = folder_part(folders, "train"), folder_part(folders, "test")
    assert train.classes == test.classes == ("ant", "bee")
    assert train.count == 4 and [row.label for row in train.rows()] == [0, 0, 1, 1]
    assert test.count == 2 and [row.label for row in test.rows()] == [1, 1]
    assert next(test.rows()).where.endswith("val/bee/0.png")


def test_test_comes_before_val(folders, png):
    (folders / "test" / "ant").mkdir(parents=True)
    (folders / "test" / "ant" / "x.png").write_bytes(png())
    assert [row.label for row in folder_part(folders, "test").rows()] == [0]


def test_folder_faults(folders, tmp_path, png):
    (folders / "val" / "wasp").mkdir()
    (folders / "val" / "wasp" / "x.png").write_bytes(png())
    with pytest.raises(DataError, match=r"val/wasp: no such class in .*train, which has 2 classes"):
        folder_part(folders, "test")
    with pytest.raises(DataError, match=r"nowhere has no folder train; expected .*/train/CLASS/\*\.png"):
        folder_part(tmp_path / "nowhere", "train")


def test_parquet_folder(two_files):
    train, test = read_part(two_files, "train"), read_part(two_files, "test")
    assert (train.count, test.count) == (20, 6)
    assert train.classes == ("cat", "dog")
    assert train.identity != test.identity
    rows = list(train.rows())
    assert [row.label for row in rows] == [i % 2 for i in range(20)]
    assert rows[7].where == f"{two_files / 'train.parquet'} row 7"


def test_shards_as_on_hugging_face(tmp_path, png, write_parquet):
    for i in range(2):
        write_parquet(tmp_path / "data" / f"train-0000{i}-of-00002.parquet", [png()] * 3, [i] * 3, image="img")
    write_parquet(tmp_path / "data" / "validation-00000-of-00001-9ab.parquet", [png()], [1])
    assert [row.label for row in read_part(tmp_path, "train").rows()] == [0, 0, 0, 1, 1, 1]
    assert read_part(tmp_path, "test").count == 1
    (tmp_path / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"data has 1 of the 2 files train-\*\.parquet"):
        read_part(tmp_path, "train")


def test_one_file_is_cut(tmp_path, png, write_parquet):
    file = write_parquet(tmp_path / "all.parquet", [png()] * 300, [0] * 300)
    train, test = read_part(file, "train"), read_part(file, "test")
    assert (train.count, test.count) == (240, 60)
    places = [{row.where for row in part.rows()} for part in (train, test)]
    assert (len(places[0]), len(places[1]), len(places[0] | places[1])) == (240, 60, 300)
    assert train.identity != test.identity


def test_classes_without_names(tmp_path, png, write_parquet):
    write_parquet(tmp_path / "train.parquet", [png()] * 3, [0, None, -1], classes=None)
    write_parquet(tmp_path / "test.parquet", [png()] * 2, [0, 3], classes=None)
    assert read_part(tmp_path, "train").classes == ("0", "1", "2", "3")
    write_parquet(tmp_path / "test.parquet", [png()], [2**40], classes=None)
    with pytest.raises(DataError, match="the largest label is 1099511627776 and there are no class names"):
        read_part(tmp_path, "train")
    assert read_part(tmp_path, "train", unused_labels="drop").classes == ("0", "1099511627776")


@pytest.mark.parametrize("labels", [[7, 100], [1, 2, 3], [0, 5, None, -1]])
def test_labels_with_gaps_are_said(tmp_path, png, write_parquet, labels, caplog):
    write_parquet(tmp_path / "train.parquet", [png()] * len(labels), labels, classes=None)
    write_parquet(tmp_path / "test.parquet", [png()], [labels[1]], classes=None)
    used = [label for label in labels if label is not None and label >= 0]
    assert len(read_part(tmp_path, "train").classes) == max(used) + 1
    some = ", ".join(map(str, used))
    assert f"makes {max(used) + 1} classes, but only {len(used)} occur ({some}); data.unused_labels=drop" in caplog.text
    dropped = read_part(tmp_path, "train", unused_labels="drop")
    assert dropped.classes == tuple(map(str, used))
    assert [row.label for row in dropped.rows()] == [used.index(one) if one in used else one for one in labels]


def test_labels_without_gaps_need_no_word(tmp_path, png, write_parquet, caplog):
    write_parquet(tmp_path / "train.parquet", [png()] * 3, [0, 1, 2], classes=None)
    write_parquet(tmp_path / "test.parquet", [png()], [1], classes=None)
    read_part(tmp_path, "train")
    assert not caplog.text


def test_class_names_that_disagree(two_files, png, write_parquet):
    write_parquet(two_files / "test.parquet", [png()], [0], classes=("dog", "cat"))
    with pytest.raises(DataError, match=r"test\.parquet and .*train\.parquet have different class names"):
        read_part(two_files, "train")


def test_missing_and_unreadable_files(two_files):
    with pytest.raises(DataError, match=r"nowhere does not exist; parquet:PATH takes a folder or one \.parquet"):
        read_part(two_files / "nowhere", "train")
    (two_files / "test.parquet").rename(two_files / "rest.parquet")
    with pytest.raises(DataError, match=r"cannot tell which files are which split; it has rest\.parquet, train\.pa"):
        read_part(two_files, "train")
    (two_files / "test.parquet").write_bytes(b"PAR1, but not really")
    with pytest.raises(DataError, match=r"test\.parquet is not a readable Parquet file"):
        read_part(two_files, "test")


def test_missing_column(two_files):
    file = two_files / "train.parquet"
    pq.write_table(pq.read_table(file).drop_columns("label"), file)
    with pytest.raises(DataError, match=r"train\.parquet: no column can hold the labels; it has the columns image"):
        read_part(two_files, "train")


def test_damaged_pages(two_files):
    file = two_files / "train.parquet"
    data = bytearray(file.read_bytes())
    data[4:60] = bytes(56)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"train\.parquet cannot be read after row 0"):
        list(read_part(two_files, "train").rows())
