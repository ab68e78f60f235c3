"""Class folders of recordings: who is in which split, with and without the official lists."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from raysplit.config import DataConfig
from raysplit.data import load, read_facts
from raysplit.data.audio_folders import audio_part
from raysplit.errors import ConfigError, DataError
from raysplit.utils.settings import parse
from tests.sounds import AUDIO, tone, wav

SOUND = wav(tone(440, 0.1))


def put(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(SOUND)


def config(folder: Path, **more) -> DataConfig:
    return DataConfig(name=f"audio:{folder}", audio=AUDIO, **more)


def names(folder: Path, split: str, **more) -> list[str]:
    """Return the files of a split below the folder, with a + at those that are held out."""
    part = audio_part(config(folder, **more), split)
    rows = list(part.rows())
    assert len(rows) == part.count
    return [f"{Path(row.where).relative_to(folder).as_posix()}{'+' if row.held_out else ''}" for row in rows]


@pytest.fixture
def words(tmp_path):
    """Write two words by five speakers, twice each."""
    put(
        tmp_path / "words",
        *(f"{word}/{who}_nohash_{take}.wav" for word in ("no", "yes") for who in "abcde" for take in range(2)),
    )
    return tmp_path / "words"


def test_a_fifth_of_the_speakers_is_the_test_split(words):
    train, test = names(words, "train"), names(words, "test")
    assert len(train) == 16 and len(test) == 4 and len({Path(name).name[0] for name in test}) == 1
    assert not {Path(name).name[0] for name in train} & {Path(name).name[0] for name in test}
    assert audio_part(config(words), "test").taken_from == "train"


def test_speech_commands_lists(words, caplog):
    put(words, "_background_noise_/rain.wav")
    (words / "LICENSE").write_text("…")
    (words / "testing_list.txt").write_text("yes/a_nohash_0.wav\nyes/a_nohash_1.wav\nno/a_nohash_0.wav\n")
    (words / "validation_list.txt").write_text("no/b_nohash_0.wav\nyes/z_nohash_0.wav\n")
    with caplog.at_level(logging.WARNING):
        assert names(words, "test") == ["no/a_nohash_0.wav", "yes/a_nohash_0.wav", "yes/a_nohash_1.wav"]
    assert "names 1 recordings that are not there, for example yes/z_nohash_0" in caplog.text
    assert "ignored 1 no class (_background_noise_), 1 outside of class folders" in caplog.text
    train = names(words, "train")
    assert len(train) == 17 and [name for name in train if name.endswith("+")] == ["no/b_nohash_0.wav+"]
    part = audio_part(config(words), "test")
    assert part.classes == ("no", "yes") and part.taken_from == "test"
    sets = [load(config(words), split) for split in ("train", "val", "test")]
    assert [len(one.labels) for one in sets] == [16, 1, 3]


@pytest.mark.parametrize("suffix", [".wav", ".au", ""])
@pytest.mark.parametrize("folder", ["{0}/", ""])
def test_gtzan_lists(tmp_path, suffix, folder):
    songs = [f"{genre}.{number:05}" for genre in ("blues", "jazz") for number in range(6)]
    put(tmp_path, *(f"{song.split('.')[0]}/{song}.wav" for song in songs))
    for name, own in (("train", songs[:2] + songs[6:8]), ("valid", songs[2:3]), ("test", songs[3:4] + songs[8:9])):
        lines = [folder.format(song.split(".")[0]) + song + suffix for song in own]
        (tmp_path / f"{name}_filtered.txt").write_text("\n".join(lines))
    assert names(tmp_path, "test") == ["blues/blues.00003.wav", "jazz/jazz.00002.wav"]
    wanted = ["blues.00000.wav", "blues.00001.wav", "blues.00002.wav+", "jazz.00000.wav", "jazz.00001.wav"]
    assert [Path(name).name for name in names(tmp_path, "train")] == wanted


def test_songs_without_lists_are_drawn_one_by_one(tmp_path):
    put(tmp_path, *(f"{genre}/{genre}.{number:05}.wav" for genre in ("blues", "jazz") for number in range(10)))
    train, test = names(tmp_path, "train"), names(tmp_path, "test")
    assert len(test) == 4 and sorted(train + test) == sorted({*train, *test}) and len(train) == 16


def test_a_list_for_other_files(words):
    (words / "testing_list.txt").write_text("maybe/a_nohash_0.wav\n")
    with pytest.raises(DataError, match=r"testing_list.txt names no recording below .*; it is for other files"):
        names(words, "train")


@pytest.mark.parametrize("name", ["testing_list.txt", "validation_list.txt", "train_filtered.txt"])
def test_a_list_that_is_no_text(words, name):
    (words / name).write_bytes(b"no/a_nohash_0.wav\nno/caf\xe9.wav\n")
    with pytest.raises(DataError, match=f"{name} is not a readable list of recordings"):
        names(words, "train")


def test_folders_of_splits(tmp_path, caplog):
    put(tmp_path, "train/no/1.wav", "train/yes/deep/2.flac", "train/yes/3.mp3", "test/no/1.wav", "train/yes/notes.txt")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path, "train") == ["train/no/1.wav", "train/yes/3.mp3", "train/yes/deep/2.flac"]
        assert names(tmp_path, "test") == ["test/no/1.wav"]
    assert "is not read" not in caplog.text
    put(tmp_path, "val/no/1.wav")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path, "test") == ["test/no/1.wav"]
    assert f"{tmp_path}/val is not read: data.val_fraction of the training split is held out" in caplog.text
    assert "ignored 1 .txt" in caplog.text and "has no recording of 1 of 2 classes (yes)" in caplog.text
    assert "speakers" not in caplog.text


@pytest.mark.parametrize(
    ("name", "group"), [("{who}_nohash_{take}.wav", None), ("{who}/{take}.wav", "[^/]+"), ("{take}-{who}.wav", "-(.)")]
)
def test_a_fifth_of_the_speakers_is_held_out_where_there_is_no_test_folder(tmp_path, name, group, caplog):
    files = [name.format(who=who, take=take) for who in "abcde" for take in range(2)]
    put(tmp_path, *(f"train/{word}/{file}" for word in ("no", "yes") for file in files))
    with caplog.at_level(logging.WARNING):
        parts = [audio_part(config(tmp_path, group=group), split) for split in ("train", "test")]
    rows = [list(part.rows()) for part in parts]
    groups = [{row.group for row in split} for split in rows]
    assert [len(split) for split in rows] == [16, 4] and groups[0] | groups[1] == {*"abcde"} and len(groups[1]) == 1
    assert [row.label for row in rows[1]] == [0, 0, 1, 1] and {part.taken_from for part in parts} == {"train"}
    assert caplog.messages == [
        f"{tmp_path} has no folder test (or val); a fifth of the speakers or songs in train, drawn with a fixed seed, "
        "serves as the test split, and training goes without it"
    ]


def test_a_class_may_be_called_like_a_split(tmp_path):
    put(tmp_path, *(f"{word}/{who}_nohash_0.wav" for word in ("dev", "test", "yes") for who in "abcde"))
    assert audio_part(config(tmp_path), "train").classes == ("dev", "test", "yes")


def test_a_class_without_held_out_recordings_is_said(tmp_path, caplog):
    put(tmp_path, *(f"train/no/{who}_nohash_0.wav" for who in "abcde"))
    held_out = names(tmp_path, "test")
    put(tmp_path, f"train/yes/{'a' if 'a_nohash' not in held_out[0] else 'b'}_nohash_0.wav")
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path, "test") == held_out
    assert f"{tmp_path}/train (test) has no recording of 1 of 2 classes (yes)" in caplog.text


def test_the_record_of_what_is_held_out(tmp_path, recordings):
    (tmp_path / "train").symlink_to(recordings)
    alone = config(tmp_path, val_fraction=0.2)
    sets = {split: load(alone, split) for split in ("train", "val", "test")}
    facts = read_facts(alone)
    assert [len(one.labels) for one in sets.values()] == [facts.train_rows, facts.val_rows, facts.test_rows]
    assert facts.test_from == "train" and {one.taken_from for one in sets.values()} == {"train"}
    assert sum(len(one.clips.chunks) for one in sets.values()) == 54 and len(sets["test"].clips.chunks) == 9


@pytest.mark.parametrize("folder", ["train/no/deep", "train/no/deep/x.wav", "train/yes/more"])
def test_an_empty_folder_below_a_class_is_counted(tmp_path, folder, caplog):
    put(tmp_path, "train/no/1.wav", "train/yes/1.wav", "test/no/1.wav")
    (tmp_path / folder).mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert names(tmp_path, "train") == ["train/no/1.wav", "train/yes/1.wav"]
    assert f"{tmp_path}/train: ignored 1 empty folder ({Path(folder).name})" in caplog.text


@pytest.mark.parametrize(
    ("files", "group"),
    [
        (["train/no/a_nohash_0.wav", "train/no/b_nohash_0.wav", "test/no/a_nohash_1.wav"], None),
        (["train/no/a-1.wav", "test/no/a-2.wav"], r"^(\w)-"),
        (["train/no/anna/1.wav", "test/no/anna/2.wav"], "[^/]+"),
    ],
)
def test_speakers_in_both_splits_are_said(tmp_path, files, group, caplog):
    put(tmp_path, *files)
    with caplog.at_level(logging.WARNING):
        names(tmp_path, "test", group=group)
    assert "1 speakers or songs are in train and in test, for example a" in caplog.text


def test_groups_by_a_pattern(tmp_path):
    put(tmp_path, *(f"{word}/{who}/{take}.wav" for word in ("no", "yes") for who in ("ann", "bo") for take in range(3)))
    rows = list(audio_part(config(tmp_path, group="^(.*?)/"), "train").rows())
    assert {row.group for row in rows} <= {"ann", "bo"} and len(rows) == 6
    with pytest.raises(DataError, match=re.escape(r"data.group='(_\w+)' is not found in 'ann/0.wav'")):
        names(tmp_path, "train", group=r"(_\w+)")
    with pytest.raises(ConfigError, match=r"group '\(' is not a regular expression"):
        parse(DataConfig, {"name": "audio:x", "group": "("}, "mine")


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([], "has no class folder with a recording; expected .*/CLASS/\\*.wav or \\*.flac"),
        (["no/x.txt"], "no has no recording \\(1 .txt\\); recordings end in .aif"),
        (["train/no/x.txt", "test/no/x.wav"], "train/no has no recording \\(1 .txt\\)"),
        (
            ["train/no/x.wav"],
            "train: all recordings are of one speaker or song, 'no/x.wav', so none is left for a test",
        ),
        (["test/no/x.wav", "test/yes/x.wav"], "has a folder test with folders in it, and no folder train: put"),
        (["no/x.wav", "yes/x.wav", "val/no/y.wav"], "/train, or rename val if it is a class"),
        (["testing/no/x.wav", "training/no/y.wav"], "has a folder testing with folders in it, and no folder train"),
        (["train/a/s_nohash_0.wav", "train/b/s_nohash_1.wav"], "train: all recordings are of one speaker or song, 's'"),
    ],
)
def test_folders_that_are_refused(tmp_path, files, text):
    put(tmp_path, *files)
    with pytest.raises(DataError, match=text):
        names(tmp_path, "train")
    with pytest.raises(DataError, match="none does not exist"):
        names(tmp_path / "none", "train")


def test_one_speaker_alone(tmp_path):
    put(tmp_path, "no/a_nohash_0.wav", "yes/a_nohash_1.wav")
    with pytest.raises(DataError, match="all recordings are of one speaker or song, 'a', so none is left for a test"):
        names(tmp_path, "train")


def test_bad_files_are_refused_or_skipped(words):
    (words / "no" / "a_nohash_0.wav").write_bytes(b"")
    (words / "yes" / "b_nohash_0.wav").write_bytes(SOUND[:200])
    for split in ("train", "test"):
        if len(names(words, split)) == 16:
            with pytest.raises(DataError, match=r"_nohash_0.wav: .*; ?.*on_bad_rows=skip|on_bad_rows=skip leaves"):
                load(config(words), split)
    facts = read_facts(config(words, on_bad_rows="skip"))
    assert facts.train_rows + facts.val_rows + facts.test_rows == 18 and facts.shape == AUDIO.shape
    assert sum(load(config(words, on_bad_rows="skip"), split).skipped for split in ("train", "test")) == 2


def test_long_recordings_are_whole_in_their_split(recordings):
    sets = {split: load(config(recordings, val_fraction=0.2), split) for split in ("train", "val", "test")}
    facts = read_facts(config(recordings, val_fraction=0.2))
    assert [len(one.labels) for one in sets.values()] == [facts.train_rows, facts.val_rows, facts.test_rows]
    assert sum(len(one.clips.chunks) for one in sets.values()) == 54
    for one in sets.values():
        assert set(one.chunks) == {1, 3} and sum(one.chunks) == len(one.images) and one.images.shape[1:] == AUDIO.shape
        assert [len(set(part.tolist())) for part in one.labels.split(list(one.chunks))] == [1] * len(one.chunks)
    shared = set(sets["train"].clips.groups.tolist()) & set(sets["val"].clips.groups.tolist())
    assert not shared
