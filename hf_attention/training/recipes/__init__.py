"""Recipes: files of a task's options, beside this module those behind the measured models."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ...arguments import CheckedArguments, check_option


TASK = "train"  # under which a recipe says what it trains
SUFFIXES = (".json", ".yaml", ".yml")


@dataclass
class RecipeArguments(CheckedArguments):
    """Where options come from that are not typed."""

    recipe: str | None = field(
        default=None,
        metadata={
            "help": "A recipe of the package, such as flickr8k, or a YAML or JSON file of options. Those that are "
            "typed win over it."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # What a run writes down is what it read, whatever becomes of the file.
        self.contents = {} if self.recipe is None else read_recipe(self.recipe)


def recipe_names() -> list[str]:
    """The recipes that the package has."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.yaml"))


def recipe_file(recipe: str) -> Path:
    """
    Where a recipe lies.

    Args:
        recipe (`str`): One of [`recipe_names`], or a file.

    Raises:
        ValueError: Where it is neither.
    """
    names = recipe_names()
    if recipe in names:
        return Path(__file__).with_name(f"{recipe}.yaml")
    file = Path(recipe)
    if not os.path.isfile(file):  # `Path.is_file` raises where a name is too long
        raise ValueError(
            f"`recipe` must be a file, or one of {', '.join(names)}, got {recipe!r}.{_did_you_mean(recipe, names)}"
        )
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(f"`recipe` must be a file that ends in one of {', '.join(SUFFIXES)}, got {recipe!r}.")
    return file


def read_recipe(recipe: str) -> dict[str, Any]:
    """
    What a recipe says: by `train` of which task it is, and the options.

    Args:
        recipe (`str`): One of [`recipe_names`], or a file.

    Raises:
        ValueError: Where there is none, or it does not map names to values.
    """
    file = recipe_file(recipe)
    try:
        text = file.read_text(encoding="utf-8-sig")  # Windows puts a mark before it
        if file.suffix.lower() == ".json":
            contents = json.loads(text, object_pairs_hook=_each_once)
        else:
            contents = yaml.load(text, _Loader)
    except (OSError, RecursionError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"The recipe {recipe!r} cannot be read: {error}") from error
    if not isinstance(contents, dict) or not all(isinstance(name, str) for name in contents):
        raise ValueError(f"The recipe {recipe!r} must be lines `name: value`, got {type(contents).__name__}.")
    return contents


def check_recipe(recipe: str, task: str, options: Mapping[str, tuple[Any, tuple[Any, ...]]]) -> dict[str, Any]:
    """
    The options of a recipe.

    Args:
        recipe (`str`):
            One of [`recipe_names`], or a file.
        task (`str`):
            What is trained, as `hf-attention train` calls it.
        options (`Mapping[str, tuple]`):
            The task's: of each its type, and what else is said beside it.

    Returns:
        `dict[str, Any]`: Their values.

    Raises:
        ValueError: Where the recipe is of another task, or has an option that the task has not, or a value that this
            cannot have; the message names the recipe.
    """
    values = read_recipe(recipe)
    if TASK not in values:
        raise ValueError(f"The recipe {recipe!r} does not say what it trains: a line `{TASK}: {task}`.")
    if (other := values.pop(TASK)) != task:
        raise ValueError(f"The recipe {recipe!r} is to train {other!r}, and here {task!r} is trained.")
    for name, value in values.items():
        if name not in options:
            near = _did_you_mean(name, options)
            raise ValueError(f"The recipe {recipe!r} has an option that {task!r} has not, `{name}`.{near}")
        try:
            check_option(name, value, *options[name])
        except ValueError as error:
            raise ValueError(f"In the recipe {recipe!r}, {error}") from error
    return values


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    values = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"`{name}` is there twice.")
        values[name] = value
    return values


class _Loader(yaml.SafeLoader):
    """
    Takes words and numbers as YAML 1.2 does: `no` and 1:30 are words, and 5e-4 a number. A name may be there once.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _each_once((key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode))
        return super().construct_mapping(node, deep)


_BOOL, _FLOAT, _INT, _TIME = (f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "timestamp"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _FLOAT, _INT, _TIME)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
# Without leading zeros, which PyYAML takes for base 8.
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9]\d*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"(?:[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
    list("-+.0123456789"),
)
