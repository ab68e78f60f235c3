"""The page on extending: its file and its session, run in order."""

from __future__ import annotations

import shlex
import sys

from raysplit.recipes import get
from raysplit.schedules import UserSchedule
from tests.docs.pages import code_blocks


def test_its_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    file, *session = code_blocks("extending.md")
    (tmp_path / "my_parts.py").write_text(file)
    assert file.startswith("# my_parts.py\n") and len(session) == 5
    names: dict[str, object] = {"__name__": "session"}
    try:
        for block in session:
            exec(compile(block, "docs/extending.md", "exec"), names)
    finally:
        sys.modules.pop("my_parts", None)
    [command] = code_blocks("extending.md", "sh")
    words = shlex.split(command)
    config = get(words[words.index("--recipe") + 1]).with_settings(words[words.index("--set") + 1 :])
    assert config.schedule == UserSchedule(target="my_parts.py:Loosen", args={"target": 0.4})
