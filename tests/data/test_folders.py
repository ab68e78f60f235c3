"""Class folders as people have them: nothing is ignored without a word."""

import logging
import shutil

import pytest

from raysplit.config import DataConfig
from raysplit.data import load, read_facts
from raysplit.data.folders import folder_part
from raysplit.errors import DataError


@pytest.fixture
def photos(tmp_path, png):
    """Write two classes of three images, as train and test, and return their folder."""
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(3):
                (tmp_path / split / name / f"{i}.png").write_bytes(png(seed=i))
    return tmp_path


def put(path, data=b"?"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", ["bmp", "webp", "TIF", "gif", "jpe", "jfif"])
def test_every_image_suffix_is_read(photos, png, suffix):
    for file in (photos / "train" / "ant").iterdir():
        file.rename(file.with_suffix(f".{suffix}"))
    assert [row.label for row in folder_part(photos, "train").rows()] == [0, 0, 0, 1, 1, 1]


def test_images_at_any_depth_are_read(photos, png):
    put(photos / "train" / "ant" / "session1" / "x.png", png())
    put(photos / "train" / "bee" / "a" / "b" / "c" / "x.jpg", png())
    part = folder_part(photos, "train")
    assert part.classes == ("ant", "bee") and [row.label for row in part.rows()] == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("train/ant/labels.csv", "1 .csv"),
        ("train/ant/deep/x.heics", "1 .heics"),
        ("train/ant/README", "1 without a suffix"),
        ("train/ant/.DS_Store", "1 hidden (.DS_Store)"),
        ("train/ant/__MACOSX/x.png", "1 hidden (__MACOSX)"),
        ("train/__MACOSX/x.png", "1 hidden (__MACOSX)"),
        ("train/.git/x.png", "1 hidden (.git)"),
        ("train/list.txt", "1 outside of class folders"),
    ],
)
def test_what_is_ignored_is_counted_and_named_once(photos, file, text, caplog):
    put(photos / file)
    with caplog.at_level(logging.WARNING):
        assert folder_part(photos, "train").count == 6
        assert folder_part(photos, "train").classes == ("ant", "bee")
        assert folder_part(photos, "test").count == 6
    assert caplog.messages == [f"{photos / 'train'}: ignored {text}"]


@pytest.mark.parametrize("hidden", [(), (".DS_Store",), ("Thumbs.db", "sub/.x")])
def test_a_class_folder_without_files_is_no_class(photos, hidden, caplog):
    (photos / "train" / "wasp").mkdir()
    for name in hidden:
        put(photos / "train" / "wasp" / name)
    assert folder_part(photos, "train").classes == ("ant", "bee")
    assert "1 class folder without images (wasp)" in caplog.text


def test_a_linked_folder_below_a_class_is_counted(photos, caplog):
    (photos / "train" / "ant" / "more").symlink_to(photos / "test" / "ant")
    assert folder_part(photos, "train").count == 6
    assert "1 links to folders below a class folder" in caplog.text


@pytest.mark.parametrize("suffix", ["svg", "mp4"])
def test_a_class_of_other_files_is_refused(photos, suffix):
    for i in range(2):
        put(photos / "train" / "wasp" / f"{i}.{suffix}")
    with pytest.raises(DataError, match=rf"wasp has no image \(2 \.{suffix}\); images end in \.avif"):
        folder_part(photos, "train")


@pytest.mark.parametrize("target", ["nowhere/else.png", "gone.png"])
def test_a_dangling_link_is_a_bad_row(photos, target):
    link = photos / "train" / "ant" / "gone.png"
    link.symlink_to(target)  # to nowhere, or to itself
    data = DataConfig(name=f"folder:{photos}", val_fraction=0.5)
    with pytest.raises(DataError, match=r"gone\.png: unreadable image .*data\.on_bad_rows=skip"):
        load(data, "train")
    train = load(data.replaced(on_bad_rows="skip"), "train")
    assert train.skipped == 1 and len(train.labels) == 3


def test_a_class_without_test_images_is_said(photos, caplog):
    for file in (photos / "test" / "bee").iterdir():
        file.unlink()
    with caplog.at_level(logging.WARNING):
        folder_part(photos, "test")
    assert f"{photos}/test has no image of 1 of 2 classes (bee), so the accuracy says nothing of them" in caplog.text


@pytest.fixture
def untested(photos, png):
    """Leave out the test folder; one class has ten images more, one has one."""
    shutil.rmtree(photos / "test")
    for i in range(10):
        put(photos / "train" / "bee" / "more" / f"{i}.png", png(seed=i))
    put(photos / "train" / "wasp" / "0.png", png())
    return photos


