import itertools

import pytest

from hf_attention.scenes.captions import describe
from hf_attention.scenes.layout import make_scene
from hf_attention.scenes.scene import SHAPES, Scene, SceneObject
from hf_attention.scenes.scores import named_pairs


def all_scenes(scenes: dict[str, list[Scene]]) -> list[Scene]:
    return list(itertools.chain.from_iterable(scenes.values()))


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


def test_fewer_captions_are_the_first_ones():
    scene = make_scene(0, "train", 0)
    assert describe(scene, 2) == describe(scene, 6)[:2]


def test_wrong_arguments_are_named():
    star = SceneObject("star", "red", "small", (0, 0, 12, 12))
    with pytest.raises(ValueError, match="`count`"):
        describe(Scene((star,), "cloudy"), 7)
    with pytest.raises(ValueError, match="at least one object"):
        describe(Scene((), "cloudy"))
