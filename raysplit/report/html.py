"""What the pages are made of: templates, tables, pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import count
from string import Template


def filled(template: str, **fields: str) -> str:
    """Return a template of this package with its fields, HTML each, and the style sheet filled in."""
    room = files("raysplit.report")
    style = room.joinpath("style.css").read_text(encoding="utf-8")
    return Template(room.joinpath(template).read_text(encoding="utf-8")).substitute(fields, style=style)


def html_table(head: Iterable[str], body: Iterable[Iterable[str]], text_columns: int = 1) -> str:
    """Return an HTML table; the first columns are text, the others numbers on the right."""

    def line(tag: str, cells: Iterable[str]) -> str:
        kinds = (' class="text"' if i < text_columns else "" for i in count())
        return "<tr>" + "".join(f"<{tag}{next(kinds)}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(line("td", cells) for cells in body)
    return f'<div class="wide"><table><thead>{line("th", head)}</thead><tbody>{rows}</tbody></table></div>'


def embedded(image: bytes) -> str:
    """Return PNG data as the text that stands in a data URI."""
    return base64.b64encode(image).decode()
