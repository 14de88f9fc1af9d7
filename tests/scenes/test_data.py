from collections import Counter

import pytest
from datasets import DatasetDict, Image

from hf_attention.scenes import make_captions, make_scene_questions, make_scenes
from hf_attention.scenes.captions import describe
from hf_attention.scenes.layout import make_scene
from hf_attention.scenes.scene import HELD_OUT_PAIRS, SHAPES, SceneObject


SHAPE_OF = {noun: shape for shape, nouns in SHAPES.items() for noun in nouns}


def test_data_set_holds_what_the_scenes_say(tmp_path):
    splits = make_scenes(train=6, validation=2, test=0, held_out=2, seed=3, image_size=48, captions_per_scene=3)
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "validation": 2, "held_out": 2}
    splits.save_to_disk(tmp_path)
    splits = DatasetDict.load_from_disk(tmp_path)
    assert isinstance(splits["train"].features["image"], Image)
    for split, rows in splits.items():
        for index, row in enumerate(rows):
            scene = make_scene(3, split, index, image_size=48)
            captions = describe(scene, 3)
            assert row["image_id"] == f"{split}-{index:05d}"
            assert row["image"].size == (48, 48) and row["image"].tobytes() == scene.draw().tobytes()
            assert row["captions"] == [caption.text for caption in captions]
            assert row["ground"] == scene.ground
            assert [SceneObject(**{**thing, "box": tuple(thing["box"])}) for thing in row["objects"]] == list(
                scene.objects
            )
            for text, mentions in zip(row["captions"], row["mentions"], strict=True):
                for mention in mentions:
                    thing = row["objects"][mention["object"]]
                    assert thing["colour"] in text[mention["start"] : mention["end"]]


def test_questions_are_about_the_scenes_of_the_captions() -> None:
    splits = make_scene_questions(train=3, validation=0, test=2, held_out=40, image_size=32, questions_per_scene=5)
    assert isinstance(splits, DatasetDict) and {name: len(split) for name, split in splits.items()} == {
        "train": 15,
        "test": 10,
        "held_out": 200,
    }
    scenes = make_scenes(train=3, validation=0, test=0, held_out=40, image_size=32, variety=12)
    for split, rows in scenes.items():
        for number, row in enumerate(splits[split]):
            scene = rows[number // 5]
            assert row["image_id"] == scene["image_id"]
            assert row["image"].tobytes() == scene["image"].tobytes()
            boxes = {tuple(thing["box"]): (thing["colour"], thing["shape"]) for thing in scene["objects"]}
            pairs = {boxes[tuple(box)] for box in row["boxes"]}
            words = row["question"].split()
            if words[:2] == ["is", "there"] and row["answer"] == "no":
                pairs.add((words[3], SHAPE_OF[words[4]]))
            assert row["held_out"] == bool(pairs & HELD_OUT_PAIRS)
    assert not any(splits["train"]["held_out"])
    # What asks for a new pair is answered by yes and by no.
    held_out = splits["held_out"].remove_columns("image")
    asked = [row["answer"] for row in held_out if row["held_out"] and row["question"].startswith("is there")]
    assert min(Counter(asked)[answer] for answer in ("yes", "no")) > 1


def test_a_negative_number_of_scenes_is_named():
    with pytest.raises(ValueError, match="`test`.*-1"):
        make_scenes(train=1, validation=0, test=-1, held_out=0)
    with pytest.raises(ValueError, match="`test`.*-1"):
        make_scene_questions(train=1, test=-1)


def test_captions_alone_are_those_of_the_scenes() -> None:
    options = {"train": 4, "validation": 0, "test": 2, "held_out": 1, "seed": 3, "captions_per_scene": 3}
    captions, scenes = make_captions(**options, variety=12), make_scenes(**options, variety=12)
    assert captions.keys() == scenes.keys() == {"train", "test", "held_out"}
    for split, rows in captions.items():
        assert list(rows["text"]) == [caption for texts in scenes[split]["captions"] for caption in texts]
