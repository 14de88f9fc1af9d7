"""The pages of the site, which lie, and are linked, as they are read on GitHub."""

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


ROOT = Path(__file__).parents[2]
SOURCES = (
    "*.md",
    "docs/*.md",
    "docs/pictures/**/*",
    "docs/reference/*.md",
    "docs/site/*.css",
    "hf_attention/checkpoints/*/*.md",
    "hf_attention/checkpoints/*/*.png",
    "model_cards/*.md",
)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
MATH = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All pages, by their paths in the repository; patterns in `nav` become the pages that they stand for."""
    paths = sorted(path.relative_to(ROOT) for source in SOURCES for path in ROOT.glob(source) if path.is_file())
    pages = [path for path in paths if path.suffix == ".md"]
    config.nav = _expand(config.nav, pages, _named(config.nav))
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    ours = [File(path.as_posix(), str(ROOT), config.site_dir, config.use_directory_urls) for path in paths]
    return Files(of_theme + ours)


def _named(entries: list[Any]) -> set[Path]:
    """The pages that have a line of their own."""
    named: set[Path] = set()
    for entry in entries:
        for part in entry.values() if isinstance(entry, dict) else [entry]:
            named |= _named(part) if isinstance(part, list) else {Path(part)}
    return named


def _expand(entries: list[Any], pages: list[Path], taken: set[Path]) -> list[Any]:
    expanded: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            for title, part in entry.items():
                expanded.append({title: _expand(part, pages, taken) if isinstance(part, list) else part})
        elif "*" in entry:
            found = [page for page in pages if page.match(entry) and len(page.parts) == len(Path(entry).parts)]
            expanded += [page.as_posix() for page in found if page not in taken]
            taken.update(found)
        else:
            expanded.append(entry)
    return expanded


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file of the repository that is no page leads to GitHub."""
    folder = posixpath.dirname(page.file.src_uri)

    def target(match: re.Match) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if files.get_file_from_path(path) is not None or not (ROOT / path).exists():
            return match[1]
        return f"{config.extra['repository']}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"

    return LINK.sub(target, markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Equations as browsers know them, without a script; those that stand alone in a box that scrolls."""
    return MATH.sub(_equation, content)


def _equation(match: re.Match) -> str:
    display = "inline" if match[2] == "(" else "block"
    equation = convert(html.unescape(match[3]).strip(), display=display)
    return equation if display == "inline" else f'<div class="equation">{equation}</div>'
