"""What the pipelines of all five tasks have in common: arguments of `generate()`, scores, and a page of gradio."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import tiny_captioner, tiny_vqa
from PIL import Image
from transformers import pipeline

from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionVQAForConditionalGeneration,
)
from hf_attention.models.pipeline_generating import GeneratingPipeline


DOCUMENT = Path(__file__).parents[2] / "docs" / "pipelines.md"
PICTURE = Image.effect_noise((32, 32), 50).convert("RGB")
SOURCE = "a red circle"
# The task, the key of the answer, and what is asked.
TASKS = {
    "image-to-text": ("generated_text", PICTURE),
    "visual-question-answering": ("answer", {"image": PICTURE, "question": "what colour is the circle ?"}),
    "translation": ("translation_text", SOURCE),
    "summarization": ("summary_text", SOURCE),
    "text2text-generation": ("generated_text", SOURCE),
}
LIMITS = {"min_new_tokens": 2, "max_new_tokens": 5}


def make(task: str, **kwargs: Any) -> GeneratingPipeline:
    torch.manual_seed(0)
    if task == "image-to-text":
        model, parts = tiny_captioner.make_model(), tiny_captioner.make_processor()
    elif task == "visual-question-answering":
        model, parts = tiny_vqa.make_model(AttentionVQAForConditionalGeneration), tiny_vqa.make_processor()
    else:
        tokenizer = tiny_captioner.make_tokenizer()
        config = AttentionSeq2SeqConfig(vocab_size=len(tokenizer), embedding_size=6, hidden_size=8, attention_size=5)
        model = tiny_captioner.with_odd_weights(AttentionSeq2SeqForConditionalGeneration(config))
        return pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **kwargs)
    images = {"tokenizer": parts.tokenizer, "image_processor": parts.image_processor}
    return pipeline(task, model=model, device="cpu", **images, **kwargs)


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Has a pipeline write down what `generate` is called with, and what it returns."""

    def record(made: GeneratingPipeline) -> list[tuple[dict[str, Any], Any]]:
        calls, generate = [], made.model.generate

        def recording(**kwargs: Any) -> Any:
            calls.append((kwargs, generate(**kwargs)))
            return calls[-1][1]

        monkeypatch.setattr(made.model, "generate", recording)
        return calls

    return record


def test_arguments_of_generate_both_ways(task: str, recorded: Callable) -> None:
    asked = {"num_beams": 3, "length_penalty": 0.5, **LIMITS}
    inputs = TASKS[task][1]
    made = make(task)
    calls = recorded(made)
    expected = made(inputs, **asked)
    assert made(inputs, generate_kwargs=asked) == expected
    limits = {"max_new_tokens": asked.pop("max_new_tokens")}
    assert made(inputs, generate_kwargs=asked, **limits) == expected
    for kwargs, sequences in calls:
        assert {name: kwargs[name] for name in asked | limits} == asked | limits
        assert sequences.tolist() == calls[0][1].tolist()
    assert make(task, **asked, **limits)(inputs) == make(task, generate_kwargs=asked)(inputs, **limits) == expected
    calls = recorded(first := make(task, num_beams=2, generate_kwargs={"length_penalty": 2.0}))
    first(inputs, num_beams=4, length_penalty=0.1, max_new_tokens=None)
    assert calls[0][0]["num_beams"] == 4 and calls[0][0]["length_penalty"] == 0.1


def test_what_makes_no_sense_is_named(task: str, caplog: pytest.LogCaptureFixture) -> None:
    made, inputs = make(task), TASKS[task][1]
    with pytest.raises(ValueError, match="`num_beams` is given twice"):
        made(inputs, num_beams=2, generate_kwargs={"num_beams": 2})
    if task == "visual-question-answering":  # takes any argument
        assert made(inputs, num_baems=2, **LIMITS) == made(inputs, **LIMITS)
        assert "`num_baems=2` has no effect" in caplog.text
        return
    with pytest.raises(ValueError, match="num_baems"):
        made(inputs, num_baems=2, **LIMITS)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("options", [{"num_beams": 3, "num_return_sequences": 2}, {"num_beams": 1}])
