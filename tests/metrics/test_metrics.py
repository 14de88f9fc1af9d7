"""Scores against numbers worked out by hand, published ones, and the reference implementations' own."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import evaluate
import pytest
import sacrebleu
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import hf_attention.metrics
from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM
from hf_attention.metrics.captioning.captioning import Captioning, caption_metrics
from hf_attention.metrics.chat import chat_metrics
from hf_attention.metrics.perplexity.perplexity import Perplexity
from hf_attention.metrics.translation.translation import Translation, translation_metrics, translation_signatures
from hf_attention.metrics.vqa_accuracy.vqa_accuracy import VQAAccuracy, answer_metrics, normalize_answer, vqa_accuracy
from hf_attention.training.data.tokenization import for_running_text, train_tokenizer


FOLDER = Path(hf_attention.metrics.__file__).parent

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
        ("ter", ["-m", "ter"]),
    ):
        command = [sys.executable, "-m", "sacrebleu", "references", "-i", "translations", "-b", "-w", "6", *options]
        printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert scores[name] == pytest.approx(float(printed), abs=1e-5), name
    assert scores["bleu_lowercase"] > scores["bleu"]


def test_ends_of_the_scale() -> None:
    names = ("bleu", "bleu_lowercase", "chrf")
    assert translation_metrics(REFERENCES, REFERENCES) == pytest.approx(dict.fromkeys(names, 100) | {"ter": 0})
    assert translation_metrics(["", "", ""], REFERENCES) == dict.fromkeys(names, 0) | {"ter": 100}


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


CAPTIONS = ["a man rides a bike in snow", "two dogs play in the snow"]
CAPTION_REFERENCES = [
    ["A man rides a red bike .", "A man is on a bike"],
    ["Two dogs play in snow !", "Dogs running"],
]


def test_caption_metrics() -> None:
    scores = caption_metrics(CAPTIONS, CAPTION_REFERENCES)
    streams = [[texts[k].lower().rstrip(" .!") for texts in CAPTION_REFERENCES] for k in range(2)]
    expected = sacrebleu.corpus_bleu(CAPTIONS, streams, tokenize="none", smooth_method="none")
    assert scores["bleu_4"] == pytest.approx(expected.score, rel=1e-5)
    assert caption_metrics([texts[0] for texts in CAPTION_REFERENCES], CAPTION_REFERENCES)["bleu_4"] == pytest.approx(
        100
    )
    assert scores["cider"] > caption_metrics(CAPTIONS[::-1], CAPTION_REFERENCES)["cider"]
    with pytest.raises(ValueError, match="2 captions, 1 images"):
        caption_metrics(CAPTIONS, CAPTION_REFERENCES[:1])
    with pytest.raises(ValueError, match="`tokenizer` must be 'words' or 'ptb', got 'moses'"):
        caption_metrics(CAPTIONS, CAPTION_REFERENCES, tokenizer="moses")


@pytest.mark.skipif(shutil.which("java") is None, reason="runs in Java")
def test_scores_that_run_in_java() -> None:
    """The Penn Treebank's tokeniser splits "don't" where ours keeps it; a caption that is its reference has all."""
    words, ptb = (
        caption_metrics(["I don't run, she runs"], [["he don't run"]], tokenizer=name) for name in ("words", "ptb")
    )
    # Of "i don't run she runs" 2 words are right; of "i do n't run she runs" 3.
    assert words["bleu_1"] == pytest.approx(100 * 2 / 5)
    assert ptb["bleu_1"] == pytest.approx(100 * 3 / 6)
    scores = caption_metrics(["a dog runs", "a cat sleeps"], [["a dog runs"], ["a cat sleeps"]], meteor=True)
    assert scores["meteor"] == pytest.approx(100)


def test_scores_that_run_in_java_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for options in ({"meteor": True}, {"tokenizer": "ptb"}):
        with pytest.raises(RuntimeError, match="run in Java, and there is no `java`"):
            caption_metrics(CAPTIONS, CAPTION_REFERENCES, **options)


