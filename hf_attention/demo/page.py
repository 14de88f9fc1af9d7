"""The page: a tab for captions, one for questions, one for translations."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image
from transformers import Pipeline, PreTrainedTokenizerBase, pipeline

from ..extras import missing_modules, require_extra
from ..models.alignment import merge_words
from ..models.pictures import read_image
from ..scenes.captions import describe
from ..scenes.layout import make_scene
from ..scenes.questions import ask
from ..seeing.html import STYLE, View, look_html, picture_view, sentence_view


if TYPE_CHECKING or not missing_modules("demo"):
    import gradio as gr


TITLE = "Attention you can see"
MAX_BEAMS = 8
_EXAMPLES = 4
_EXAMPLE_SIDE = 320  # the scenes' layout goes with it

_STYLE = (
    """
.gradio-container { --look-colour: #f6a821; }
.answer { font-size: 1.5rem; font-weight: 600; line-height: 1.3; margin: 0 0 1rem; overflow-wrap: anywhere;
  color: var(--body-text-color); }
.note { padding: 0.7rem 1rem; border-radius: 10px; border: 1px solid var(--border-color-primary); margin: 0 0 1rem;
  color: var(--body-text-color); overflow-wrap: anywhere; }
.note.error { border-color: #dc2626; }
.missing pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
.result { padding: 0 !important; }
.placeholder { color: var(--body-text-color-subdued); padding: 3rem 1rem; text-align: center; border-radius: 10px;
  border: 1px dashed var(--border-color-primary); }
.scores { display: grid; grid-template-columns: max-content 1fr max-content; gap: 0.3rem 0.75rem; align-items: center;
  margin: 0 0 1.2rem; color: var(--body-text-color); }
.scores i { height: 0.6rem; border-radius: 3px; background: var(--look-colour); min-width: 1px; }
"""
    + STYLE
)


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

    @classmethod
    def load(cls, name: str, task: str | None = None) -> Demonstration:
        """
        Args:
            name (`str`): Folder or name on the Hub of a checkpoint.
            task (`str`, *optional*): In place of the class's own.

        Raises:
            OSError, ValueError: Where there is no such checkpoint, or one for another task.
        """
        # Other implementations of attention keep the weights of transformers' models to themselves.
        return cls(pipeline(task or cls.task, model=name, model_kwargs={"attn_implementation": "eager"}))

    def _look(self, *inputs: Any, **kwargs: Any) -> tuple[list[dict[str, Any]], str]:
        """The answers with where the model looked, or without and the reason."""
        try:
            return self.pipe(*inputs, **kwargs, output_attentions=True), ""
        except ValueError as error:
            reason = str(error)
        try:
            return self.pipe(*inputs, **kwargs), reason
        except ValueError as error:  # it was not for the maps
            raise PageError(str(error)) from error

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

    def _tokenizers(self) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
        """Of the source, and of what is generated."""
        return self.pipe.tokenizer, getattr(self.pipe.tokenizer, "target_tokenizer", self.pipe.tokenizer)


class ImageDemonstration(Demonstration):
    """A model that looks at pictures."""

    def _read(self, path: str | None) -> Image.Image:
        if path is None:
            raise PageError("There is no picture yet: upload one, or pick an example.")
        try:
            return read_image(path, None)
        except ValueError as error:
            reason = str(error).rpartition(": ")[2]
            raise PageError(f"This file cannot be read as a picture: {reason}") from error

    def _look(self, *inputs: Any, **kwargs: Any) -> tuple[list[dict[str, Any]], str]:
        answers, reason = super()._look(*inputs, **kwargs)
        if not reason and "regions" not in answers[0]:
            reason = f"A {type(self.pipe.model).__name__} does not tell which part of the picture each position is."
        return answers, reason


class CaptionDemonstration(ImageDemonstration):
    """Describes a picture."""

    task = "image-to-text"

    def __call__(self, path: str | None, beams: int) -> str:
        """
        Args:
            path (`str`, *optional*): Of the picture.
            beams (`int`): Of beam search.

        Returns:
            `str`: HTML.
        """
        image = self._read(path)
        [answer], reason = self._look(image, generate_kwargs={"num_beams": int(beams)})
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
        Args:
            path (`str`, *optional*): Of the picture.
            question (`str`): About it.
            beams (`int`, *optional*): Of beam search, where the model writes its answers.

        Returns:
            `str`: HTML.
        """
        image = self._read(path)
        if not question.strip():
            raise PageError("There is no question yet: type one.")
        options = {"generate_kwargs": {"num_beams": int(beams)}} if self.can_generate else {}
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

    def __call__(self, sentence: str, beams: int) -> str:
        """
        Args:
            sentence (`str`): To be translated.
            beams (`int`): Of beam search.

        Returns:
            `str`: HTML.
        """
        if not sentence.strip():
            raise PageError("There is no sentence yet: type one, or pick an example.")
        [answer], reason = self._look(sentence, num_beams=int(beams))
        text = _answer_html(answer["translation_text"])
        if reason:
            return text + _reason_html(reason)
        words, maps, source = merge_words(answer["tokens"], answer["attentions"], answer["source_tokens"])
        return text + self._looks(words, [sentence_view(self._shown(source), maps)])


def make_page(
    captioner: CaptionDemonstration | None = None,
    answerer: AnswerDemonstration | None = None,
    translator: TranslationDemonstration | None = None,
) -> gr.Blocks:
    """
    Args:
        captioner, answerer, translator ([`Demonstration`], *optional*):
            The models. A tab without one says how to get it.

    Returns:
        `gradio.Blocks`: To be started by [`launch`].

    Raises:
        ModuleNotFoundError: Where gradio is not installed.
    """
    require_extra("demo")
    # No telemetry, and no letters fetched from elsewhere.
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\nPoint at a word, or choose it, to see what the model looked at as it wrote it.")
        scenes = [make_scene(0, "test", number, _EXAMPLE_SIDE) for number in range(_EXAMPLES)]
        pictures = [scene.draw() for scene in scenes]
        with gr.Tab("Caption"):
            _caption_tab(captioner, [[picture] for picture in pictures])
        with gr.Tab("Ask"):
            questions = [ask(scene, 1)[0].text for scene in scenes]
            _answer_tab(answerer, [list(row) for row in zip(pictures, questions, strict=True)])
        with gr.Tab("Translate"):
            _translation_tab(translator, [[describe(scene, 1)[0].text] for scene in scenes])
    return page


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """
    Starts the page, on loopback unless told otherwise.

    Args:
        page (`gradio.Blocks`): From [`make_page`].
        options: Go to [`gradio.Blocks.launch`], such as `server_name` and `server_port`.

    Returns:
        `tuple`: What `gradio.Blocks.launch` does.
    """
    theme = gr.themes.Soft(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return page.launch(
        **{"theme": theme, "css": _STYLE, "footer_links": [], "max_file_size": "20mb", "share": False, **options}
    )


def _caption_tab(captioner: CaptionDemonstration | None, examples: list[list[Any]]) -> None:
    if captioner is None:
        _missing("captioner", "make demo", "runs/demo/best")
        return
    with gr.Row():
        with gr.Column():
            picture = _picture_input()
            beams = _beams_input(captioner)
            button = gr.Button("Caption", variant="primary")
            shown = gr.Examples(examples, [picture], label="Examples")
        output = _output("The caption comes here.")
    _connect(captioner, button, [picture, beams], output, shown, "caption")


def _answer_tab(answerer: AnswerDemonstration | None, examples: list[list[Any]]) -> None:
    if answerer is None:
        folder = "runs/scene-questions"
        _missing("vqa", f"python scripts/answer_scenes.py --output_dir {folder}", f"{folder}/best")
        return
    with gr.Row():
        with gr.Column():
            picture = _picture_input()
            question = gr.Textbox(label="Question", placeholder="what colour is the star ?", max_length=300)
            inputs = [picture, question]
            if answerer.can_generate:
                inputs.append(_beams_input(answerer))
            button = gr.Button("Ask", variant="primary")
            shown = gr.Examples(examples, [picture, question], label="Examples")
        output = _output("The answer comes here.")
    _connect(answerer, button, inputs, output, shown, "ask", question)


def _translation_tab(translator: TranslationDemonstration | None, examples: list[list[Any]]) -> None:
    if translator is None:
        folder = "runs/translator"
        command = (
            "python scripts/train_seq2seq.py --dataset_name DATA --source_lang en --target_lang de "
            f"--output_dir {folder}"
        )
        _missing("translator", command, folder)
        return
    with gr.Row():
        with gr.Column():
            sentence = gr.Textbox(label="Sentence", lines=3, max_length=2000)
            beams = _beams_input(translator)
            button = gr.Button("Translate", variant="primary")
            shown = gr.Examples(examples, [sentence], label="Examples")
        output = _output("The translation comes here.")
    _connect(translator, button, [sentence, beams], output, shown, "translate", sentence)


def _picture_input() -> gr.Image:
    picture = gr.Image(label="Picture", type="filepath", sources=["upload", "clipboard"], height=300, buttons=[])
    # Gradio would open the file itself, and say nothing of one that is no picture but "Error".
    picture.preprocess = lambda payload: payload and payload.path
    return picture


def _beams_input(demonstration: Demonstration) -> gr.Slider:
    beams = demonstration.beams
    return gr.Slider(1, max(MAX_BEAMS, beams), beams, step=1, label="Beams", info="Sentences kept at each step")


def _output(placeholder: str) -> gr.HTML:
    with gr.Column():
        return gr.HTML(f'<div class="placeholder">{placeholder}</div>', elem_classes="result")


def _connect(
    demonstration: Callable[..., str],
    button: gr.Button,
    inputs: list[Any],
    output: gr.HTML,
    examples: gr.Examples,
    name: str,
    text: gr.Textbox | None = None,
) -> None:
    def answer(*values: Any) -> str:
        try:
            return demonstration(*values)
        except PageError as error:
            return f'<div class="note error" role="alert">{html.escape(str(error))}</div>'

    button.click(answer, inputs, output, api_name=name, scroll_to_output=True)
    if text is not None:
        text.submit(answer, inputs, output, api_visibility="private", scroll_to_output=True)
    examples.load_input_event.then(answer, inputs, output, api_visibility="private", scroll_to_output=True)


def _missing(option: str, command: str, folder: str) -> None:
    gr.Markdown(
        textwrap.dedent(f"""
        **This page was started without a model for this tab.**

        Start it with a folder or a name on the Hub:

            python scripts/demo.py --{option} {folder}

        and train one with

            {command}
        """),
        elem_classes="missing",
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
        f"<span>{100 * score:.1f} %</span>"
        for answer, score in answers
    )
    return f'<div class="scores">{rows}</div>'
