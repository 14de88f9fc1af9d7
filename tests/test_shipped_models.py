"""What the shipped models can do. If a change moves any number that they are computed by, it shows here."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)

import hf_attention
from hf_attention.scenes.layout import make_scene
from hf_attention.scenes.questions import ask
from hf_attention.scenes.toy_language import translate
from hf_attention.training.shipping.recipes import RECIPES


# Of so many scenes or sentences: what was measured, less what one or two more errors would take.
SAMPLES = 60
AT_LEAST = {
    "scenes-captioner": {
        "precision": 0.98,
        "recall": 0.98,
        "held_out_precision": 0.98,
        "held_out_recall": 0.87,
        "pointing_nouns": 0.99,
        "pointing_colours": 0.95,
    },
    "scenes-answerer": {"right": 0.99, "held_out_right": 0.98, "pointing_answers": 0.99},
    "toy-translator": {"translated": 1.0},
    "scenes-writer": {"grammatical": 0.97},
}
AT_MOST = {"toy-translator": {"alignment_error": 0.013}, "scenes-writer": {"perplexity": 4.40}}


@pytest.mark.parametrize("name", hf_attention.checkpoints)
def test_they_are_as_good_as_they_were(name: str) -> None:
    scores = RECIPES[name].measure(hf_attention.checkpoint(name), SAMPLES)
    least, most = AT_LEAST.get(name, {}), AT_MOST.get(name, {})
    assert scores.keys() == least.keys() | most.keys()
    for score, value in scores.items():
        assert least.get(score, 0) <= value <= most.get(score, 1), (score, value)


def pipe(task: str, name: str) -> Any:
    return pipeline(task, model=hf_attention.checkpoint(name), device="cpu")


def test_captions_of_scenes_are_these() -> None:
    captions = {
        (0, 64): "a pink circle and a large white hourglass",
        (5, 64): "a purple diamond a small pink star and a pink circle",
        (23, 320): "a green diamond left of an orange ring and a brown heart",
        (37, 320): "a cyan plus above a black frame and a black arrow",
    }
    pictures = [make_scene(7, "test", index, image_size, variety=12).draw() for index, image_size in captions]
    answers = pipe("image-to-text", "scenes-captioner")(pictures)
    assert [answer["generated_text"] for [answer] in answers] == list(captions.values())


def test_a_prompt_through_the_processor_is_that_of_the_pipeline() -> None:
    folder = hf_attention.checkpoint("scenes-captioner")
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    pictures = [make_scene(7, "test", index, variety=12).draw() for index in range(6)]
    captioner = pipe("image-to-text", "scenes-captioner")
    for prompt in ("", "there is", "a"):
        inputs = processor(images=pictures, text=[prompt] * len(pictures), return_tensors="pt")
        found = processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)
        expected = captioner(pictures, **({"prompt": prompt} if prompt else {}))
        assert found == [answer["generated_text"] for [answer] in expected]


@pytest.mark.parametrize("name", hf_attention.checkpoints)
def test_their_special_tokens_are_the_tokenizers(name: str) -> None:
    folder = hf_attention.checkpoint(name)
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for field, token in hf_attention.special_token_ids(tokenizer).items():
        assert getattr(config, field) == token, field


def test_answers_about_scenes_are_right() -> None:
    answerer = pipe("visual-question-answering", "scenes-answerer")
    for index in (23, 37):
        scene = make_scene(7, "test", index, image_size=320, variety=12)
        questions = ask(scene, 8)
        answers = [answerer(scene.draw(), question.text, top_k=1)[0]["answer"] for question in questions]
        assert answers == [question.answer for question in questions]


def test_translations_are_those_of_the_language() -> None:
    captions = [
        "a small red ring left of a lime crescent",
        "a picture of an orange star",
        "there is a white box and a large brown arrow",
        "a pink heart above a large cyan disc on a striped ground",
    ]
    answers = pipe("translation", "toy-translator")(captions)
    assert [answer["translation_text"] for answer in answers] == [translate(caption).target for caption in captions]


def test_a_caption_goes_on_as_it_did() -> None:
    [answer] = pipe("text-generation", "scenes-writer")("a white box, a lime", do_sample=False)
    assert answer["generated_text"] == "a white box, a lime hourglass and a brown frame"


def test_the_largest_weights_of_their_maps_are_these() -> None:
    scene = make_scene(7, "test", 23, image_size=320, variety=12).draw()
    maps = {"output_attentions": True}
    [caption] = pipe("image-to-text", "scenes-captioner")(scene, **maps)
    answerer = pipe("visual-question-answering", "scenes-answerer")
    [answer] = answerer(scene, "what colour is the ring ?", top_k=1, **maps)
    [translation] = pipe("translation", "toy-translator")("a small red ring left of a lime crescent", **maps)
    expected = [
        (caption, [0.096, 0.127, 0.185, 0.078, 0.199, 0.214, 0.181, 0.277, 0.084, 0.224, 0.339, 0.259, 0.029]),
        (answer, [0.041, 0.406, 0.783, 0.492]),
        (translation, [0.991, 0.999, 0.986, 0.992, 0.995, 0.644, 0.608]),
    ]
    for record, weights in expected:
        torch.testing.assert_close(record["attentions"].amax(1), torch.tensor(weights), atol=1e-3, rtol=0)


def test_the_loss_of_a_caption_is_this() -> None:
    folder = hf_attention.checkpoint("scenes-writer")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("there is a small red ring, a lime star and a black box", return_tensors="pt")["input_ids"]
    assert model(input_ids=ids, labels=ids).loss.item() == pytest.approx(1.71209, abs=2e-4)
