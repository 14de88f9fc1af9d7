"""The site that `make docs` builds: what is on it, and what it makes of docstrings and links."""

import importlib
import logging
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import hf_attention


griffe = pytest.importorskip("griffe", reason="the site needs the extra `docs`")
mkdocs = pytest.importorskip("mkdocs.exceptions", reason="the site needs the extra `docs`")

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"
REFERENCE = "\n".join(path.read_text() for path in ROOT.glob("docs/reference/*.md"))

MODULE = '''
"""What [`ring`] and [`~package.Kept`] are for: [`Lost`], [`~torch.nn.Linear`]."""

from dataclasses import dataclass, field
from typing import Annotated


class Parent:
    def turn(self):
        r"""Turns, of \\\\(x_t\\\\)."""


class Kept(Parent):
    """
    Kept things, as [`~Kept.turn`] leaves them.

    Args:
        sizes, names (`tuple[int, int]`, *optional*, defaults to `(1, 2)`):
            The first of two lines,
            and the second.

            - a list
        kwargs: As of [`ring`].

    Returns:
        `int`: Things.

    Raises:
        ValueError: Where `x`
            is missing.

    Example:

    ```python
    >>> Kept()
    ```
    """


@dataclass
class Options:
    """Options."""

    depth: Annotated[int | None, "COUNT"] = field(default=None, metadata={"help": "How deep."})
    seed: int = field(default=3, metadata={"help": "Of the " "weights."})


def ring(): ...
'''


@pytest.fixture
def package(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> "griffe.Module":
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "__init__.py").write_text(MODULE)
    with caplog.at_level(logging.WARNING):
        return griffe.load(
            "package", search_paths=[tmp_path], extensions=griffe.load_extensions(str(SITE / "docstrings.py"))
        )


def test_references_are_links_and_what_is_not_there_is_named(package, caplog: pytest.LogCaptureFixture):
    assert package.docstring.value.strip() == (
        'What <autoref identifier="package.ring" optional><code>ring</code></autoref> and '
        '<autoref identifier="package.Kept" optional><code>Kept</code></autoref> are for: '
        "<code>Lost</code>, <code>Linear</code>."
    )
    assert '<autoref identifier="package.Parent.turn" optional><code>turn</code></autoref>' in (
        package["Kept"].docstring.value
    )
    assert [record.getMessage() for record in caplog.get_records("setup")] == ["package: nothing is called Lost"]


def test_sections_are_definition_lists(package):
    markdown = pytest.importorskip("markdown").Markdown(extensions=["attr_list", "def_list", "fenced_code"])
    shown = markdown.convert(package["Kept"].docstring.value)
    assert re.findall(r'<p class="section"><strong>(\w+)</strong></p>', shown) == [
        "Arguments",
        "Returns",
        "Raises",
        "Example",
    ]
    terms = [re.sub("<.+?>", "", term) for term in re.findall("<dt>(.*?)</dt>", shown)]
    assert terms == ["sizes, names (tuple[int, int], optional, defaults to (1, 2))", "kwargs", "ValueError"]
    first, _, last = re.findall("<dd>(.*?)</dd>", shown, re.DOTALL)
    assert "<p>The first of two lines,\nand the second.</p>\n<ul>\n<li>a list</li>" in first
    assert last.split() == ["Where", "<code>x</code>", "is", "missing."]
    assert "<p><code>int</code>: Things.</p>" in shown and "&gt;&gt;&gt; Kept()" in shown


def test_options_say_what_they_are(package):
    shown = package["Options"].docstring.value
    assert "`depth` (`int`, *optional*)\n:   How deep." in shown
    assert "`seed` (`int`, *optional*, defaults to `3`)\n:   Of the weights." in shown


@pytest.mark.parametrize("metadata", ["{'help': HELP}", "{'help': f'{HELP}.'}", "{'hint': 'How deep.'}"])
def test_help_that_cannot_be_read_is_named(metadata: str, tmp_path: Path):
    (tmp_path / "helpless.py").write_text(f"""
from dataclasses import dataclass, field

HELP = "How deep."


@dataclass
class Options:
    depth: int = field(default=1, metadata={metadata})
""")
    extensions = griffe.load_extensions(str(SITE / "docstrings.py"))
    message = r"^helpless\.Options\.depth: its `metadata` must have a `help` written out as a text"
    with pytest.raises(mkdocs.PluginError, match=message):
        griffe.load("helpless", search_paths=[tmp_path], extensions=extensions)