def test_a_fifth_of_each_class_is_held_out_where_there_is_no_test_folder(untested, caplog):
    with caplog.at_level(logging.WARNING):
        train, test = folder_part(untested, "train"), folder_part(untested, "test")
    assert train.classes == test.classes == ("ant", "bee", "wasp")
    assert [row.label for row in test.rows()] == [0, 1, 1, 1]
    rows = [[row.where for row in part.rows()] for part in (train, test)]
    assert sorted(rows[0] + rows[1]) == sorted(str(file) for file in (untested / "train").rglob("*.png"))
    assert [row.where for row in folder_part(untested, "test").rows()] == rows[1] and train.count == 13
    fifth, lacking = caplog.messages
    assert fifth == (
        f"{untested} has no folder test (or val); a fifth of each class in train, drawn with a fixed seed, serves as "
        "the test split, and training goes without it"
    )
    assert f"{untested}/train (test) has no image of 1 of 3 classes (wasp)" in lacking


def test_what_is_held_out_of_a_class_does_not_depend_on_others(untested, png):
    def bees():
        return [row.where for row in folder_part(untested, "test").rows() if "/bee/" in row.where]

    before = bees()
    put(untested / "train" / "ant" / "new.png", png(seed=9))
    put(untested / "train" / "adder" / "0.png", png(seed=9))
    assert bees() == before


def test_the_record_of_what_is_held_out(untested):
    data = DataConfig(name=f"folder:{untested}", val_fraction=0.25)
    facts = read_facts(data)
    assert (facts.train_rows, facts.val_rows, facts.test_rows, facts.test_from) == (10, 3, 4, "train")
    images = {split: load(data, split) for split in ("train", "val", "test")}
    assert [len(one.labels) for one in images.values()] == [10, 3, 4]
    assert {one.taken_from for one in images.values()} == {"train"}


def test_classes_too_small_to_hold_a_fifth_out(tmp_path, png):
    for name in ("ant", "bee"):
        for i in range(2):
            put(tmp_path / "train" / name / f"{i}.png", png(seed=i))
    with pytest.raises(DataError, match=f"no class in {tmp_path}/train has the three images .*{tmp_path}/test/CLASS"):
        read_facts(DataConfig(name=f"folder:{tmp_path}"))


def test_a_validation_folder_serves_as_the_test_split(photos):
    (photos / "test").rename(photos / "val")
    assert folder_part(photos, "test").taken_from == "validation" and folder_part(photos, "train").count == 6


@pytest.mark.parametrize("name", ["ant/0.png", "ant/deep/photos", "bee/a.jpg/b.jpg"])
def test_an_empty_folder_below_a_class_is_counted(photos, name, caplog):
    folder = photos / "train" / name
    if folder.is_file():
        folder.unlink()
    folder.mkdir(parents=True)
    count = folder_part(photos, "train").count
    assert count == (5 if name == "ant/0.png" else 6)
    assert f"{photos}/train: ignored 1 empty folder ({folder.name})" in caplog.text


def test_a_class_of_empty_folders_is_no_class(photos, caplog):
    (photos / "train" / "wasp" / "0.png").mkdir(parents=True)
    assert folder_part(photos, "train").classes == ("ant", "bee")
    assert "1 class folder without images (wasp), 1 empty folder (0.png)" in caplog.text


def test_one_class_is_said(photos, caplog):
    for split in ("train", "test"):
        shutil.rmtree(photos / split / "bee")
    with caplog.at_level(logging.WARNING):
        read_facts(DataConfig(name=f"folder:{photos}", val_fraction=0.4))
    assert f"{photos}/train has one class, 'ant': every answer is right, and nothing is learned" in caplog.text


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_images_is_found_before_anything_is_trained(photos, split):
    shutil.rmtree(photos / split)
    (photos / split).mkdir()
    with pytest.raises(DataError, match=f"{photos}/{split} has no (rows|class folder with an image)"):
        read_facts(DataConfig(name=f"folder:{photos}"))


def test_a_class_whose_name_is_no_text_is_refused(photos):
    (photos / "train" / "ant").rename(photos / "train" / "ant\udcff")
    with pytest.raises(DataError, match=r"train: the folder name 'ant.udcff' is not UTF-8; rename it"):
        folder_part(photos, "train")


def test_an_image_whose_name_is_no_text_is_read(photos):
    (photos / "train" / "ant" / "0.png").rename(photos / "train" / "ant" / "0\udcff.png")
    assert len(load(DataConfig(name=f"folder:{photos}", val_fraction=0.4), "train").labels) == 4
