"""Every family of sequence-to-sequence models is answered as by transformers 4.57, save for what is named here."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from common.answers_of_4_57 import families, recorded
from common.made import Made
from common.text_calls import Asked, Call, runs
from common.text_families import FAMILIES, Family, save_family
from transformers.utils import logging


RECORDED = recorded("text_families")
CALLS: dict[tuple[str, str, str], dict[str, Call]] = {}
for *key, calls in runs():
    CALLS[tuple(key)] = CALLS.get(tuple(key), {}) | calls
# Of the mapping of 4.57 that `AutoModelForSeq2SeqLM` goes by.
LEFT_OUT = {
    "gptsan-japanese": "4.57 has its name but no longer its code",
    "xlm-prophetnet": "4.57 has its name but no longer its code",
    "granite_speech": "a decoder that listens: it goes on from a text, and none would ask it for another",
    "qwen2_audio": "a decoder that listens: it goes on from a text, and none would ask it for another",
    "voxtral": "a decoder that listens: it goes on from a text, and none would ask it for another",
}


def settings(call: Call) -> dict[str, Any]:
    """What a call says of generation, itself or by its pipeline."""
    given = call.options | call.arguments
    config = given.get("generation_config")
    return given | (config.to_diff_dict() if config is not None else {})


@dataclass(frozen=True)
class Difference:
    """
    Args:
        row: What the documentation says of it.
        where: Whether it shows: the family, the task, the name of the call and the call.
        as_before: Arguments with which ours answers as 4.57 did; without any 4.57 refused, and ours answers.
    """

    row: str
    where: Callable[[Family, str, str, Call], bool]
    as_before: dict[str, Any] | None = None


DIFFERENCES = [
    Difference(
        "The model's own `num_beams` holds; 4.57 took 4 beams wherever the call did not say otherwise.",
        lambda family, task, name, call: "num_beams" in family.wishes and "num_beams" not in settings(call),
        {"num_beams": 4},
    ),
    Difference(
        "The model's own `max_new_tokens` holds; 4.57 took 256 wherever the call did not say otherwise.",
        lambda family, task, name, call: (
            "max_new_tokens" in family.wishes and not {"max_length", "max_new_tokens"} & settings(call).keys()
        ),
        {"max_new_tokens": 256},
    ),
    Difference(
        "`max_length` of a call or of `task_specific_params` holds; in 4.57 the pipeline's 256 new tokens won.",
        lambda family, task, name, call: (
            (
                ("max_length" in call.arguments and "max_length" not in family.wishes)
                or "max_length" in family.settings.get("task_specific_params", {}).get(task, {})
            )
            and "max_new_tokens" not in settings(call)
        ),
        {"max_new_tokens": 256},
    ),
    Difference(
        "`max_length` given to the pipeline goes before the model's own `max_new_tokens`; in 4.57 the latter won.",
        lambda family, task, name, call: "max_length" in call.options and family.model_type == "umt5",
        {"max_new_tokens": FAMILIES["umt5"].wishes["max_new_tokens"]},
    ),
    Difference(
        "`max_length` given to the pipeline goes before the model's own `max_new_tokens`; in 4.57 the latter won.",
        lambda family, task, name, call: "max_length" in call.options and "Seamless" in family.architecture,
        {"max_new_tokens": 256},  # a default of its configuration
    ),
    Difference(
        "A tuple of sources is answered as a list is; in 4.57 it was a `TypeError`.",
        lambda family, task, name, call: name == "tuple",
    ),
    Difference(
        "`generate_kwargs` is taken by these tasks too; in 4.57 it was a `ValueError`.",
        lambda family, task, name, call: "generate_kwargs" in settings(call),
    ),
    Difference(
        "`forced_bos_token_id` of a call goes before the one of `tgt_lang`; in 4.57 both were a `TypeError`.",
        lambda family, task, name, call: "forced_bos_token_id" in settings(call) and bool(family.codes),
    ),
    Difference(
        "The task's name may hold codes with underscores (`translation_en_XX_to_ro_RO`); in 4.57 it was a `KeyError`.",
        lambda family, task, name, call: task.count("_") > 3,
    ),
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Asked]]:
    root = tmp_path_factory.mktemp("families")
    yield Made(lambda key: Asked(save_family(key[0], root, key[1]), FAMILIES[key[0]].codes))
    logging.warning_once.cache_clear()  # other tests wait for the same warnings


@pytest.mark.parametrize("style", ["new", "old"])
@pytest.mark.parametrize("name", FAMILIES)
def test_family_is_answered_as_by_transformers_4(name: str, style: str, asked: dict[tuple[str, str], Asked]) -> None:
    wrong = []
    for task, answers in RECORDED[name][style].items():
        for call_name, expected in answers.items():
            call = CALLS[name, style, task][call_name]
            if not is_explained(name, task, call_name, call, expected, asked[name, style]):
                wrong.append((task, call_name, expected, asked[name, style](task, call)))
    assert not wrong


def is_explained(name: str, task: str, call_name: str, call: Call, expected: Any, ask: Asked) -> bool:
    """Whether the answer is the expected one, or differs as the documentation says, and no more."""
    answer = ask(task, call)
    if answer == expected or (is_refused(answer) and is_refused(expected)):
        return True
    there = [each for each in DIFFERENCES if each.where(FAMILIES[name], task, call_name, call)]
    if is_refused(expected):
        return any(each.as_before is None for each in there)
    before = {key: value for each in there for key, value in (each.as_before or {}).items()}
    return ask(task, dataclasses.replace(call, arguments=call.arguments | before)) == expected


def test_differences_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dropped_tasks.md").read_text()
    assert not [difference.row for difference in DIFFERENCES if difference.row not in page]


def is_refused(answer: Any) -> bool:
    return isinstance(answer, dict) and "raises" in answer


def test_every_family_and_call_was_recorded() -> None:
    assert {family.model_type for family in FAMILIES.values()} == set(families("text_families")) - LEFT_OUT.keys()
    assert {
        (name, style, task): list(calls)
        for name, styles in RECORDED.items()
        for style, tasks in styles.items()
        for task, calls in tasks.items()
    } == {key: list(calls) for key, calls in CALLS.items()}
