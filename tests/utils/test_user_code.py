import pytest

from raysplit.errors import ConfigError
from raysplit.utils.user_code import load_function


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
