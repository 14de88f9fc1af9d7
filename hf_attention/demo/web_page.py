"""The web page: a tab for captions, one for questions, one for translations."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..extras import missing_modules, require_extra
from ..scenes.scene import Scene
from ..seeing.html import MARK, STYLE
from .demonstrations import (
    MAX_CHARACTERS,
    SHIPPED,
    AnswerDemonstration,
    CaptionDemonstration,
    Demonstration,
    PageError,
    TranslationDemonstration,
)
from .examples import example_captions, example_questions, example_scenes, scene_variety


if TYPE_CHECKING or not missing_modules("demo"):
    import gradio as gr

    from .entrance import Entrance, Page


TITLE = "Attention you can see"
# All models together answer one request at a time; so many may wait.
MAX_WAITING = 16

_STYLE = (
    """
.answer { font-size: 1.5rem; font-weight: 600; line-height: 1.3; margin: 0 0 1rem; overflow-wrap: anywhere;
  color: var(--body-text-color); }
.note { padding: 0.7rem 1rem; border-radius: 10px; border: 1px solid var(--border-color-primary); margin: 0 0 1rem;
  color: var(--body-text-color); overflow-wrap: anywhere; }
.note.error { border-color: #dc2626; }
.missing :is(pre, pre *) { white-space: pre-wrap !important; overflow-wrap: anywhere; }
.result { padding: 0 !important; }
/* One below the other, the answer is above the examples, so that a finger on one of them brings it in sight. */
.sides { display: grid; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 45rem) {
  .sides { grid-template: auto 1fr / repeat(2, minmax(0, 1fr)); }
  .sides > :nth-child(2) { grid-area: 1 / 2 / 3; }
}
.placeholder { color: var(--body-text-color-subdued); padding: 3rem 1rem; text-align: center; border-radius: 10px;
  border: 1px dashed var(--border-color-primary); }
.scores { display: grid; grid-template-columns: max-content 1fr max-content; gap: 0.3rem 0.75rem; align-items: center;
  margin: 0 0 1.2rem; color: var(--body-text-color); }
.scores i { height: 0.6rem; border-radius: 3px; min-width: 1px; }
"""
    + f".scores i {{ background: {MARK}; }}\n"
    + STYLE
)


def make_page(
    captioner: CaptionDemonstration | None = None,
    answerer: AnswerDemonstration | None = None,
    translator: TranslationDemonstration | None = None,
    pictures: Sequence[Image.Image] = (),
) -> gr.Blocks:
    """
    Builds the page.

    Args:
        captioner, answerer, translator ([`Demonstration`], *optional*):
            The models. A tab without one says how to get it.
        pictures (`Sequence[PIL.Image.Image]`, *optional*):
            To try the captioner and the answerer on. By default a model that knows generated scenes has some of them,
            and any other has none.

    Returns:
        `gradio.Blocks`: To be started by [`launch`].

    Raises:
        ModuleNotFoundError: Where gradio is not installed.
    """
    require_extra("demo")
    # No telemetry, and no letters fetched from elsewhere.
    with Page(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\nPoint at a word, or choose it, to see what the model looked at as it wrote it.")
        with gr.Tab("Caption"):
            _caption_tab(captioner, pictures)
        with gr.Tab("Ask"):
            _answer_tab(answerer, pictures)
        with gr.Tab("Translate"):
            _translation_tab(translator)
    # A request that is answered directly would not wait for its turn.
    return page.queue(max_size=MAX_WAITING, api_open=False)


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """
    Starts the page, on loopback unless told otherwise.

    Args:
        page (`gradio.Blocks`): From [`make_page`].
        options (`Any`): Go to `gradio.Blocks.launch`, such as `server_name` and `server_port`.

    Returns:
        `tuple`: What `gradio.Blocks.launch` does.
    """
    theme = gr.themes.Soft(
        primary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    defaults = {
        "theme": theme,
        "css": _STYLE,
        "footer_links": [],
        "max_file_size": "20mb",
        "share": False,
        "run_history": False,  # on the Hub, by the server
        "app_kwargs": {"middleware": [(Entrance, (), {})]},
    }
    return page.launch(**defaults | options)


def _caption_tab(captioner: CaptionDemonstration | None, pictures: Sequence[Image.Image]) -> None:
    if captioner is None:
        _missing("captioner")
        return
    with gr.Row(elem_classes="sides"):
        with gr.Column():
            picture = _picture_input()
            beams = _beams_input(captioner)
            button = gr.Button("Caption", variant="primary")
        output = _output("The caption comes here.")
        with gr.Column():
            rows = [[each] for each in pictures or (scene.draw() for scene in _known_scenes(captioner))]
            shown = _examples(rows, [picture])
    _connect(captioner, button, [picture, beams], output, shown, "caption")


def _answer_tab(answerer: AnswerDemonstration | None, pictures: Sequence[Image.Image]) -> None:
    if answerer is None:
        _missing("answerer")
        return
    scenes = [] if pictures else _known_scenes(answerer)
    questions = example_questions(scenes)
    with gr.Row(elem_classes="sides"):
        with gr.Column():
            picture = _picture_input()
            question = gr.Textbox(
                label="Question",
                placeholder=questions[0] if questions else "what is in the picture ?",
                max_length=MAX_CHARACTERS["question"],
            )
            inputs = [picture, question]
            if answerer.can_generate:
                inputs.append(_beams_input(answerer))
            button = gr.Button("Ask", variant="primary")
        output = _output("The answer comes here.")
        with gr.Column():
            if scenes:
                rows = [[scene.draw(), each] for scene, each in zip(scenes, questions, strict=True)]
                shown = _examples(rows, [picture, question])
            else:
                _examples([[each] for each in pictures], [picture])
                shown = None  # there is no question yet
    _connect(answerer, button, inputs, output, shown, "ask", question)


def _translation_tab(translator: TranslationDemonstration | None) -> None:
    if translator is None:
        _missing("translator")
        return
    with gr.Row(elem_classes="sides"):
        with gr.Column():
            sentence = gr.Textbox(label="Sentence", lines=3, max_length=MAX_CHARACTERS["sentence"])
            beams = _beams_input(translator)
            button = gr.Button("Translate", variant="primary")
        output = _output("The translation comes here.")
        with gr.Column():
            shown = _examples([[each] for each in example_captions(_known_scenes(translator))], [sentence])
    _connect(translator, button, [sentence, beams], output, shown, "translate", sentence)


def _known_scenes(demonstration: Demonstration) -> list[Scene]:
    variety = scene_variety(demonstration.source_tokenizer)
    return [] if variety is None else example_scenes(variety)


def _examples(rows: list[list[Any]], inputs: list[Any]) -> gr.Examples | None:
    return gr.Examples(rows, inputs, label="Examples") if rows else None


def _picture_input() -> gr.Image:
    return gr.Image(
        label="Picture",
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False),  # left is left
        height=300,
        buttons=[],
    )


def _beams_input(demonstration: Demonstration) -> gr.Slider:
    beams, most = demonstration.beams, demonstration.most_beams
    return gr.Slider(1, most, beams, step=1, label="Beams", info="Sentences kept at each step")


def _output(placeholder: str) -> gr.HTML:
    with gr.Column():
        return gr.HTML(f'<div class="placeholder">{placeholder}</div>', elem_classes="result")


def _connect(
    demonstration: Callable[..., str],
    button: gr.Button,
    inputs: list[Any],
    output: gr.HTML,
    examples: gr.Examples | None,
    name: str,
    text: gr.Textbox | None = None,
) -> None:
    def answer(*values: Any) -> str:
        values = [
            value["path"] if isinstance(component, gr.Image) and value else value
            for component, value in zip(inputs, values, strict=True)
        ]
        try:
            return demonstration(*values)
        except PageError as error:
            return f'<div class="note error" role="alert">{html.escape(str(error))}</div>'

    # Values come as they were sent: gradio itself would open a picture, and say but "Error" of what is none.
    options = {
        "fn": answer,
        "inputs": inputs,
        "outputs": output,
        "preprocess": False,
        "scroll_to_output": True,
        "concurrency_id": "answer",
        "concurrency_limit": 1,
    }
    button.click(**options, api_name=name)
    if text is not None:
        text.submit(**options, api_visibility="private")
    if examples is not None:
        examples.load_input_event.then(**options, api_visibility="private")


def _missing(part: str) -> None:
    gr.Markdown(
        f"""**This page was started without a model for this tab.** Start it with one, which may be a folder, a name
on the Hub, or one that the package ships:

    hf-attention demo --{part} {SHIPPED[part]}
""",
        elem_classes="missing",
    )
