"""MkDocs hooks: the README as the first page, and files outside `docs/` that pages link to."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
FOLDER_LINK = re.compile(r"\[([^]]+)\]\((?!\w+:|#)([^)#\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, and what README and guides link to in the rest of the repository."""
    files.append(File.generated(config, "index.md", content=_first_page()))
    sources = {ROOT / "README.md", *(ROOT / "docs").glob("*.md")}
    for source in sources:
        for target, _ in LINK.findall(source.read_text()):
            path = (source.parent / target).resolve()
            if path.is_file() and not path.is_relative_to(ROOT / "docs") and path.is_relative_to(ROOT):
                uri = str(path.relative_to(ROOT))
                if files.get_file_from_path(uri) is None:
                    files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point `../benchmarks/…` at the copy in the site."""
    if page.file.generated_by or "/" in page.file.src_uri:
        return markdown
    return LINK.sub(lambda link: (link[1].removeprefix("../")) + (link[2] or ""), markdown)


def _first_page() -> str:
    """Return the README with its links seen from `docs/`; folders are no pages, so that their links go."""
    text = (ROOT / "README.md").read_text()
    text = FOLDER_LINK.sub(lambda link: link[0] if not (ROOT / link[2]).is_dir() else link[1], text)
    return LINK.sub(lambda link: posixpath.relpath(link[1], "docs").removeprefix("../") + (link[2] or ""), text)
