"""What a visitor may pick: generated scenes for a model that knows scenes, and pictures of whoever starts the page."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from PIL import Image
from transformers import PreTrainedTokenizerBase

from ..scenes.captions import describe
from ..scenes.layout import make_scene
from ..scenes.questions import ask
from ..scenes.scene import COLOURS, VARIETIES, Scene
from ..scenes.toy_language import reword
from .demonstrations import FORMATS, PageError, read_picture


MOST_PICTURES = 8
_SCENES = 4
_QUESTIONS = ("colour", "count", "shape", "relation")  # one a scene
_SIDE = 320  # the scenes' layout goes with it
_LONGEST_SIDE = 1024
_SUFFIXES = tuple(f".{name.lower()}" for name in (*FORMATS, "JPG"))


def scene_variety(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """
    How many colours and shapes of generated scenes a model knows, which its words tell.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Of what it writes, or of what it reads.

    Returns:
        `int`, *optional*: `None` where most of its words are of something else.
    """
    of_scenes = _words_of_scenes()
    if len(tokenizer) > 4 * len(of_scenes):
        return None
    known = _words(tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens))
    if not known or len(known & of_scenes) < len(known) / 2:
        return None
    return VARIETIES[-1] if known >= set(COLOURS) else VARIETIES[0]


def example_scenes(variety: int) -> list[Scene]:
    """
    Scenes that are in no training set, of two objects or more.

    Args:
        variety (`int`): Of how many colours and shapes.
    """
    scenes = (make_scene(0, "test", number, _SIDE, variety) for number in range(100))
    return [scene for scene in scenes if len(scene.objects) > 1][:_SCENES]


def example_questions(scenes: list[Scene]) -> list[str]:
    """
    A question about each.

    Args:
        scenes (`list[Scene]`): From [`example_scenes`].
    """
    asked = []
    for scene, kind in zip(scenes, _QUESTIONS, strict=False):
        of_kind = [question for question in ask(scene, 12) if question.kind == kind]
        asked.append((of_kind or ask(scene, 1))[0].text)
    return asked


def example_captions(scenes: list[Scene]) -> list[str]:
    """
    A sentence about each.

    Args:
        scenes (`list[Scene]`): From [`example_scenes`].
    """
    return [describe(scene, 1)[0].text for scene in scenes]


def read_examples(folder: str | Path) -> list[Image.Image]:
    """
    The first pictures of a folder by name, of a size for a page and without what a camera wrote into them.

    Args:
        folder (`str` or `Path`): What is in it and not named like a picture is passed over.

    Returns:
        `list[PIL.Image.Image]`: Eight at most.

    Raises:
        ValueError: Where there is no such folder, no picture in it, or one that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    paths = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in _SUFFIXES and not path.is_dir())
    if not paths:
        raise ValueError(f"there is no picture in {folder}: files named {', '.join(_SUFFIXES)} are.")
    pictures = []
    for path in paths[:MOST_PICTURES]:
        try:
            picture = read_picture(path)
        except PageError as error:
            raise ValueError(f"{path}: {error}") from error
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        picture.info.clear()
        pictures.append(picture)
    return pictures


@cache
def _words_of_scenes() -> frozenset[str]:
    texts = []
    for number in range(100):
        scene = make_scene(0, "held_out", number, variety=VARIETIES[-1])
        captions = [caption.text for caption in describe(scene, 5)]
        texts += captions + [reword(caption, scene.random(4)) for caption in captions]
        texts += [f"{question.text} {question.answer}" for question in ask(scene, 12)]
    return _words(texts)


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in re.findall("[a-z]+", text.lower()))
