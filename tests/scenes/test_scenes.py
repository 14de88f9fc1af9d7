import dataclasses
import hashlib
import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import hf_attention.scenes.drawing as scenes_module
from hf_attention.scenes.drawing import (
    COLOURS,
    GROUNDS,
    HELD_OUT_PAIRS,
    SHAPES,
    SIZES,
    SPLITS,
    VARIETIES,
    PairCounts,
    Scene,
    SceneObject,
    describe,
    make_scene,
    make_scenes,
    named_pairs,
    score_pairs,
)


@pytest.fixture(scope="module", params=VARIETIES, ids="{} colours and shapes".format)
def scenes(request) -> dict[str, list[Scene]]:
    return {split: [make_scene(3, split, i, variety=request.param) for i in range(150)] for split in SPLITS}


def possible(scenes: dict[str, list[Scene]]) -> tuple[list[str], list[str]]:
    """The colours and shapes that the scenes may show."""
    variety = scenes["train"][0].variety
    return list(COLOURS)[:variety], list(SHAPES)[:variety]


def all_scenes(scenes: dict[str, list[Scene]]) -> list[Scene]:
    return list(itertools.chain.from_iterable(scenes.values()))


def test_everything_that_can_be_drawn_is_drawn(scenes):
    things = [thing for scene in scenes["train"] for thing in scene.objects]
    colours, shapes = possible(scenes)
    assert {thing.shape for thing in things} == set(shapes) and len(shapes) in VARIETIES
    assert {thing.colour for thing in things} == set(colours) and len(colours) in VARIETIES
    assert {thing.size for thing in things} == set(SIZES)
    assert {scene.ground for scene in scenes["train"]} == set(GROUNDS)
    assert {len(scene.objects) for scene in scenes["train"]} == {1, 2, 3, 4}


def test_a_box_is_exactly_what_its_object_changes(scenes):
    checked = set()
    for scene in scenes["train"]:
        front = scene.objects[-1]
        without = dataclasses.replace(scene, objects=scene.objects[:-1])
        changed = np.any(np.asarray(scene.draw()) != np.asarray(without.draw()), axis=-1)
        rows, columns = np.nonzero(changed)
        drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        # The tip of a star may cover too little of a pixel to change it.
        assert np.abs(np.subtract(drawn, front.box)).max() <= 1
        left, top, right, bottom = front.box
        assert not np.delete(changed, np.s_[top:bottom], axis=0).any()
        assert not np.delete(changed, np.s_[left:right], axis=1).any()
        checked.add(front.shape)
    assert checked == set(possible(scenes)[1])


def test_objects_have_their_colours(scenes):
    """Of the front object, most pixels that it changes are closer to its own colour than to any other."""
    names = list(COLOURS)
    palette = np.array(list(COLOURS.values()))
    for scene in scenes["test"][:60]:
        picture = np.asarray(scene.draw(), dtype=int)
        front = scene.objects[-1]
        without = np.asarray(dataclasses.replace(scene, objects=scene.objects[:-1]).draw(), dtype=int)
        pixels = picture[np.any(picture != without, axis=-1)]
        nearest = np.abs(pixels[:, None] - palette).sum(-1).argmin(-1)
        assert names[np.bincount(nearest, minlength=len(names)).argmax()] == front.colour


def test_some_objects_overlap_and_all_are_mostly_visible(scenes):
    """Counts the pixels that each object changes when it is drawn alone, not the masks that the module looks at."""
    overlapping = 0
    for scene in scenes["train"][:80]:
        ground = np.asarray(dataclasses.replace(scene, objects=()).draw())
        alone = [np.asarray(dataclasses.replace(scene, objects=(thing,)).draw()) for thing in scene.objects]
        covered = np.zeros(ground.shape[:2], dtype=bool)
        for picture in reversed(alone):
            whole = np.any(picture != ground, axis=-1)
            overlapping += (whole & covered).any()
            # Three quarters, with some room for pixels that both cover in part.
            assert (whole & ~covered).sum() >= 0.65 * whole.sum()
            covered |= whole
    assert overlapping > 10


def test_held_out_pairs_are_seen_only_in_their_split(scenes):
    seen = set()
    for split in ("train", "validation", "test"):
        for scene in scenes[split]:
            pairs = {thing.pair for thing in scene.objects}
            assert len(pairs) == len(scene.objects)
            assert not pairs & HELD_OUT_PAIRS
            seen |= pairs
    colours, shapes = possible(scenes)
    assert seen == set(itertools.product(colours, shapes)) - HELD_OUT_PAIRS
    held_out = [{thing.pair for thing in scene.objects} & HELD_OUT_PAIRS for scene in scenes["held_out"]]
    assert all(held_out)
    held_out_pairs = set().union(*held_out)
    assert held_out_pairs <= HELD_OUT_PAIRS
    for axis, names in enumerate((colours, shapes)):
        assert sorted(pair[axis] for pair in held_out_pairs) == sorted(names)


def test_a_scene_depends_on_seed_split_and_index_alone(scenes):
    for split in SPLITS:
        again = make_scene(3, split, 149, variety=scenes[split][149].variety)
        assert again == scenes[split][149]
        assert again.draw().tobytes() == scenes[split][149].draw().tobytes()
        assert describe(again) == describe(scenes[split][149])
    pictures = {make_scene(seed, split, 5).draw().tobytes() for seed in (3, 4) for split in SPLITS}
    assert len(pictures) == 8


