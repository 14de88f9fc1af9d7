"""
Makes pictures of where models look: those of docs/seeing_attention.md, from any models, and those of a page of the
documents whose own blocks of Python save them, as those of docs/lecture.md do.

What a model is missing for is left out. The scenes and sentences are made on the spot; every picture is a PNG of a few
hundred pixels, and the page a file that opens in any browser.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from PIL import Image
from transformers import HfArgumentParser, pipeline

from ..arguments import COUNT, NOT_NEGATIVE, CheckedArguments
from ..extras import require_extra
from ..models.alignment import merge_words
from ..models.ranges import Range
from ..scenes import make_translations
from ..scenes.layout import SPLITS, make_scene
from ..scenes.questions import ask
from .figures import plot_alignment, plot_caption_attention, plot_comparison, plot_glimpses
from .page import attention_page


if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class PictureArguments(CheckedArguments):
    """Which models, and which scene."""

    captioner: str | None = field(default=None, metadata={"help": "Folder or Hub name of a captioner of scenes."})
    other_captioner: str | None = field(default=None, metadata={"help": "Another, to compare with."})
    answerer: str | None = field(default=None, metadata={"help": "One that answers questions about scenes."})
    translator: str | None = field(default=None, metadata={"help": "One into the toy language."})
    page: str | None = field(
        default=None, metadata={"help": "A page of Markdown, such as docs/lecture.md, whose blocks save pictures."}
    )
    output_dir: str = field(default="runs/pictures", metadata={"help": "Where the pictures go."})
    scene: Annotated[int, NOT_NEGATIVE] = field(
        default=7, metadata={"help": "Number of the scene, and of the sentence."}
    )
    split: Literal[SPLITS] = field(default="held_out", metadata={"help": "Of the scenes."})
    image_size: Annotated[int, Range(32)] = field(
        default=64, metadata={"help": "Side of the scenes that the models were trained on."}
    )
    dpi: Annotated[int, COUNT] = field(default=150, metadata={"help": "Pixels an inch; 75 are shown, of a screen."})


def main(argv: list[str] | None = None) -> None:
    """
    Makes the pictures of the models that the command line names.

    Args:
        argv (`list[str]`, *optional*): Its words, by default those of this process.
    """
    [arguments] = HfArgumentParser(PictureArguments, description=__doc__).parse_args_into_dataclasses(argv)
    require_extra("visualization")
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    scene = make_scene(0, arguments.split, arguments.scene, arguments.image_size)
    # Enlarged for the eye; the regions are told in pixels of the picture that the model gets.
    image = scene.draw().resize((256, 256), Image.Resampling.BICUBIC)

    def save(figure: "Figure", name: str) -> None:
        figure.savefig(folder / f"{name}.png", dpi=arguments.dpi)
        print(folder / f"{name}.png")

    if arguments.captioner is not None:
        [answer] = pipeline("image-to-text", model=arguments.captioner)(image, output_attentions=True)
        places = {"grid": answer["grid"], "regions": answer["regions"]}
        title = answer["generated_text"]
        save(plot_caption_attention(image, answer["tokens"], answer["attentions"], title=title, **places), "caption")
        page = attention_page(answer["tokens"], answer["attentions"], image, title=title, **places)
        (folder / "caption.html").write_text(page, encoding="utf-8")
        if arguments.other_captioner is not None:
            [other] = pipeline("image-to-text", model=arguments.other_captioner)(image, output_attentions=True)
            save(plot_comparison({arguments.captioner: answer, arguments.other_captioner: other}, image), "comparison")
    if arguments.answerer is not None:
        question = ask(scene)[0].text
        answers = pipeline("visual-question-answering", model=arguments.answerer)
        [answer, *_] = answers(image=image, question=question, output_attentions=True, top_k=1)
        places = {"grid": answer["grid"], "regions": answer["regions"]}
        save(plot_glimpses(image, question, answer["answer"], answer["attentions"], **places), "glimpses")
    if arguments.translator is not None:
        source = make_translations(train=0, validation=0, test=arguments.scene + 1)["test"]["translation"][-1]["en"]
        [answer] = pipeline("translation", model=arguments.translator)(source, output_attentions=True)
        words, weights, source_words = merge_words(answer["tokens"], answer["attentions"], answer["source_tokens"])
        save(plot_alignment(source_words, words, weights), "alignment")
        page = attention_page(words, weights, source_tokens=source_words, title=answer["translation_text"])
        (folder / "alignment.html").write_text(page, encoding="utf-8")
    if arguments.page is not None:
        run_page(Path(arguments.page), folder)


def run_page(page: Path, folder: Path) -> None:
    """
    Runs the blocks of Python of a page, one after the other, and makes the pictures that they save small.

    Args:
        page (`Path`): The page, in Markdown.
        folder (`Path`): Where the pictures go. The blocks run in a folder of their own.
    """
    blocks = re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    here, names = os.getcwd(), {}
    with TemporaryDirectory() as place:
        os.chdir(place)
        try:
            for block in blocks:
                exec(compile(block, page.name, "exec"), names)
        finally:
            os.chdir(here)
        for path in sorted(Path(place).glob("*.png")):
            # Of the many greys of the picture fewer are kept than of the bright colours that lie on few pixels.
            picture = (
                Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            )
            picture.save(folder / path.name, optimize=True)
            print(folder / path.name)
