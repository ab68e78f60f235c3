"""The code blocks of the pages under docs/."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def code_blocks(page: str, language: str = "python") -> list[str]:
    """Return the code blocks of a page, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
