"""What a number may be, and that every number of every configuration is held to it."""

import math
from dataclasses import dataclass
from typing import Annotated, get_args

import pytest
from common.ranges import NUMBERS, is_number, outside

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionEnsembleConfig,
    AttentionSeq2SeqConfig,
    AttentionVQAConfig,
    RecurrentLMConfig,
)
from hf_attention.models.configuration_attention import SPECIAL_TOKEN_IDS
from hf_attention.models.declaration import DECLARATIONS
from hf_attention.models.ranges import Range, check_fields, notes_of_fields


CONFIGURATIONS = (AttentionCaptionerConfig, AttentionSeq2SeqConfig, AttentionVQAConfig, RecurrentLMConfig)
# Read off the vocabulary, which differs from configuration to configuration.
CHECKED_ELSEWHERE = SPECIAL_TOKEN_IDS


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1.5), (0.5, 0.5)])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_range_is_what_its_brackets_say(number: float, low: float, high: float) -> None:
    assert (number in Range(low, high, "[]")) == (low <= number <= high)
    assert (number in Range(low, high, "()")) == (low < number < high)
    assert (number in Range(low, high)) == (low <= number < high)
    assert (number in Range(low, brackets="()")) == (low < number < math.inf)
    assert (number in Range(low, math.inf, "[]")) == (low <= number)


@pytest.mark.parametrize(
    ("allowed", "value", "message"),
    [
        (Range(1), 0, "`size` must be at least 1, got 0."),
        (Range(0, brackets="()"), 0.0, "`size` must be above 0, got 0.0."),
        (Range(0, 1), 1.0, "`size` must lie in [0, 1), got 1.0."),
        (Range(0), math.inf, "`size` must be a finite number, got inf."),
        (Range(0, 1), math.nan, "`size` must be a finite number, got nan."),
        (Range(brackets="()"), math.inf, "`size` must be a finite number, got inf."),
        (Range(0), "1", "`size` must be a number, got '1'."),
    ],
)
def test_the_message_says_what_is_allowed(allowed: Range, value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        allowed.check("size", value)
    assert str(caught.value) == message
    allowed.check("size", None)


def test_a_subclass_may_say_something_else_of_a_field() -> None:
    @dataclass
    class Base:
        one: Annotated[int, Range(1)] = 1
        two: Annotated[int | None, Range(1)] = None

    @dataclass
    class Derived(Base):
        one: Annotated[int, Range(5)] = 5

    check_fields(Derived())
    with pytest.raises(ValueError, match="`one` must be at least 5, got 4"):
        check_fields(Derived(one=4))
    with pytest.raises(ValueError, match="`two` must be at least 1, got 0"):
        check_fields(Derived(two=0))


def ranges_of(config_class: type) -> dict[str, Range | None]:
    """The range of each field of a configuration that holds a number, as the package declares it."""
    ours = {
        name
        for each in config_class.__mro__
        if each.__module__.startswith("hf_attention.models.configuration")
        for name in vars(each).get("__annotations__", {})
    }
    found = {}
    for name, (kind, notes) in notes_of_fields(config_class).items():
        if name in ours and is_number(kind):
            found[name] = next((note for note in notes if isinstance(note, Range)), None)
    return found


def test_these_are_all_configurations() -> None:
    ours = {each.config_class for each in DECLARATIONS.values() if each.config_class.__module__.startswith("hf_att")}
    assert ours == {*CONFIGURATIONS, AttentionEnsembleConfig}
    assert not ranges_of(AttentionEnsembleConfig)


@pytest.mark.parametrize("config_class", CONFIGURATIONS)
def test_every_number_of_a_configuration_has_a_range(config_class: type) -> None:
    found = ranges_of(config_class)
    assert len(found) > 15
    assert {name for name, allowed in found.items() if allowed is None} == set(CHECKED_ELSEWHERE)
    for name, allowed in found.items():
        if allowed is None:
            continue
        takes_fractions = float in get_args(notes_of_fields(config_class)[name][0])
        values = outside(allowed)
        assert values, name
        for value in values:
            if takes_fractions or (math.isfinite(value) and value == int(value)):
                value = value if takes_fractions else int(value)
                with pytest.raises(ValueError, match=f"`{name}` "):
                    config_class(**{name: value})


@pytest.mark.parametrize("number", [0, 1])
def test_the_members_of_an_ensemble_are_held_to_theirs(number: int) -> None:
    members = [AttentionCaptionerConfig().to_dict() for _ in range(2)]
    members[number]["hidden_size"] = 0
    with pytest.raises(ValueError, match="`hidden_size` must lie in"):
        AttentionEnsembleConfig(members=members)


@pytest.mark.parametrize(
    ("config_class", "fields", "message"),
    [
        (AttentionCaptionerConfig, {"backbone_config": {}}, "`backbone_config` must say its `model_type`.*got {}"),
        (AttentionVQAConfig, {"backbone_config": {"hidden_size": 3}}, "`backbone_config` must say its `model_type`"),
        (
            AttentionVQAConfig,
            {"question_encoder_config": {"model_type": []}},
            "`question_encoder_config` must say its",
        ),
        (
            AttentionVQAConfig,
            {"question_encoder_config": {"model_type": "clip"}},
            "`question_encoder_config` must be a text encoder's, with a `hidden_size`, got CLIPConfig",
        ),
    ],
)
def test_the_configuration_of_a_part_says_of_what(config_class: type, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_class(**fields)
