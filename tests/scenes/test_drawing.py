import dataclasses

import numpy as np

from hf_attention.scenes.scene import COLOURS, SHAPES


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
    assert checked == set(list(SHAPES)[: scenes["train"][0].variety])


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
