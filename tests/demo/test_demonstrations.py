"""What the models of the web page do with what a visitor gave."""

import re
from pathlib import Path

import numpy as np
import pytest
from common import tiny_captioner, tiny_image_to_text_models, tiny_models, tiny_text_models, tiny_vqa_models
from common.looks import Look, shares
from common.tiny_page import SENTENCE
from transformers import pipeline

from hf_attention.demo.demonstrations import (
    AnswerDemonstration,
    CaptionDemonstration,
    PageError,
    TranslationDemonstration,
    _scores_html,
)


def test_a_caption_and_where_the_model_looked(folders: dict[str, str], photo: str):
    shown = CaptionDemonstration.load(folders["captioner"])(photo, 3)
    [answer] = pipeline("image-to-text", model=folders["captioner"])(
        photo, generate_kwargs={"num_beams": 3}, output_attentions=True
    )
    look = Look(shown)
    assert answer["generated_text"] in shown
    assert look.words == [token.replace("</s>", "end") for token in answer["tokens"]]
    for layer, weights in zip(look.maps, answer["attentions"], strict=True):
        seen = shares(layer)
        height, width = seen.shape
        middles = seen[height // 8 :: height // 4, width // 8 :: width // 4]
        assert middles.flatten().argsort().tolist()[-1] == weights.argmax()


def test_an_answer_and_where_the_model_looked(folders: dict[str, str], photo: str):
    question = "what colour is the circle"
    shown = AnswerDemonstration.load(folders["answerer"])(photo, question)
    answers = pipeline("vqa", model=folders["answerer"])(photo, question)
    assert f'<p class="answer" dir="auto">{answers[0]["answer"]}</p>' in shown
    assert [f"{100 * each['score']:.1f} %" in shown for each in answers] == [True] * 5
    look = Look(shown)
    assert look.words == ["look 1", "look 2"] and len(look.maps) == 2


def test_a_score_of_nearly_nothing_is_not_called_nothing():
    shown = _scores_html([("red", 0.99905), ("blue", 0.00100), ("green", 0.00099), ("white", 0.0)])
    assert re.findall(r"<span>([^<]*)</span>", shown) == ["99.9 %", "0.1 %", "&lt; 0.1 %", "&lt; 0.1 %"]


def test_a_written_answer_and_the_words_of_the_question(folders: dict[str, str], photo: str):
    shown = AnswerDemonstration.load(folders["writer"])(photo, "how many ?", 2)
    [answer] = pipeline("vqa", model=folders["writer"])(
        photo, "how many ?", generate_kwargs={"num_beams": 2}, output_attentions=True
    )
    look = Look(shown)
    assert look.words == [token.replace("</s>", "end") for token in answer["tokens"]]
    assert len(look.maps) == len(look.words)
    np.testing.assert_allclose(look.weights, answer["word_attentions"], atol=6e-4)


def test_a_translation_and_what_the_model_looked_at(folders: dict[str, str]):
    shown = TranslationDemonstration.load(folders["translator"])(SENTENCE, 2)
    [answer] = pipeline("translation", model=folders["translator"])(SENTENCE, num_beams=2, output_attentions=True)
    look = Look(shown)
    assert answer["translation_text"] in shown
    assert look.words == [token.replace("</s>", "end") for token in answer["tokens"]]
    np.testing.assert_allclose(look.weights, answer["attentions"], atol=6e-4)


def test_the_beams_of_the_checkpoint_are_the_page_s(folders: dict[str, str], tmp_path: Path):
    model = tiny_captioner.make_model()
    model.generation_config.num_beams = 7
    model.save_pretrained(tmp_path)
    tiny_captioner.make_processor().save_pretrained(tmp_path)
    assert CaptionDemonstration.load(str(tmp_path)).beams == 7
    assert CaptionDemonstration.load(folders["captioner"]).beams == 1
    assert TranslationDemonstration.load(folders["translator"]).beams == 4  # the task's


@pytest.mark.parametrize("name", ["blip", "vision-encoder-decoder"])
def test_a_captioner_of_transformers_captions(name: str, photo: str, tmp_path: Path):
    folder = tiny_models.save_tiny_model(name, tmp_path, tiny_image_to_text_models.MODELS)
    demonstration = CaptionDemonstration.load(str(folder))
    demonstration.pipe.model.generation_config.max_new_tokens = 5
    shown = demonstration(photo, 1)
    assert pipeline("image-to-text", model=str(folder), max_new_tokens=5)(photo)[0]["generated_text"] in shown
    assert "Where it looked cannot be shown." in shown and not Look(shown).maps


def test_an_answering_model_of_transformers_answers(photo: str, tmp_path: Path):
    folder = str(tiny_models.save_tiny_model("vilt", tmp_path, tiny_vqa_models.MODELS))
    answerer = AnswerDemonstration.load(folder)
    shown = answerer(photo, "the dog")
    assert pipeline("vqa", model=folder)(photo, "the dog")[0]["answer"] in shown
    assert "Where it looked cannot be shown." in shown
    assert "output_attentions" not in shown and "eager" not in shown  # which nobody can pass here
    with pytest.raises(PageError, match="A question has [0-9]+ tokens, and the model reads at most [0-9]+[.]$"):
        answerer(photo, "the dog " * 35)


def test_a_translator_of_transformers_says_what_it_looked_at(tmp_path: Path):
    demonstration = TranslationDemonstration.load(str(tiny_text_models.save_tiny_model("marian", tmp_path)))
    look = Look(demonstration("the dog runs", 1))
    assert len(look.weights) == len(look.words) > 1
    np.testing.assert_allclose(np.sum(look.weights, 1), 1, atol=0.01)


def test_without_attention_there_is_a_caption(photo: str, tmp_path: Path):
    tiny_captioner.make_model(attention_type=None).save_pretrained(tmp_path)
    tiny_captioner.make_processor().save_pretrained(tmp_path)
    demonstration = CaptionDemonstration.load(str(tmp_path))
    demonstration.pipe.model.generation_config.max_new_tokens = 5
    assert "Where it looked cannot be shown." in demonstration(photo, 1)


def test_no_picture_no_question_no_sentence(folders: dict[str, str], photo: str, tmp_path: Path):
    captioner = CaptionDemonstration.load(folders["captioner"])
    answerer = AnswerDemonstration.load(folders["answerer"])
    with pytest.raises(PageError, match="no picture yet"):
        captioner(None, 1)
    with pytest.raises(PageError, match="no picture yet"):
        answerer(None, "how many ?")
    for question in ("", "  \n"):
        with pytest.raises(PageError, match="no question yet"):
            answerer(photo, question)
        with pytest.raises(PageError, match="no sentence yet"):
            TranslationDemonstration.load(folders["translator"])(question, 1)
    notes = tmp_path / "notes.png"
    for content in (b"", b"a shopping list"):
        notes.write_bytes(content)
        with pytest.raises(PageError, match="cannot be read as a picture") as caught:
            captioner(str(notes), 1)
        assert str(tmp_path) not in str(caught.value)  # the server's folders are nobody's business