def test_every_public_name_is_on_a_page():
    named = set(re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE))
    for module in ("hf_attention", "hf_attention.scenes", "hf_attention.seeing"):
        public = {f"{module}.{name}" for name in importlib.import_module(module).__all__ if name[0] != "_"}
        assert public <= named


def test_references_to_other_packages_lead_somewhere():
    texts = [path.read_text() for path in Path(hf_attention.__file__).parent.rglob("*.py")]
    names = {name for text in texts for name in re.findall(r"\[`~((?:torch|transformers)\.[\w.]+)`\]", text)}
    assert len(names) > 10
    for name in sorted(names):
        package, *parts = name.split(".")
        found = importlib.import_module(package)
        for number, part in enumerate(parts):
            if not hasattr(found, part):
                importlib.import_module(".".join([package, *parts[: number + 1]]))
            found = getattr(found, part)


def test_patterns_in_the_navigation_stand_for_the_pages_that_are_there():
    hooks = runpy.run_path(str(SITE / "hooks.py"))
    nav = [{"Start": "README.md"}, "README.*.md", {"Guides": ["docs/lecture*.md", "docs/b.md", "docs/*.md"]}]
    pages = [Path(name) for name in ("README.md", "docs/a.md", "docs/b.md", "docs/lecture.md", "docs/reference/x.md")]
    assert hooks["_expand"](nav, pages, hooks["_named"](nav)) == [
        {"Start": "README.md"},
        {"Guides": ["docs/lecture.md", "docs/b.md", "docs/a.md"]},
    ]


def test_translations_are_named_and_follow_the_english():
    start, korean, guides, *_ = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert (start, korean) == ({"Start": "README.md"}, {"한국어": "README.ko.md"})
    hooks = runpy.run_path(str(SITE / "hooks.py"))
    pages = [path.relative_to(ROOT) for path in sorted(ROOT.glob("docs/*.md"))]
    [shown] = hooks["_expand"]([guides], pages, hooks["_named"]([guides]))
    assert shown["Guides"][:2] == ["docs/lecture.md", "docs/lecture.ko.md"]


def test_links_to_files_that_are_no_pages_lead_to_github():
    hooks = runpy.run_path(str(SITE / "hooks.py"))
    files = SimpleNamespace(get_file_from_path=lambda path: path if path.endswith(".md") else None)
    config = SimpleNamespace(extra={"repository": "https://github.com/hf-attention/hf_attention"})
    page = SimpleNamespace(file=SimpleNamespace(src_uri="docs/trainer.md"))
    text = "[a](export.md#onnx) [b](../scripts/demo.py) [c](../model_cards) [d](nowhere.txt) [e](https://x.y) [f](#g)"
    github = config.extra["repository"]
    assert hooks["on_page_markdown"](text, page, config, files) == (
        f"[a](export.md#onnx) [b]({github}/blob/main/scripts/demo.py) [c]({github}/tree/main/model_cards) "
        "[d](nowhere.txt) [e](https://x.y) [f](#g)"
    )


def test_equations_are_drawn_without_a_script(package):
    hooks = runpy.run_path(str(SITE / "hooks.py"))
    content = 'x <span class="arithmatex">\\(a &lt; b_1\\)</span> <div class="arithmatex">\\[\ns_t = 1\n\\]</div>'
    shown = hooks["on_page_content"](content, None, None, None)
    inline, block = re.findall("<math.*?</math>", shown)
    assert re.findall('<div class="equation">(.*?)</div>', shown) == [block], "a wide one scrolls"
    assert 'display="inline"' in inline and "<mo>&lt;</mo>" in inline.replace("&#x0003C;", "&lt;")
    assert 'display="block"' in block and "<msub><mi>s</mi><mi>t</mi></msub>" in block
    assert r"of \(x_t\)" in package["Parent"]["turn"].docstring.value
