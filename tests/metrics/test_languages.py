"""Scores of languages whose words have no spaces between them, against sacreBLEU's own choices."""

import json
import logging
from pathlib import Path

import pytest
import sacrebleu
from common.scripts import run_script
from datasets import Dataset, DatasetDict
from sacrebleu.metrics import BLEU, TER

from hf_attention.metrics import languages
from hf_attention.metrics.captioning.captioning import caption_metrics
from hf_attention.metrics.languages import bleu_tokenizer, written_language
from hf_attention.metrics.translation.translation import Translation, translation_metrics, translation_signatures
from hf_attention.metrics.words import metric_words


CHINESE = ["一只狗在雪地里奔跑。", "两个孩子在海滩上玩耍。"]
JAPANESE = ["犬が雪の中を走っている。", "二人の子供が浜辺で遊んでいます。"]
KOREAN = ["개가 눈 속을 달린다.", "두 아이가 해변에서 논다."]
THAI = ["สุนัขวิ่งในหิมะ", "เด็กสองคนเล่นบนชายหาด"]
ENGLISH = ["A dog runs through the snow.", "Two children play on a beach, 一."]


@pytest.mark.parametrize(
    ("texts", "code", "expected"),
    [
        (CHINESE, None, "zh"),
        (JAPANESE, None, "ja"),
        (KOREAN, None, "ko"),
        (THAI, None, "th"),
        (ENGLISH, None, None),
        (ENGLISH, "de-AT", None),
        (["東京都"], "jpn_Jpan", "ja"),
        (["東京都"], "zh_Hant", "zh"),
        (["東京都"], "japanese", "zh"),  # a name tells nothing: the script does
        ([], "my", "my"),
        ([], "ko-KR", "ko"),
        (["", "123 !"], None, None),
    ],
)
def test_the_language_is_that_of_the_code_or_of_the_script(texts: list, code: str | None, expected: str) -> None:
    assert written_language(texts, code) == expected


@pytest.mark.parametrize(("texts", "name"), [(CHINESE, "zh"), (JAPANESE, "ja-mecab"), (KOREAN, "ko-mecab")])
def test_the_tokenizer_is_sacrebleus_or_characters_where_its_extra_is_missing(
    texts: list, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    language = name[:2]
    assert BLEU._TOKENIZER_MAP[language] == name
    monkeypatch.setattr(languages.importlib.util, "find_spec", lambda module: module)
    assert bleu_tokenizer(texts) == bleu_tokenizer([], language) == name
    monkeypatch.setattr(languages.importlib.util, "find_spec", lambda module: None)
    assert bleu_tokenizer(texts) == ("zh" if language == "zh" else "char")
    assert (f'pip install "sacrebleu[{language}]"' in caplog.text) == (language != "zh")


def test_thai_is_compared_by_characters_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert bleu_tokenizer(THAI) == "char"
    assert "single characters" in caplog.text and "'th'" in caplog.text
    assert bleu_tokenizer(ENGLISH) == bleu_tokenizer(ENGLISH, "en") == "13a"


@pytest.mark.parametrize(("texts", "tokenize"), [(CHINESE, "zh"), (THAI, "char"), (ENGLISH, "13a")])
def test_scores_and_signatures_are_sacrebleus(texts: list, tokenize: str) -> None:
    written = [texts[0][:-2], *texts[1:]]
    scores, signatures = translation_metrics(written, texts), translation_signatures(tokenize)
    assert scores.keys() == signatures.keys()
    assert scores["bleu"] == sacrebleu.corpus_bleu(written, [texts], tokenize=tokenize).score > 50
    assert f"tok:{tokenize}|" in signatures["bleu"] and f"tok:{tokenize}|" in signatures["bleu_lowercase"]
    assert Translation().compute(predictions=written, references=texts, tokenize=tokenize) == scores
    if tokenize != "char":
        is_asian = tokenize == "zh"
        ter = TER(normalized=is_asian, asian_support=is_asian)
        assert scores["ter"] == ter.corpus_score(written, [texts]).score < 50
    else:
        assert "ter" not in scores


def test_a_named_tokenizer_is_taken_or_refused() -> None:
    assert translation_metrics(CHINESE, CHINESE, tokenize="intl") == translation_metrics(CHINESE, CHINESE, "intl")
    written = [text[1:] for text in ENGLISH]
    by_characters = sacrebleu.corpus_bleu(written, [ENGLISH], tokenize="char").score
    assert translation_metrics(written, ENGLISH, tokenize="char")["bleu"] == by_characters
    assert translation_metrics(written, ENGLISH, language="th")["bleu"] == by_characters
    with pytest.raises(ValueError, match="`tokenize` must be one of .*got 'words'"):
        translation_metrics(CHINESE, CHINESE, tokenize="words")


def test_captions_are_compared_by_characters_there() -> None:
    assert metric_words("A 狗 runs in 雪地里。") == ["a", "狗", "runs", "in", "雪", "地", "里"]
    assert metric_words("ABC犬") == ["abc", "犬"] and metric_words(THAI[0]) == list(THAI[0])
    assert metric_words("두 아이가 논다.") == ["두", "아이가", "논다"]
    near, far = (caption_metrics([text], [CHINESE[:1]])["bleu_4"] for text in ("一只狗在雪地里走。", CHINESE[1]))
    assert near > 50 > far


def test_a_translator_is_chosen_by_them(tmp_path: Path) -> None:
    pairs = [{"en": ENGLISH[number % 2], "zh": CHINESE[number % 2]} for number in range(16)]
    rows = Dataset.from_dict({"translation": pairs})
    DatasetDict(train=rows, validation=rows.select(range(2))).save_to_disk(tmp_path / "data")
    sizes = {"embedding_size": 8, "hidden_size": 8, "encoder_hidden_size": 8, "attention_size": 8, "vocab_size": 300}
    options = {"source_lang": "en", "target_lang": "zh", "dataset_name": tmp_path / "data"}
    run_script("train_seq2seq", **options, **sizes, min_count=1, num_train_epochs=1, output_dir=tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "tok:zh|" in results["signatures"]["bleu"] and "asian:yes" in results["signatures"]["ter"]
    card = tmp_path / "card.md"
    command = {"model": tmp_path / "run", "split": "validation", "model_card": card, "bleu_tokenizer": "char"}
    run_script("evaluate_model", "translation", **options, **command)
    assert "tok:char|" in card.read_text() and "tok:zh|" not in card.read_text()
