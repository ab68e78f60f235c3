"""The web page of an application: one file, with the style sheet and the script that all of them share."""

from __future__ import annotations

from pathlib import Path

from fastapi.responses import HTMLResponse

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src blob:; "
    "media-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A page is a single file and talks only to its own server."""


def page_response(template: Path, **fields: str) -> HTMLResponse:
    """Return the page of a template, with `<!--name-->` replaced by each of its `fields`, which are HTML."""
    page = template.read_text(encoding="utf-8")
    for mark, name in (("/*style*/", "page.css"), ("/*script*/", "page.js")):
        page = page.replace(mark, Path(__file__).with_name(name).read_text(encoding="utf-8"))
    for name, html in fields.items():
        page = page.replace(f"<!--{name}-->", html)
    return HTMLResponse(page, headers={"Content-Security-Policy": _CONTENT_SECURITY_POLICY})
