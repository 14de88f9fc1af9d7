"""
Measures whether attention lies where it should, for any checkpoint of this package.

What is measured goes by the kind of model, on data that is made on the spot:

- a captioner writes captions of scenes. For every noun and every colour word of a (colour, shape) pair that is there:
  does the most attended region intersect the object's true box (pointing), and how much attention lies inside it?
- an answering model is asked about scenes: the same for the boxes that the answer depends on, its glimpses averaged,
  where it answers rightly.
- a translator reads captions in English whose translation into the toy language, and whose alignment, is known: the
  alignment error rate (Och & Ney 2003, section 5), each target word linked to the source word it looks at most.

Beside them stands chance, a region or a word taken at random; attention inside the box by chance is a uniform map's.

The deletion test paints over the most attended tenth of the regions, for each of these words or answers, or over as
many random ones, with the picture's mean colour. How often that changes the word, given the words before it, or the
answer, is compared: the difference has an interval by bootstrap over the pictures, which are drawn with both results.
"""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ...arguments import OptionParser
from ...shipped import find_checkpoint
from .answerers import Answers
from .arguments import EvaluationArguments
from .captioners import Captions
from .translators import Translations


# What is measured of a model, by its type; an ensemble is measured as its members are.
MEASURES: dict[str, type] = {
    "attention_captioner": Captions,
    "attention_vqa": Answers,
    "attention_seq2seq": Translations,
}


def measure_of(folder: str) -> type:
    """
    What measures a model.

    Args:
        folder (`str`): Folder or Hub name.

    Raises:
        ValueError: Where the model is of another kind, or does not attend.
    """
    config = AutoConfig.from_pretrained(folder)
    if config.model_type == "attention_ensemble":
        config = config.member_configs()[0]
    if config.model_type not in MEASURES:
        raise ValueError(f"{folder!r} is of type {config.model_type!r}, which is none of {', '.join(MEASURES)}.")
    name = "attention_form" if config.model_type == "attention_vqa" else "attention_type"
    if getattr(config, name) is None:
        raise ValueError(f"{folder!r} does not attend: its configuration says `{name}=None`.")
    return MEASURES[config.model_type]


def measure(folder: str, arguments: EvaluationArguments) -> dict[str, Any]:
    """
    Measures one model.

    Args:
        folder (`str`): Folder or Hub name.
        arguments (`EvaluationArguments`): On what, and how much.

    Returns:
        `dict[str, Any]`: All measures, by name.

    Raises:
        ValueError: Where the model is of another kind, or does not attend.
    """
    return measure_of(folder)(folder, arguments).measure()


def print_table(measures: dict[str, Any]) -> None:
    """
    Prints a line for each measure; chance beside it.

    Args:
        measures (`dict[str, Any]`): From [`measure`].
    """
    for name, value in measures.items():
        if isinstance(value, dict) and value.get("looks") == 0:
            print(f"  {name:<10} 0 looks")
        elif isinstance(value, dict) and "pointing" in value:
            print(
                f"  {name:<10} pointing {value['pointing']:6.1%} (chance {value['pointing_by_chance']:.1%})   "
                f"attention inside {value['attention_inside']:6.1%} (uniform {value['attention_inside_uniform']:.1%})"
                f"   {value['looks']} looks"
            )
        elif isinstance(value, dict) and value:
            print(
                f"  {name:<10} changed without the most attended tenth {value['changed_without_most_attended']:.1%}, "
                f"without as many random regions {value['changed_without_random']:.1%}: difference "
                f"{value['difference']:.1%} [{value['difference_low']:.1%}, {value['difference_high']:.1%}]"
            )
        elif isinstance(value, float):
            print(f"  {name.replace('_', ' ')} {value:.1%}")


def main(argv: list[str] | None = None) -> None:
    """
    Measures the models that the command line names.

    Args:
        argv (`list[str]`, *optional*): Its words, by default those of this process.
    """
    [arguments] = OptionParser(EvaluationArguments, description=__doc__).read(argv)
    folders = {name: find_checkpoint(name) for name in arguments.model}
    measures = {name: measure_of(folder) for name, folder in folders.items()}  # before any of the work
    results = {}
    for name, kind in measures.items():
        results[name] = kind(folders[name], arguments).measure()
        print(f"{name} ({results[name]['kind']})")
        print_table(results[name])
    print(json.dumps(results, allow_nan=False))
    if arguments.json is not None:
        Path(arguments.json).write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
