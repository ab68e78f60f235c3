import pytest

from raysplit.data.schema import BadRow, check_label, file_identity, number_classes
from raysplit.errors import DataError


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
    file.unlink()
    assert file_identity(file) == str(file)
    file.symlink_to("nowhere")
    assert file_identity(file) != str(file)


@pytest.mark.parametrize(
    ("used", "names", "unused", "classes", "numbers"),
    [
        ({0, 1, 2}, None, "keep", ("0", "1", "2"), {}),
        ({0, 1, 2}, None, "drop", ("0", "1", "2"), {0: 0, 1: 1, 2: 2}),
        ({-1, 3, 9}, None, "drop", ("3", "9"), {3: 0, 9: 1}),
        ({0, 2, 7}, ("ant", "bee", "cat"), "drop", ("ant", "cat"), {0: 0, 2: 1}),
        ({0, 2}, ("crane", "bee", "crane"), "drop", ("crane", "crane"), {0: 0, 2: 1}),
        ({0, 2}, ("ant", "bee", "cat"), "keep", ("ant", "bee", "cat"), {}),
    ],
)
def test_classes_of_numbers(used, names, unused, classes, numbers):
    assert number_classes("here", used, names, unused) == (classes, numbers)


def test_a_label_that_is_too_large():
    with pytest.raises(DataError, match=r"here: the largest label is 100000 .* data\.unused_labels=drop"):
        number_classes("here", {1, 100_000}, None, "keep")