def test_a_process_with_other_hashes_draws_the_same_and_loads_little():
    scene = make_scene(1, "test", 2)
    expected = hashlib.sha256(scene.draw().tobytes() + repr(describe(scene)).encode()).hexdigest()
    # Run as a file: importing it through the package would import torch.
    command = f"""
import hashlib, runpy, sys
scenes = runpy.run_path({scenes_module.__file__!r})
scene = scenes["make_scene"](1, "test", 2)
print(hashlib.sha256(scene.draw().tobytes() + repr(scenes["describe"](scene)).encode()).hexdigest())
print(*{{"datasets", "torch", "matplotlib"}} & set(sys.modules))
"""
    result = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout.split() == [expected]


def test_captions_name_every_object_once_where_they_say(scenes):
    for scene in all_scenes(scenes):
        captions = describe(scene)
        assert len({caption.text for caption in captions}) == 5
        for caption in captions:
            assert sorted(mention.object for mention in caption.mentions) == list(range(len(scene.objects)))
            assert list(caption.mentions) == sorted(caption.mentions, key=lambda mention: mention.start)
            for mention in caption.mentions:
                phrase = caption.text[mention.start : mention.end]
                thing = scene.objects[mention.object]
                article, *sizes, colour, noun = phrase.split()
                assert (
                    article == ("an" if (*sizes, colour)[0] == "orange" else "a")
                    and colour == thing.colour
                    and noun in SHAPES[thing.shape]
                )
                assert sizes in ([], [thing.size])
            assert named_pairs(caption.text) == [scene.objects[m.object].pair for m in caption.mentions]


def test_relations_hold(scenes):
    signs = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
    found = dict.fromkeys(signs, 0)
    for scene in all_scenes(scenes):
        for caption in describe(scene):
            for first, second in itertools.pairwise(caption.mentions):
                between = caption.text[first.end : second.start].strip()
                if between in signs:
                    axis, sign = signs[between]
                    a, b = (scene.objects[m.object].box for m in (first, second))
                    distance = (a[axis] + a[axis + 2]) - (b[axis] + b[axis + 2])
                    assert distance * sign > 0
                    found[between] += 1
                else:
                    assert between in (",", "and")
    assert min(found.values()) > 20


def test_data_set_holds_what_the_scenes_say(tmp_path):
    from datasets import DatasetDict, Image

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


def test_fewer_captions_are_the_first_ones():
    scene = make_scene(0, "train", 0)
    assert describe(scene, 2) == describe(scene, 6)[:2]


def test_named_pairs_reads_what_models_write():
    assert named_pairs("A Small RED disc left of a blue  box and a red") == [("red", "circle"), ("blue", "square")]
    assert named_pairs("a white cross, a white plus and a ringed star") == [("white", "cross")] * 2
    assert named_pairs("") == []


def test_pairs_are_counted_as_multisets():
    objects = [
        SceneObject("circle", "red", "small", (1, 1, 9, 9)),
        SceneObject("ring", "blue", "large", (9, 9, 40, 40)),
    ]
    counts = score_pairs("a red circle and a red disc above a blue star", objects)
    assert counts == PairCounts(correct=1, named=3, present=2)
    assert counts == score_pairs("a red circle, a red disc, a blue star", [dataclasses.asdict(o) for o in objects])
    assert (counts.precision, counts.recall) == (1 / 3, 1 / 2)
    assert counts + PairCounts(1, 1, 1) == PairCounts(2, 4, 3)
    assert score_pairs("a red circle", objects, only=[("blue", "ring")]) == PairCounts(0, 0, 1)
    assert math.isnan(PairCounts().precision) and math.isnan(PairCounts().recall)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`split`.*train.*'dev'"):
        make_scene(0, "dev", 0)
    with pytest.raises(ValueError, match="`image_size`.*16"):
        make_scene(0, "train", 0, image_size=16)
    with pytest.raises(ValueError, match="`index`"):
        make_scene(0, "train", -1)
    with pytest.raises(ValueError, match="`variety` must be one of 6, 12, got 7"):
        make_scene(0, "train", 0, variety=7)
    with pytest.raises(ValueError, match="`colour`.*'mauve'"):
        SceneObject("star", "mauve", "small", (0, 0, 5, 5))
    with pytest.raises(ValueError, match="`box`"):
        SceneObject("star", "red", "small", (5, 0, 5, 5))
    star = SceneObject("star", "red", "small", (0, 0, 12, 12))
    with pytest.raises(ValueError, match="more than one red star"):
        Scene((star, star), "cloudy")
    with pytest.raises(ValueError, match="`ground`.*'sandy'"):
        Scene((star,), "sandy")
    with pytest.raises(ValueError, match="`count`"):
        describe(Scene((star,), "cloudy"), 7)
    with pytest.raises(ValueError, match="at least one object"):
        describe(Scene((), "cloudy"))
    with pytest.raises(ValueError, match="`test`.*-1"):
        make_scenes(train=1, validation=0, test=-1, held_out=0)
