"""Models on the web page: what a visitor gave becomes an answer, over what the model looked at."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from transformers import Pipeline, PreTrainedTokenizerBase, pipeline

from ..models.alignment import merge_words
from ..models.pictures import as_rgb
from ..seeing.html import View, look_html, picture_view, sentence_view
from ..shipped import find_checkpoint


# What a visitor may ask of the machine.
MAX_BEAMS = 8
MAX_CHARACTERS = {"question": 300, "sentence": 2000}
MAX_PIXELS = 25_000_000
MAX_PROPORTION = 20  # image processors enlarge the shorter side to some hundred pixels
# Those that a browser shows. Among the others that Pillow knows are some for which it starts a program.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "WEBP")


class PageError(Exception):
    """What a visitor did that has no answer; the message is shown."""


class Demonstration:
    """
    A model on the page.

    Args:
        pipe ([`~transformers.Pipeline`]): Of the task.
    """

    task: str

    def __init__(self, pipe: Pipeline):
        self.pipe = pipe
        model = pipe.model
        self.can_generate = model.can_generate()
        self.beams = 1
        if self.can_generate:
            self.beams = pipe.asked_for(pipe.prepare_generate_kwargs({})).get("num_beams") or 1
        self.most_beams = max(MAX_BEAMS, self.beams)

    @classmethod
    def load(cls, name: str, task: str | None = None) -> Demonstration:
        """
        Loads a checkpoint.

        Args:
            name (`str`): A folder, a model that the package ships, or a name on the Hub.
            task (`str`, *optional*): In place of the class's own.

        Returns:
            [`Demonstration`]

        Raises:
            OSError: Where there is no such checkpoint.
            ValueError: Where it is one for another task.
        """
        # Other implementations of attention keep the weights of transformers' models to themselves.
        return cls(
            pipeline(task or cls.task, model=find_checkpoint(name), model_kwargs={"attn_implementation": "eager"})
        )

    def _look(self, *inputs: Any, **kwargs: Any) -> tuple[list[dict[str, Any]], str]:
        """The answers with where the model looked, or without and the reason."""
        try:
            return self.pipe(*inputs, **kwargs, output_attentions=True), ""
        except ValueError:
            reason = "This model does not attend, or does not tell."
        try:
            return self.pipe(*inputs, **kwargs), reason
        except ValueError as error:  # it was not for the maps
            raise PageError(_without_advice(str(error))) from error

    def _read_beams(self, beams: Any) -> int:
        if beams not in range(1, self.most_beams + 1):
            raise PageError(f"The beams must be a whole number from 1 to {self.most_beams}.")
        return int(beams)

    def _read_text(self, text: Any, kind: str, missing: str) -> str:
        if text is None or (isinstance(text, str) and not text.strip()):
            raise PageError(missing)
        if not isinstance(text, str):
            raise PageError(f"The {kind} must be a text.")
        longest = MAX_CHARACTERS[kind]
        if len(text) > longest:
            raise PageError(f"The {kind} is {len(text)} characters long: at most {longest} are read.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise PageError(f"The {kind} has half a character in it (a lone surrogate).")
        return text

    def _shown(self, words: Sequence[str]) -> list[str]:
        """Words as a reader knows them."""
        ends = {token for each in self._tokenizers() for token in (each.eos_token, each.sep_token)}
        return ["end" if word in ends else word for word in words]

    def _looks(self, words: Sequence[str], views: Sequence[View]) -> str:
        """Words over what they looked at."""
        marks = {token for each in self._tokenizers() for token in each.all_special_tokens}
        return look_html(
            self._shown(words),
            views,
            [word in marks for word in words],
            "Where the model looked as it wrote each word",
        )

    @property
    def source_tokenizer(self) -> PreTrainedTokenizerBase:
        """Of what a visitor writes; of a captioner, of what it writes."""
        return self.pipe.tokenizer

    def _tokenizers(self) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
        """Of the source, and of what is generated."""
        return self.source_tokenizer, getattr(self.pipe.tokenizer, "target_tokenizer", self.pipe.tokenizer)


class ImageDemonstration(Demonstration):
    """A model that looks at pictures."""

    def _read(self, path: str | None) -> Image.Image:
        if path is None:
            raise PageError("There is no picture yet: upload or take one.")
        return read_picture(path)

    def _look(self, *inputs: Any, **kwargs: Any) -> tuple[list[dict[str, Any]], str]:
        answers, reason = super()._look(*inputs, **kwargs)
        if not reason and "regions" not in answers[0]:
            reason = "This model does not tell which part of the picture each position is."
        return answers, reason


class CaptionDemonstration(ImageDemonstration):
    """Describes a picture."""

    task = "image-to-text"

    def __call__(self, path: str | None, beams: int) -> str:
        """
        Captions a picture.

        Args:
            path (`str`, *optional*): Of the picture.
            beams (`int`): Of beam search.

        Returns:
            `str`: HTML. Its page needs [`~hf_attention.seeing.html.STYLE`].

        Raises:
            PageError: Where something is missing, no picture, or too large.
        """
        image, beams = self._read(path), self._read_beams(beams)
        [answer], reason = self._look(image, generate_kwargs={"num_beams": beams})
        text = _answer_html(answer["generated_text"])
        if reason:
            return text + _reason_html(reason)
        words, maps, _ = merge_words(answer["tokens"], answer["attentions"])
        return text + self._looks(words, [picture_view(image, answer["regions"], answer["grid"], maps)])


class AnswerDemonstration(ImageDemonstration):
    """Answers questions about a picture."""

    task = "visual-question-answering"

    def __call__(self, path: str | None, question: str, beams: int = 1) -> str:
        """
        Answers a question.

        Args:
            path (`str`, *optional*): Of the picture.
            question (`str`): About it.
            beams (`int`, *optional*, defaults to 1): Of beam search, where the model writes its answers.

        Returns:
            `str`: HTML. Its page needs [`~hf_attention.seeing.html.STYLE`].

        Raises:
            PageError: Where something is missing, no picture, or too large.
        """
        image = self._read(path)
        question = self._read_text(question, "question", "There is no question yet: type one.")
        options = {"generate_kwargs": {"num_beams": self._read_beams(beams)}} if self.can_generate else {}
        answers, reason = self._look(image, question, **options)
        best = answers[0]
        text = _answer_html(best["answer"])
        if not self.can_generate:
            text += _scores_html([(each["answer"], each["score"]) for each in answers])
        if reason:
            return text + _reason_html(reason)
        places = best["regions"], best["grid"]
        if not self.can_generate:
            glimpses = len(best["attentions"])
            words = ["where it looked"] if glimpses == 1 else [f"look {number + 1}" for number in range(glimpses)]
            return text + self._looks(words, [picture_view(image, *places, best["attentions"])])
        words, maps, _ = merge_words(best["tokens"], best["attentions"])
        _, word_maps, asked = merge_words(best["tokens"], best["word_attentions"], best["words"])
        views = [picture_view(image, *places, maps), sentence_view(self._shown(asked), word_maps)]
        return text + self._looks(words, views)


class TranslationDemonstration(Demonstration):
    """Translates a sentence."""

    task = "translation"

    @classmethod
    def load(cls, name: str, task: str | None = None) -> Demonstration:
        demonstration = super().load(name, task)
        try:
            demonstration.pipe("a", max_new_tokens=8)
        except ValueError as error:  # of a model of many languages, which are not known
            raise ValueError(_without_advice(str(error))) from error
        return demonstration

    def __call__(self, sentence: str, beams: int) -> str:
        """
        Translates a sentence.

        Args:
            sentence (`str`): To be translated.
            beams (`int`): Of beam search.

        Returns:
            `str`: HTML. Its page needs [`~hf_attention.seeing.html.STYLE`].

        Raises:
            PageError: Where there is no sentence, or one too long.
        """
        sentence = self._read_text(sentence, "sentence", "There is no sentence yet: type one.")
        [answer], reason = self._look(sentence, num_beams=self._read_beams(beams))
        text = _answer_html(answer["translation_text"])
        if reason:
            return text + _reason_html(reason)
        words, maps, source = merge_words(answer["tokens"], answer["attentions"], answer["source_tokens"])
        return text + self._looks(words, [sentence_view(self._shown(source), maps)])


# By the tab that a model is for.
DEMONSTRATIONS: dict[str, type[Demonstration]] = {
    "captioner": CaptionDemonstration,
    "answerer": AnswerDemonstration,
    "translator": TranslationDemonstration,
}
# The models that the package ships for them.
SHIPPED = {"captioner": "scenes-captioner", "answerer": "scenes-answerer", "translator": "toy-translator"}


def read_picture(path: str | Path) -> Image.Image:
    """
    Reads a picture, if it is one that the page takes.

    Args:
        path (`str` or `Path`): Of the file.

    Returns:
        `PIL.Image.Image`: In RGB.

    Raises:
        PageError: Where it is none, or too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(*image.size)  # before a pixel is decoded
            return as_rgb(image)
    except PageError:
        raise
    except UnidentifiedImageError as error:
        reason = f"it is empty, or of none of the formats {', '.join(FORMATS)}."
        raise PageError(f"This file cannot be read as a picture: {reason}") from error
    except Image.DecompressionBombError as error:
        raise _too_large("too many") from error
    except Exception as error:  # each decoder has errors of its own
        raise PageError("This file cannot be read as a picture: it is damaged, or not whole.") from error


