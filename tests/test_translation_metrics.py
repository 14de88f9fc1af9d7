"""Scores against numbers worked out by hand, and sacreBLEU's own command."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from hf_attention.training.translation_metrics import chat_metrics, translation_metrics, translation_signatures


TRANSLATIONS = ["The ferry leaves at noon, I think.", "nobody saw the grey Heron .", "Wait here please!"]
REFERENCES = ["The ferry leaves at noon, I believe.", "Nobody saw the grey heron.", "Please wait here!"]


def test_bleu_by_hand() -> None:
    scores = translation_metrics(["The cat sat on this mat"], ["The cat sat on that mat"])
    # "The cat sat on" is right, and "mat": of words, pairs, … 5/6, 3/5, 2/4, 1/3.
    assert scores["bleu"] == pytest.approx(100 * math.prod([5 / 6, 3 / 5, 2 / 4, 1 / 3]) ** 0.25)


def test_same_as_sacrebleus_command(tmp_path: Path) -> None:
    for name, texts in (("translations", TRANSLATIONS), ("references", REFERENCES)):
        (tmp_path / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    scores = translation_metrics(TRANSLATIONS, REFERENCES)
    for name, options in (
        ("bleu", ["-m", "bleu"]),
        ("bleu_lowercase", ["-m", "bleu", "-lc"]),
        ("chrf", ["-m", "chrf"]),
    ):
        command = [sys.executable, "-m", "sacrebleu", "references", "-i", "translations", "-b", "-w", "6", *options]
        printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert scores[name] == pytest.approx(float(printed), abs=1e-5), name
    assert scores["bleu_lowercase"] > scores["bleu"]


def test_ends_of_the_scale() -> None:
    names = ("bleu", "bleu_lowercase", "chrf")
    assert translation_metrics(REFERENCES, REFERENCES) == pytest.approx(dict.fromkeys(names, 100))
    assert translation_metrics(["", "", ""], REFERENCES) == dict.fromkeys(names, 0)


def test_signatures() -> None:
    signatures = translation_signatures()
    assert signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert signatures["bleu_lowercase"].startswith("nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:")
    assert signatures["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert signatures.keys() == translation_metrics(TRANSLATIONS, REFERENCES).keys()


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="got 3 translations and 2 references"):
        translation_metrics(TRANSLATIONS, REFERENCES[:2])
    with pytest.raises(ValueError, match="got 0 translations and 0 references"):
        translation_metrics([], [])


def test_chat_metrics() -> None:
    replies = ["잘 자고 와요", "잘 자고  와요", "오늘 잘 자고", "네"]
    # Pairs: 잘 자고, 자고 와요, the same two, 오늘 잘, 잘 자고: three different ones of six.
    assert chat_metrics(replies, ["잘 자고 와요", "네."]) == {"distinct_2": 50, "copied": 50}
    assert chat_metrics(["네", "응"], iter(["응"])) == {"distinct_2": 0, "copied": 50}
    assert chat_metrics(["a b c"], []) == {"distinct_2": 100, "copied": 0}
    with pytest.raises(ValueError, match="`replies` is empty"):
        chat_metrics([], ["네"])
