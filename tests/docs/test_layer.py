"""The page on the layer: its program runs, learns, and prints fewer bytes at the tighter level."""

from __future__ import annotations

import re

from tests.docs.pages import code_blocks


def test_its_program_runs(capsys):
    [program] = code_blocks("layer.md")
    assert len(program.splitlines()) <= 45
    exec(compile(program, "docs/layer.md", "exec"), {"__name__": "program"})
    lines = capsys.readouterr().out.splitlines()
    levels, ups = zip(*(re.match(r"(\S+): .* ([\d,]+) B up", line).groups() for line in lines), strict=True)
    assert levels == ("c4·b4/b4·zstd",) * 4 + ("all·b8/b8",) * 2
    sizes = [int(up.replace(",", "")) for up in ups]
    assert max(sizes[:4]) < min(sizes[4:]) / 4
    assert float(re.search(r"([\d.]+)%", lines[-1])[1]) > 90
