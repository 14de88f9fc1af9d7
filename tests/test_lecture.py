"""What is written in two languages has one code, and the walk through attention shows what its text says."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from common.scripts import SCRIPTS

from hf_attention.seeing.document_pictures import blocks_of_python


DOCS = SCRIPTS.parent / "docs"
PAGES = {"English": DOCS / "lecture.md", "Korean": DOCS / "lecture.ko.md"}


def rows_of(page: Path) -> list[list[str]]:
    """The cells of all rows of all tables of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def shares_of(page: Path) -> list[list[float]]:
    """The rows of the tables that hold percentages, as numbers."""
    rows = [[cell for cell in row if cell.endswith(" %")] for row in rows_of(page)]
    return [[float(cell.removesuffix(" %")) / 100 for cell in row] for row in rows if row]


def test_both_languages_have_the_same_code_numbers_and_pictures() -> None:
    english, korean = PAGES.values()
    assert blocks_of_python(english) == blocks_of_python(korean)
    assert shares_of(english) == shares_of(korean)
    for pattern in (r"\]\((pictures/[^)]*)\)", r"\$\$.*?\$\$", r"\]\((https:[^)]*)\)"):
        found, others = (re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL) for page in PAGES.values())
        assert found == others


def test_the_first_lines_are_the_same_in_both_languages() -> None:
    english, korean = (SCRIPTS.parent / name for name in ("README.md", "README.ko.md"))
    assert blocks_of_python(korean) == blocks_of_python(english)[:1]


def test_the_walk_shows_what_the_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGES["English"]
    monkeypatch.chdir(tmp_path)
    walked: dict[str, Any] = {}
    for block in blocks_of_python(page):
        exec(compile(block, page.name, "exec"), walked)

    measured = [
        shares for name in ("objects_named", "attention_shares", "words_right") for shares in walked[name].values()
    ]
    # Other processors sum in another order, which leads a training elsewhere, though not far.
    written = torch.tensor(shares_of(page)[: len(measured)])
    torch.testing.assert_close(torch.tensor(measured), written, atol=0.2, rtol=0)

    glance, attention = walked["objects_named"].values()
    assert min(attention) > 0.6
    assert attention[3] > 1.5 * glance[3]
    last_state, attention = walked["words_right"].values()
    assert last_state[0] > 1.5 * last_state[3], "a long sentence is harder to remember"
    assert min(attention) > 0.9
    shares = torch.tensor(list(walked["attention_shares"].values()))
    assert shares.argmax(1).tolist() == [0, 1, 2, 3], "each question looks at the object that it asks for"
    for text in (each.read_text(encoding="utf-8") for each in PAGES.values()):
        told = re.search(r"(\d\.\d)\D+(\d\.\d)\D+\*disc\*", text).groups()  # without seeing, and with it
        assert [float(each) for each in told] == pytest.approx(list(walked["perplexity"].values()), abs=0.06)

    shown = re.findall(r"\]\(pictures/([^)]*)\)", page.read_text(encoding="utf-8"))
    assert {path.name for path in tmp_path.glob("*.png")} == set(shown)
