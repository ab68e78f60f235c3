"""The parts of an HTML page: templates, tables, embedded images."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import count
from string import Template


def fill_template(template: str, **fields: str) -> str:
    """Return a template of this package with its `fields`, each HTML, and the style sheet filled in."""
    package = files("raysplit.report")
    style = package.joinpath("style.css").read_text(encoding="utf-8")
    return Template(package.joinpath(template).read_text(encoding="utf-8")).substitute(fields, style=style)


def html_table(
    head: Iterable[str], body: Iterable[Iterable[str]], text_columns: int = 1, best: int | None = None
) -> str:
    """Return an HTML table: the first `text_columns` columns flush left, the others, numbers, flush right.

    Texts are escaped. The row with the index `best` has that class.

    >>> '<td class="text">&lt;a&gt;</td><td>2.5</td>' in html_table(["run", "MB"], [["<a>", "2.5"]])
    True
    """

    def line(tag: str, cells: Iterable[str], of: str = "") -> str:
        kinds = (' class="text"' if i < text_columns else "" for i in count())
        return f"<tr{of}>" + "".join(f"<{tag}{next(kinds)}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(line("td", cells, ' class="best"' * (at == best)) for at, cells in enumerate(body))
    return f'<div class="wide"><table><thead>{line("th", head)}</thead><tbody>{rows}</tbody></table></div>'


def encode_base64(image: bytes) -> str:
    """Return an image as base64 text for a data URI.

    >>> encode_base64(b"PNG")
    'UE5H'
    """
    return base64.b64encode(image).decode()
