import itertools
from collections import Counter, defaultdict

import pytest

from hf_attention.scenes.layout import make_scene
from hf_attention.scenes.questions import KINDS, RELATIONS, ask
from hf_attention.scenes.scene import COLOURS, HELD_OUT_PAIRS, SHAPES, VARIETIES, Scene, SceneObject


SHAPE_OF = {noun: shape for shape, nouns in SHAPES.items() for noun in nouns}
PLURAL_OF = {f"{noun}{'es' if noun.endswith(('s', 'x')) else 's'}": noun for noun in SHAPE_OF}


@pytest.fixture(scope="module", params=VARIETIES, ids="{} colours and shapes".format)
def scenes(request) -> list[Scene]:
    variety = request.param
    return [make_scene(0, split, index, variety=variety) for split in ("train", "held_out") for index in range(150)]


def stands(first: SceneObject, second: SceneObject, relation: str) -> bool:
    """Read off the centres, along the axis on which they lie further apart."""
    across, down = (a - b for a, b in zip(first.centre, second.centre, strict=True))
    if relation in ("left of", "right of"):
        return abs(across) >= abs(down) and (across < 0) == (relation == "left of")
    return abs(down) > abs(across) and (down < 0) == (relation == "above")


def answer(scene: Scene, text: str) -> str:
    """What a reader of the question answers, who sees the objects."""
    things, words = scene.objects, text.removesuffix(" ?").split()

    def find(colour: str, noun: str) -> SceneObject | None:
        return next((thing for thing in things if thing.pair == (colour, SHAPE_OF[noun])), None)

    if words[:2] == ["how", "many"]:
        if words[2] == "objects":
            return str(len(things))
        if words[2] in COLOURS:
            return str(sum(thing.colour == words[2] for thing in things))
        return str(sum(thing.shape == SHAPE_OF[PLURAL_OF[words[2]]] for thing in things))
    if words[:2] == ["is", "there"]:
        return "yes" if find(words[3], words[4]) else "no"
    if words[0] == "is":
        relation = " ".join(words[4:-3])
        return "yes" if stands(find(words[2], words[3]), find(words[-2], words[-1]), relation) else "no"
    if words[0] == "where":
        first, second = find(words[3], words[4]), find(words[-2], words[-1])
        return next(side.split()[0] for side in RELATIONS if stands(first, second, side))
    if words[1] == "colour":
        [found] = [thing for thing in things if thing.shape == SHAPE_OF[words[-1]]]
    else:
        [found] = [thing for thing in things if thing.colour == words[-2]]
    return getattr(found, words[1])


def test_a_reader_gives_the_same_answers(scenes: list[Scene]) -> None:
    kinds = Counter()
    for scene in scenes:
        for question in ask(scene, 8):
            assert answer(scene, question.text) == question.answer, question
            kinds[question.kind] += 1
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 0.1 * kinds.total()


def test_the_objects_that_an_answer_depends_on(scenes: list[Scene]) -> None:
    for scene in scenes:
        for question in ask(scene, 8):
            things = [scene.objects[number] for number in question.objects]
            if question.kind in ("colour", "shape"):
                assert getattr(things[0], question.kind) == question.answer and len(things) == 1
            elif question.kind == "count":
                assert len(things) == int(question.answer)
            elif question.kind == "relation":
                assert all(thing.colour in question.text for thing in things) and len(things) == 2
            else:
                assert all(thing.colour in question.text for thing in things)
                assert bool(things) or question.answer == "no"


def test_answers_cannot_be_guessed(scenes: list[Scene]) -> None:
    """Yes is as frequent as no, and no colour or shape is much more frequent than the others."""
    answers = defaultdict(Counter)
    for scene in scenes:
        for question in ask(scene, 8):
            answers[question.kind][question.answer] += 1
    assert 0.42 < answers["yes_no"]["yes"] / answers["yes_no"].total() < 0.58
    for kind in ("colour", "shape"):
        assert max(answers[kind].values()) < 0.35 * answers[kind].total()


@pytest.mark.parametrize("variety", VARIETIES)
def test_training_does_not_say_that_held_out_pairs_are_absent(variety: int) -> None:
    named = set()
    for index in range(variety**2 * 10):
        for question in ask(make_scene(1, "train", index, variety=variety), 8):
            words = question.text.split()
            if words[:2] == ["is", "there"]:
                assert words[2] == ("an" if words[3] == "orange" else "a")
                named.add((words[3], SHAPE_OF[words[4]]))
    possible = itertools.product(list(COLOURS)[:variety], list(SHAPES)[:variety])
    assert named == set(possible) - HELD_OUT_PAIRS


def test_questions_depend_on_the_scene_alone() -> None:
    scene = make_scene(3, "test", 5)
    assert ask(scene, 8) == ask(make_scene(3, "test", 5), 8)
    assert ask(scene, 3) == ask(scene, 8)[:3]
    assert len({question.text for question in ask(scene, 12)}) == 12
    for count in (0, 13):
        with pytest.raises(ValueError, match="count"):
            ask(scene, count)
    with pytest.raises(ValueError, match="at least one object"):
        ask(Scene((), "striped"))


def test_a_kind_named_twice_is_asked_for_twice_as_often(scenes: list[Scene]) -> None:
    kinds = Counter()
    for scene in scenes:
        if len(scene.objects) > 2:  # of two objects there are few relations to ask for
            kinds.update(question.kind for question in ask(scene, 6, kinds=(*KINDS, "relation")))
    assert kinds["relation"] == pytest.approx(kinds.total() / 3, rel=0.1)
    for wrong in (("colour",), (*KINDS, "size")):
        with pytest.raises(ValueError, match="`kinds` must name all of colour, .*, got colour"):
            ask(scenes[0], kinds=wrong)
