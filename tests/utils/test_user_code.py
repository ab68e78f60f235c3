import pickle

import pytest

from raysplit.errors import ConfigError
from raysplit.utils.user_code import ObjectRecord, UserClass, load_class, load_function


def test_two_files_of_one_name_do_not_clash(tmp_path):
    functions = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.py").write_text(f"def make():\n    return '{folder}'\n")
        functions.append(load_function(f"{tmp_path}/{folder}/model.py:make"))
    assert [make() for make in functions] == ["a", "b"]
    assert functions[0].__module__ != functions[1].__module__


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "model.py"
    file.write_text("def make():\n    return 1\n")
    assert load_function(f"{file}:make")() == 1
    file.write_text("def make():\n    return 'changed'\n")
    assert load_function(f"{file}:make")() == "changed"


def test_dataclasses_in_the_file_work(tmp_path):
    file = tmp_path / "model.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Box:\n    n: int\ndef make():\n    return Box(3).n\n"
    )
    assert load_function(f"{file}:make")() == 3


@pytest.mark.parametrize(
    ("content", "spec", "text"),
    [
        ("", "{}", "is not of the form path.py:function"),
        ("", "{}x.py:make", "there is no file"),
        ("def make(): pass", "{}:maek", "model.py has no function 'maek'. Nearest: make."),
        ("make = 3", "{}:make", "model.py has no function 'make'."),
        ("1 / 0", "{}:make", "running model.py raised ZeroDivisionError: division by zero"),
        ("def make(:", "{}:make", "running model.py raised SyntaxError"),
    ],
)
def test_errors_name_the_file_and_the_remedy(tmp_path, content, spec, text):
    file = tmp_path / "model.py"
    file.write_text(content)
    with pytest.raises(ConfigError) as err:
        load_function(spec.format(file))
    assert text in str(err.value) and "\n" not in str(err.value)


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from pathlib import Path\n"
        "@dataclass\nclass Box:\n    first: int\n    size: int = 1\n"
        "class Bad:\n    def __init__(self):\n        raise KeyError('x\\ny')\n"
        "def function(): ...\n"
    )
    return file


def test_a_class_and_its_arguments(own):
    named = UserClass(target=f"{own}:Box", args={"size": 3})
    box = named.create(7)
    assert (box.first, box.size) == (7, 3) and type(named.create(8)) is type(box), "the file runs once"
    assert load_class(f"{own}:Box") is not type(box), "and afresh when it is loaded again"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Bx", r"own.py has no class 'Bx'\. Nearest: Box"),
        ("function", r"own.py has no class 'function'\. Known: Box, Bad\."),
        ("Path", None),
    ],
)
def test_classes_of_a_file(own, name, text):
    if text is None:
        assert load_class(f"{own}:{name}").__name__ == name
    else:
        with pytest.raises(ConfigError, match=text):
            load_class(f"{own}:{name}")


@pytest.mark.parametrize(
    ("target", "args", "text"),
    [
        ("Box", {"siz": 3}, r"own.py:Box takes no argument 'siz'\. Nearest: size\."),
        ("Box", {"first": 3}, r"own.py:Box cannot be constructed: TypeError: .*multiple values for argument 'first'"),
        ("Bad", {}, r"own.py:Bad cannot be constructed: TypeError: "),
    ],
)
def test_arguments_that_do_not_fit(own, target, args, text):
    with pytest.raises(ConfigError, match=text) as caught:
        UserClass(target=f"{own}:{target}", args=args).create(1)
    assert "\n" not in str(caught.value)


def test_what_a_constructor_raises_is_one_line(own):
    with pytest.raises(ConfigError, match=r"own.py:Bad cannot be constructed: KeyError: 'x\\ny'"):
        UserClass(target=f"{own}:Bad").create()


def test_a_named_class_travels_without_its_module(own):
    named = UserClass(target=f"{own}:Box")
    named.create(1)
    again = pickle.loads(pickle.dumps(named))
    assert again == named and again.create(2).first == 2


@pytest.mark.parametrize(
    "target", ["own.py", "own:Box", ":Box", "own.py:", "own.py:Box.Inner", "https://x/own.txt:Box"]
)
def test_targets_that_name_no_class(target):
    with pytest.raises(ValueError, match=rf"'{target}' is not of the form path.py:Class"):
        UserClass(target=target)


def test_the_record_of_an_object():
    assert ObjectRecord.of(pickle.Pickler) == ObjectRecord(name="Pickler") and ObjectRecord.of(3).name == "int"
    text = "codec was an object in memory (int), which config.json cannot hold: pass it again with "
    assert str(ObjectRecord.of(3).lost("codec")) == f"{text}config.replaced(codec=…), or name it as path.py:Class"
