import dataclasses
import math

from hf_attention.scenes.scene import SceneObject
from hf_attention.scenes.scores import PairCounts, named_pairs, score_pairs


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
