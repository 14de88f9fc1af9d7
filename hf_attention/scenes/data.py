"""Data sets of scenes, with captions or with questions."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from .captions import describe
from .layout import SPLITS, make_scene
from .questions import KINDS, ask
from .scene import HELD_OUT_PAIRS, VARIETIES, Scene


if TYPE_CHECKING:
    from datasets import DatasetDict, Features


def make_scenes(
    train: int = 8000,
    validation: int = 500,
    test: int = 500,
    held_out: int = 500,
    seed: int = 0,
    image_size: int = 64,
    captions_per_scene: int = 5,
    variety: int = VARIETIES[0],
) -> DatasetDict:
    """
    Makes a data set of scenes and their captions.

    Args:
        train, validation, test, held_out (`int`, *optional*):
            How many scenes each split has; a split of 0 is left out. [`~hf_attention.scenes.layout.make_scene`]
            says how they differ.
        seed (`int`, *optional*, defaults to 0): Another seed, other scenes.
        image_size (`int`, *optional*, defaults to 64): Side of the pictures in pixels.
        captions_per_scene (`int`, *optional*, defaults to 5): From 1 to 6.
        variety (`int`, *optional*, defaults to 6): One of `VARIETIES`, of how many colours and shapes.

    Returns:
        `datasets.DatasetDict`: With the columns

        - `image`: the picture;
        - `image_id` (`str`): such as `"train-00012"`;
        - `captions` (list of `str`);
        - `mentions`: for every caption the list of `{"start", "end", "object"}` in the order of the text: from which
          character to which it names which of `objects`;
        - `objects`: a list of `{"shape", "colour", "size", "box"}` from the back to the front, see
          [`~hf_attention.scenes.scene.SceneObject`];
        - `ground` (`str`).

    Raises:
        ValueError: Where an argument is out of range.
    """
    from datasets import Features, List, Value
    from datasets import Image as ImageFeature

    features = Features(
        {
            "image": ImageFeature(),
            "image_id": Value("string"),
            "captions": List(Value("string")),
            "mentions": List(List({"start": Value("int32"), "end": Value("int32"), "object": Value("int32")})),
            "objects": List(
                {
                    "shape": Value("string"),
                    "colour": Value("string"),
                    "size": Value("string"),
                    "box": List(Value("int32"), length=4),
                }
            ),
            "ground": Value("string"),
        }
    )
    return _make_splits(
        (train, validation, test, held_out),
        lambda scene, image_id: [_caption_row(scene, image_id, captions_per_scene)],
        features,
        seed,
        image_size,
        variety,
    )


def make_scene_questions(
    train: int = 8000,
    validation: int = 500,
    test: int = 500,
    held_out: int = 500,
    seed: int = 0,
    image_size: int = 64,
    questions_per_scene: int = 6,
    variety: int = VARIETIES[-1],
    kinds: Sequence[str] = KINDS,
) -> DatasetDict:
    """
    Makes a data set of questions about scenes, the scenes of [`make_scenes`] of that variety.

    Args:
        train, validation, test, held_out (`int`, *optional*):
            How many scenes each split has; a split of 0 is left out. [`~hf_attention.scenes.layout.make_scene`]
            says how they differ.
        seed (`int`, *optional*, defaults to 0): Another seed, other scenes.
        image_size (`int`, *optional*, defaults to 64): Side of the pictures in pixels.
        questions_per_scene (`int`, *optional*, defaults to 6): From 1 to 12.
        variety (`int`, *optional*, defaults to 12): One of `VARIETIES`, of how many colours and shapes.
        kinds (`Sequence[str]`, *optional*, defaults to `KINDS`):
            The kinds of the questions, see [`~hf_attention.scenes.questions.ask`].

    Returns:
        `datasets.DatasetDict`: With a row for each question and the columns

        - `image`: the picture; questions about one scene name one file;
        - `image_id` (`str`): such as `"train-00012"`;
        - `question`, `answer` (`str`);
        - `kind` (`str`): one of `KINDS`;
        - `boxes`: of the objects that the answer depends on, in pixels, see
          [`~hf_attention.scenes.scene.SceneObject`];
        - `held_out` (`bool`): whether one of these, or what is asked for in vain, is of a colour and shape that
          training never shows together.

    Raises:
        ValueError: Where an argument is out of range.
    """
    from datasets import Features, List, Value
    from datasets import Image as ImageFeature

    features = Features(
        {
            "image": ImageFeature(),
            "image_id": Value("string"),
            "question": Value("string"),
            "answer": Value("string"),
            "kind": Value("string"),
            "boxes": List(List(Value("int32"), length=4)),
            "held_out": Value("bool"),
        }
    )
    return _make_splits(
        (train, validation, test, held_out),
        lambda scene, image_id: _question_rows(scene, image_id, questions_per_scene, kinds),
        features,
        seed,
        image_size,
        variety,
    )


def make_captions(
    train: int = 8000,
    validation: int = 500,
    test: int = 500,
    held_out: int = 500,
    seed: int = 0,
    captions_per_scene: int = 5,
    variety: int = VARIETIES[0],
) -> DatasetDict:
    """
    Makes a data set of the captions alone, for a language model: those of [`make_scenes`], without drawing the scenes.

    Args:
        train, validation, test, held_out (`int`, *optional*):
            How many scenes each split has; a split of 0 is left out.
        seed (`int`, *optional*, defaults to 0): Another seed, other scenes.
        captions_per_scene (`int`, *optional*, defaults to 5): From 1 to 6.
        variety (`int`, *optional*, defaults to 6): One of `VARIETIES`, of how many colours and shapes.

    Returns:
        `datasets.DatasetDict`: With the column `text`, a caption a row.

    Raises:
        ValueError: Where an argument is out of range.
    """
    from datasets import Features, Value

    return _make_splits(
        (train, validation, test, held_out),
        lambda scene, image_id: [{"text": caption.text} for caption in describe(scene, captions_per_scene)],
        Features({"text": Value("string")}),
        seed,
        64,
        variety,
    )


def _make_splits(
    counts: Sequence[int],
    rows_of: Callable[[Scene, str], list[dict[str, Any]]],
    features: Features,
    seed: int,
    image_size: int,
    variety: int,
) -> DatasetDict:
    """
    Makes a data set from what is told of each scene.

    Args:
        counts (`Sequence[int]`): How many scenes each of `SPLITS` has; a split of 0 is left out.
        rows_of (`Callable`): Takes a scene and its name, such as `"train-00012"`, and returns its rows.
        features (`datasets.Features`): The columns.
        seed (`int`): Another seed, other scenes.
        image_size (`int`): Side of the pictures in pixels.
        variety (`int`): One of `VARIETIES`.

    Returns:
        `datasets.DatasetDict`

    Raises:
        ValueError: Where a count is negative; it is named as the split.
    """
    from datasets import Dataset, DatasetDict

    splits = {}
    for split, count in zip(SPLITS, counts, strict=True):
        if count < 0:
            raise ValueError(f"`{split}` must be zero or above, got {count}.")
        if count:
            rows = [
                row
                for index in range(count)
                for row in rows_of(make_scene(seed, split, index, image_size, variety), f"{split}-{index:05d}")
            ]
            splits[split] = Dataset.from_list(rows, features=features)
    return DatasetDict(splits)


def _caption_row(scene: Scene, image_id: str, captions_per_scene: int) -> dict[str, Any]:
    captions = describe(scene, captions_per_scene)
    return {
        "image": {"bytes": _to_png(scene.draw()), "path": None},
        "image_id": image_id,
        "captions": [caption.text for caption in captions],
        "mentions": [[vars(mention) for mention in caption.mentions] for caption in captions],
        "objects": [vars(thing) for thing in scene.objects],
        "ground": scene.ground,
    }


def _question_rows(scene: Scene, image_id: str, count: int, kinds: Sequence[str]) -> list[dict[str, Any]]:
    image = {"bytes": _to_png(scene.draw()), "path": f"{image_id}.png"}
    return [
        {
            "image": image,
            "image_id": image_id,
            "question": question.text,
            "answer": question.answer,
            "kind": question.kind,
            "boxes": [list(scene.objects[number].box) for number in question.objects],
            "held_out": not HELD_OUT_PAIRS.isdisjoint(
                [question.absent, *(scene.objects[number].pair for number in question.objects)]
            ),
        }
        for question in ask(scene, count, kinds)
    ]


def _to_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
