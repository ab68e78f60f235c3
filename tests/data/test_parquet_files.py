"""Which files of a folder are which split."""

from pathlib import Path

import pytest

from raysplit.config import DataSplits
from raysplit.data.parquet_files import find_files
from raysplit.errors import DataError


@pytest.fixture
def make(tmp_path):
    """Return a maker of empty files in a folder, which it returns."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def names(root, files):
    return {split: [str(file.relative_to(root)) for file in found] for split, found in vars(files).items() if found}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (("train.parquet", "test.parquet"), {"train": ["train.parquet"], "test": ["test.parquet"]}),
        (
            ("plain_text/train/0000.parquet", "plain_text/test/0000.parquet"),
            {"train": ["plain_text/train/0000.parquet"], "test": ["plain_text/test/0000.parquet"]},
        ),
        (
            ("data/training.parquet", "data/eval.parquet"),
            {"train": ["data/training.parquet"], "test": ["data/eval.parquet"]},
        ),
        (("train/a.parquet", "train/b.parquet"), {"train": ["train/a.parquet", "train/b.parquet"]}),
        (("train.parquet", "dev.parquet"), {"train": ["train.parquet"], "validation": ["dev.parquet"]}),
    ],
)
def test_splits_that_can_be_told(make, files, found):
    root = make(*files)
    assert names(root, find_files(root, None)) == found


@pytest.mark.parametrize(
    ("files", "example"),
    [
        (("train.parquet", "rest.parquet"), "data.splits={train: 'train.parquet', test: 'rest.parquet'}"),
        (("16_000000_000000.parquet",), "data.splits={train: '16_000000_000000.parquet'}"),
        (("a/train.parquet", "b/train.parquet"), "data.splits={train: 'a/train.parquet', test: 'b/train.parquet'}"),
        (("partial-train/0000.parquet", "test.parquet"), "data.splits={train: 'partial-train/0000.parquet'"),
    ],
)
def test_splits_that_must_be_named(make, files, example):
    root = make(*files)
    with pytest.raises(DataError) as err:
        find_files(root, None)
    text = (
        f"cannot tell which files are which split; it has {', '.join(sorted(files))}: name them, for example {example}"
    )
    assert text in str(err.value)


PARTS = ["part-0.parquet", "part-1.parquet"]


@pytest.mark.parametrize(
    ("splits", "found"),
    [
        ({"train": "part-*.parquet", "test": "held.pq"}, {"train": PARTS, "test": ["held.pq"]}),
        ({"train": ["part-1.parquet", "part-0.parquet"]}, {"train": PARTS[::-1]}),
        ({"train": "**/*.parquet"}, {"train": ["deep/x/1.parquet", *PARTS]}),
        ({"train": "part-0.parquet", "validation": "deep/x"}, {"train": PARTS[:1], "validation": ["deep/x/1.parquet"]}),
        ({"train": "part-[01].parquet", "test": "odd[1].parquet"}, {"train": PARTS, "test": ["odd[1].parquet"]}),
    ],
)
def test_splits_that_are_named(make, splits, found):
    root = make("part-0.parquet", "part-1.parquet", "held.pq", "deep/x/1.parquet")
    if "odd" in str(splits):
        make("odd[1].parquet")
    assert names(root, find_files(root, DataSplits.model_validate(splits))) == found
    whole = {
        key: [str(root / one) for one in ([value] if isinstance(value, str) else value)]
        for key, value in splits.items()
    }
    assert names(root, find_files(Path("/"), DataSplits.model_validate(whole))) == found


NO_FILE = "names no file in {root}; it has a.parquet, b.parquet"


@pytest.mark.parametrize(
    ("splits", "text"),
    [
        ({"train": "a.parquet", "test": "c.parquet"}, f"data.splits.test: 'c.parquet' {NO_FILE}"),
        ({"train": "x-*"}, f"data.splits.train: 'x-*' {NO_FILE}"),
        ({"train": "*.parquet", "test": "b.parquet"}, "b.parquet is in data.splits.train and in data.splits.test"),
        (
            {"train": "a.parquet", "validation": "b.parquet", "test": "b.*"},
            "b.parquet is in data.splits.validation and",
        ),
    ],
)
def test_wrong_names(make, splits, text):
    root = make("a.parquet", "b.parquet")
    with pytest.raises(DataError) as err:
        find_files(root, DataSplits.model_validate(splits))
    assert text.format(root=root) in str(err.value)


def test_one_file_has_no_splits_to_name(make):
    root = make("a.parquet")
    assert names(root, find_files(root / "a.parquet", None)) == {"train": ["a.parquet"]}
    with pytest.raises(DataError, match=rf"a\.parquet is a file; use parquet:{root}, or leave it out"):
        find_files(root / "a.parquet", DataSplits(train="a.parquet"))


def test_a_folder_without_parquet_files(make):
    root = make("a.pq")
    with pytest.raises(DataError, match=r"has no file \*\.parquet; name others, for example data\.splits=\{train: "):
        find_files(root, None)
    assert names(root, find_files(root, DataSplits(train="*.pq"))) == {"train": ["a.pq"]}


def test_files_that_belong_to_no_split_are_said(make, caplog):
    root = make("train.parquet", "test.parquet", *(f"extra{i}.parquet" for i in range(8)))
    find_files(root, None)
    assert "ignored extra0.parquet, " in caplog.text and "… (8 in all); data.splits names files" in caplog.text