@pytest.mark.parametrize(("votes", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_accuracy_with_ten_annotators(votes: int, score: float) -> None:
    """The scores that are known from the VQA data sets."""
    others = [f"other {number}" for number in range(10 - votes)]
    assert vqa_accuracy("red", ["red"] * votes + others) == pytest.approx(score)


@pytest.mark.parametrize("answers", [["red"], ["red", "red", "blue"], ["red"] * 2 + ["blue"] * 3 + ["green"] * 4])
@pytest.mark.parametrize("prediction", ["red", "blue", "green", "black"])
def test_accuracy_is_a_mean_over_all_annotators_but_one(answers: list[str], prediction: str) -> None:
    others = [answers[:i] + answers[i + 1 :] for i in range(len(answers))] if len(answers) > 1 else [answers]
    expected = [min(each.count(prediction) / min(3, len(each)), 1) for each in others]
    assert vqa_accuracy(prediction, answers) == pytest.approx(sum(expected) / len(expected))


@pytest.mark.parametrize(
    ("answer", "normalized"),
    [
        ("Two dogs.", "2 dogs"),
        ("  a red\tbus\n", "red bus"),
        ("the  Tower of the city", "tower of city"),
        ("yes!", "yes"),
        ("blue/green", "blue green"),
        ("blue / green", "blue green"),
        ("1,000 people", "1000 people"),
        ("red,white", "red white"),
        ("3.5 feet", "3.5 feet"),
        ("dont know", "don't know"),
        ("its 5 oclock", "its 5 o'clock"),
        ("none", "0"),
        ("an", ""),
    ],
)
def test_answers_are_normalized(answer: str, normalized: str) -> None:
    assert normalize_answer(answer) == normalized


def test_answer_metrics() -> None:
    given = ["red"] * 6 + ["dark red"] * 2 + ["pink", "blue"]
    predictions, answers = ["red", " Dark red. ", "green", "two"], [given, given, given, ["two"]]
    scores = answer_metrics(predictions, answers)
    assert scores == {"exact_match": 0.5, "vqa_accuracy": pytest.approx((1 + 0.6 + 0 + 1) / 4)}
    assert answer_metrics(["a, b", "b, a"], [["a, b"], ["a, b"]]) == {"exact_match": 0.5}
    with pytest.raises(ValueError, match="1 predictions, 2 questions and 1 questions without an answer"):
        answer_metrics(["red"], [["red"], []])


# As modules of `evaluate`


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    tokenizer = for_running_text(train_tokenizer(REFERENCES, min_count=1))
    torch.manual_seed(0)
    model = RecurrentLMForCausalLM(
        RecurrentLMConfig(vocab_size=len(tokenizer), embedding_size=8, hidden_size=8, tie_word_embeddings=False)
    )
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "metric", "inputs", "expected"),
    [
        (
            "captioning",
            Captioning,
            {"predictions": CAPTIONS, "references": CAPTION_REFERENCES},
            caption_metrics(CAPTIONS, CAPTION_REFERENCES),
        ),
        (
            "captioning",
            Captioning,
            {"predictions": CAPTIONS, "references": [texts[0] for texts in CAPTION_REFERENCES]},
            caption_metrics(CAPTIONS, [texts[:1] for texts in CAPTION_REFERENCES]),
        ),
        (
            "translation",
            Translation,
            {"predictions": TRANSLATIONS, "references": REFERENCES},
            translation_metrics(TRANSLATIONS, REFERENCES),
        ),
        (
            "vqa_accuracy",
            VQAAccuracy,
            {"predictions": ["red", "two"], "references": [["red", "red", "blue"], ["2", "3", "2"]]},
            {"exact_match": 0.5, "vqa_accuracy": pytest.approx((2 * 0.5 + 1 * 1) / 3)},
        ),
        ("vqa_accuracy", VQAAccuracy, {"predictions": ["red"], "references": ["red"]}, {"exact_match": 1}),
    ],
)
def test_modules_load_from_their_folders(name: str, metric: type, inputs: dict, expected: dict) -> None:
    """Loaded, imported and combined they give what the functions give; conftest's HF_HUB_OFFLINE keeps them local."""
    module = evaluate.load(str(FOLDER / name))
    assert module.compute(**inputs) == expected == metric().compute(**inputs)
    assert evaluate.combine([str(FOLDER / name)]).compute(**inputs) == expected
    for prediction, reference in zip(inputs["predictions"], inputs["references"], strict=True):
        module.add(prediction=prediction, reference=reference)
    assert module.compute() == expected


def test_modules_in_combination() -> None:
    both = evaluate.combine([str(FOLDER / name) for name in ("translation", "captioning")])
    scores = both.compute(predictions=TRANSLATIONS, references=REFERENCES)
    expected = translation_metrics(TRANSLATIONS, REFERENCES)
    expected |= caption_metrics(TRANSLATIONS, [[reference] for reference in REFERENCES])
    assert scores == expected


def test_perplexity_as_a_module(language_model: Path) -> None:
    """The same as a hand computation, text by text, each from a zero state."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(language_model),
        AutoModelForCausalLM.from_pretrained(language_model),
    )
    losses = []
    for text in REFERENCES:
        ids = [tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        log_probs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-log_probs[i, ids[i + 1]].item() for i in range(len(ids) - 1)]
    options = {"predictions": REFERENCES, "model_id": str(language_model), "reset_state": True}
    scores = evaluate.load(str(FOLDER / "perplexity")).compute(**options)
    assert scores == Perplexity().compute(**options)
    assert scores["perplexity"] == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)
    assert scores["tokens"] == len(losses)
