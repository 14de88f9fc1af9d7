"""How good a shipped model is, on scenes that it has not seen: its card tells it, and the tests check it."""

import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline, set_seed

from ...metrics.perplexity.perplexity import perplexity
from ...scenes import make_captions, make_scenes
from ...scenes.scene import HELD_OUT_PAIRS
from ...scenes.scores import PairCounts, score_pairs
from ...scenes.toy_language import TOY_LANGUAGE, make_translations, translate
from ...seeing.evaluation.answerers import Answers
from ...seeing.evaluation.arguments import EvaluationArguments
from ...seeing.evaluation.captioners import Captions
from ...seeing.evaluation.translators import Translations


VARIETY = 12
SAMPLES = 500
# What each score is.
LABELS = {
    "precision": "pairs of colour and shape that it names and that are there",
    "recall": "pairs that are there and that it names",
    "held_out_precision": "pairs that training never shows together: named and there",
    "held_out_recall": "pairs that training never shows together: there and named",
    "pointing_nouns": "the most attended region lies on the object, nouns",
    "pointing_colours": "the most attended region lies on the object, words for colours",
    "right": "right answers",
    "held_out_right": "right answers about scenes with pairs that training never shows together",
    "pointing_answers": "the most attended region lies on what the right answer depends on",
    "translated": "sentences that come out right, word for word",
    "alignment_error": "alignment error rate (Och & Ney 2003)",
    "perplexity": "perplexity",
    "grammatical": "drawn captions that keep to the captions' grammar",
}


def captioner(folder: str, samples: int = SAMPLES) -> dict[str, float]:
    """
    Scores a captioner of scenes.

    Args:
        folder (`str`): Its folder.
        samples (`int`, *optional*, defaults to 500): Scenes of either kind.

    Returns:
        `dict[str, float]`: The scores, by names of `LABELS`.
    """
    pipe = pipeline("image-to-text", model=folder)
    splits = make_scenes(0, 0, samples, samples, captions_per_scene=1, variety=VARIETY)
    scores = {}
    for prefix, scenes, only in (("", splits["test"], None), ("held_out_", splits["held_out"], HELD_OUT_PAIRS)):
        captions = [answer["generated_text"] for [answer] in pipe(list(scenes["image"]), batch_size=50)]
        pairs = zip(captions, scenes["objects"], strict=True)
        counts = sum((score_pairs(caption, things, only) for caption, things in pairs), PairCounts())
        scores |= {f"{prefix}precision": counts.precision, f"{prefix}recall": counts.recall}
    looks = Captions(folder, _arguments(folder, samples)).measure()
    return scores | {f"pointing_{kind}": looks[kind]["pointing"] for kind in ("nouns", "colours")}


def answerer(folder: str, samples: int = SAMPLES) -> dict[str, float]:
    """
    Scores an answerer of questions about scenes.

    Args:
        folder (`str`): Its folder.
        samples (`int`, *optional*, defaults to 500): Scenes of either kind, with six questions each.

    Returns:
        `dict[str, float]`: The scores, by names of `LABELS`.
    """
    seen, held_out = (Answers(folder, _arguments(folder, samples, split)).measure() for split in ("test", "held_out"))
    return {
        "right": seen["answers_right"],
        "held_out_right": held_out["answers_right"],
        "pointing_answers": seen["all"]["pointing"],
    }


def translator(folder: str, samples: int = 300) -> dict[str, float]:
    """
    Scores a translator into the toy language.

    Args:
        folder (`str`): Its folder.
        samples (`int`, *optional*, defaults to 300): Sentences.

    Returns:
        `dict[str, float]`: The scores, by names of `LABELS`.
    """
    pairs = make_translations(0, 0, samples, variety=VARIETY)["test"]["translation"]
    answers = pipeline("translation", model=folder)([pair["en"] for pair in pairs], batch_size=50)
    right = [
        answer["translation_text"] == pair[TOY_LANGUAGE].replace(",", "")
        for answer, pair in zip(answers, pairs, strict=True)
    ]
    aligned = Translations(folder, _arguments(folder, samples)).measure()
    return {"translated": sum(right) / samples, "alignment_error": aligned["alignment_error_rate"]}


def writer(folder: str, samples: int = 300) -> dict[str, float]:
    """
    Scores a language model of captions of scenes.

    Args:
        folder (`str`): Its folder.
        samples (`int`, *optional*, defaults to 300): Scenes, and captions that are drawn.

    Returns:
        `dict[str, float]`: The scores, by names of `LABELS`.
    """
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = make_captions(0, 0, samples, 0, captions_per_scene=3, variety=VARIETY)["test"]["text"]
    scores = perplexity(model, tokenizer, texts, Accelerator(), columns=64, reset_state=True)
    start = torch.full((samples, 1), tokenizer.bos_token_id)
    set_seed(0)
    drawn = tokenizer.batch_decode(
        model.generate(start, do_sample=True, top_k=0, max_new_tokens=60), skip_special_tokens=True
    )
    return {"perplexity": scores["perplexity"], "grammatical": sum(map(_is_grammatical, drawn)) / samples}


def _arguments(folder: str, samples: int, split: str = "test") -> EvaluationArguments:
    return EvaluationArguments(model=[folder], split=split, samples=samples, variety=VARIETY)


def _is_grammatical(caption: str) -> bool:
    try:
        translate(caption.strip())
    except ValueError:
        return False
    return True