def test_scores_that_are_asked_for_are_in_the_answer(
    task: str, options: dict, batched: bool, recorded: Callable
) -> None:
    key, inputs = TASKS[task]
    made = make(task)
    calls = recorded(made)
    plain = made(inputs, **options, **LIMITS)
    assert all("score" not in answer for answer in plain)
    if batched:
        answers = made([inputs] * 3, batch_size=2, output_scores=True, **options, **LIMITS)
        answer = answers[-1] if isinstance(answers[-1], list) else [answers[-1]]
    else:
        answer = made(inputs, output_scores=True, return_dict_in_generate=True, **options, **LIMITS)
    kwargs, outputs = calls[-1]
    assert [each[key] for each in answer] == [each[key] for each in plain]
    scores = torch.tensor([each["score"] for each in answer])
    if options["num_beams"] > 1:
        torch.testing.assert_close(scores, outputs.sequences_scores[-len(scores) :])
        return
    # What teacher forcing says of the same tokens, but for those that generation suppresses.
    tokens = outputs.sequences[:, 1:]
    model, end = made.model, made.model.config.eos_token_id
    names = ("input_ids", "attention_mask", "pixel_values", "region_features")
    given = {name: kwargs[name] for name in names if name in kwargs}
    logits = model(**given, decoder_input_ids=outputs.sequences[:, :-1]).logits.detach().float()
    logits[..., model.suppressed_tokens()] = -torch.inf
    logits[:, : LIMITS["min_new_tokens"], end] = -torch.inf
    steps = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    ends = (tokens == end).long()
    steps[ends.cumsum(1) > ends] = 0
    torch.testing.assert_close(scores, steps.sum(1)[-1:], rtol=1e-4, atol=1e-4)


def test_the_score_of_a_text_that_ends_before_others() -> None:
    """Behind its end there is padding, which counts for nothing."""
    made = make("translation")
    with torch.no_grad():
        made.model.lm_head.bias[made.model.config.eos_token_id] = 2.0
    sources = ["a red circle", "circle", "a", "red red red circle a"]
    options = {"num_beams": 1, "max_new_tokens": 9, "output_scores": True, "return_tensors": True}
    alone = [made(source, **options)[0] for source in sources]
    assert len({len(answer["translation_token_ids"]) for answer in alone}) > 1
    for answer, expected in zip(made(sources, batch_size=4, **options), alone, strict=True):
        assert answer["score"] == pytest.approx(expected["score"], rel=1e-4)


def test_known_answers_are_not_generated(caplog: pytest.LogCaptureFixture) -> None:
    parts = tiny_vqa.make_processor()
    images = {"tokenizer": parts.tokenizer, "image_processor": parts.image_processor}
    answerer = pipeline("visual-question-answering", model=tiny_vqa.make_model(), **images)
    inputs = TASKS["visual-question-answering"][1]
    for options in ({"num_beams": 2}, {"generate_kwargs": {"num_beams": 2}}):
        assert answerer(inputs, **options) == answerer(inputs)
        assert "`num_beams=2` has no effect: AttentionVQAForQuestionAnswering" in caplog.text
        caplog.clear()


def test_pages_of_gradio_as_documented() -> None:
    pytest.importorskip("gradio", reason="a page needs the extra `demo`")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S) if "gradio" in block]
    names = ("captioner", "answerer", "translator", "summarizer", "chat")
    pipelines = {name: make(task, **LIMITS) for name, task in zip(names, TASKS, strict=True)}
    pages = dict(pipelines)
    exec(code, pages)
    for name, task in zip(("captions", "answers", "translations", "summaries", "replies"), TASKS, strict=True):
        key, inputs = TASKS[task]
        expected = pipelines[names[list(TASKS).index(task)]](inputs)[0][key]
        assert pages[name].fn(*(inputs.values() if isinstance(inputs, dict) else [inputs])) == expected != ""
