import dataclasses
import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hf_attention
from hf_attention.scenes.captions import describe
from hf_attention.scenes.layout import SPLITS, make_scene
from hf_attention.scenes.scene import COLOURS, GROUNDS, HELD_OUT_PAIRS, SHAPES, SIZES, VARIETIES, Scene


def possible(scenes: dict[str, list[Scene]]) -> tuple[list[str], list[str]]:
    """The colours and shapes that the scenes may show."""
    variety = scenes["train"][0].variety
    return list(COLOURS)[:variety], list(SHAPES)[:variety]


def test_everything_that_can_be_drawn_is_drawn(scenes):
    things = [thing for scene in scenes["train"] for thing in scene.objects]
    colours, shapes = possible(scenes)
    assert {thing.shape for thing in things} == set(shapes) and len(shapes) in VARIETIES
    assert {thing.colour for thing in things} == set(colours) and len(colours) in VARIETIES
    assert {thing.size for thing in things} == set(SIZES)
    assert {scene.ground for scene in scenes["train"]} == set(GROUNDS)
    assert {len(scene.objects) for scene in scenes["train"]} == {1, 2, 3, 4}


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
    # A package that is empty but for its folder: the real one imports torch.
    command = f"""
import hashlib, sys, types
sys.modules["hf_attention"] = types.ModuleType("hf_attention")
sys.modules["hf_attention"].__path__ = [{str(Path(hf_attention.__file__).parent)!r}]
from hf_attention.scenes.captions import describe
from hf_attention.scenes.layout import make_scene
scene = make_scene(1, "test", 2)
print(hashlib.sha256(scene.draw().tobytes() + repr(describe(scene)).encode()).hexdigest())
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


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`split`.*train.*'dev'"):
        make_scene(0, "dev", 0)
    with pytest.raises(ValueError, match="`image_size`.*16"):
        make_scene(0, "train", 0, image_size=16)
    with pytest.raises(ValueError, match="`index`"):
        make_scene(0, "train", -1)
    with pytest.raises(ValueError, match="`variety` must be one of 6, 12, got 7"):
        make_scene(0, "train", 0, variety=7)