def _without_advice(reason: str) -> str:
    """What a pipeline says, without the arguments that a program would pass."""
    return re.split(r"[:;,]? (?:pass )?`", reason)[0].rstrip(".") + "."


def _too_large(number: str) -> PageError:
    return PageError(f"This picture has {number} pixels: at most {MAX_PIXELS // 1_000_000} million are read.")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width} x {height}")
    if max(width, height) > MAX_PROPORTION * min(width, height):
        raise PageError(
            f"This picture of {width} x {height} pixels is too long: one side may be {MAX_PROPORTION} times the other."
        )


def _answer_html(text: str) -> str:
    if not text.strip():
        return '<div class="note">The model wrote nothing.</div>'
    return f'<p class="answer" dir="auto">{html.escape(text)}</p>'


def _reason_html(reason: str) -> str:
    return f'<div class="note">Where it looked cannot be shown. {html.escape(reason)}</div>'


def _scores_html(answers: list[tuple[str, float]]) -> str:
    rows = "".join(
        f'<span dir="auto">{html.escape(answer)}</span><i style="width: {100 * score:.1f}%"></i>'
        f"<span>{f'{100 * score:.1f} %' if score >= 0.001 else '&lt; 0.1 %'}</span>"
        for answer, score in answers
    )
    return f'<div class="scores">{rows}</div>'
