"""The command line of a task: its groups of options, some of which are fields of a model's configuration."""

import argparse
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from transformers import PreTrainedConfig

from ..arguments import CheckedArguments, OptionParser
from ..models.ranges import notes_of_fields
from .loop.checkpoints import check_nothing_needed_is_removed
from .recipes import RecipeArguments, check_recipe


Groups = TypeVar("Groups", bound=tuple)

NONE = "none"  # what says `None` where that is one of the choices


@dataclass
class ConfigurationOptions(CheckedArguments):
    """Options that are fields of a configuration, under the same names. [`configuration_options`] makes subclasses."""

    def config_kwargs(self) -> dict[str, Any]:
        """
        The fields as keyword arguments of the configuration. A `context_gate` that is left open is there wherever the
        attention allows it.
        """
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if values["context_gate"] is None:
            values["context_gate"] = values["attention_type"] != NONE and values["attention_order"] == "before_rnn"
        return {name: None if value == NONE else value for name, value in values.items()}


def configuration_options(
    name: str,
    config_class: type[PreTrainedConfig],
    defaults: Mapping[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
) -> type[ConfigurationOptions]:
    """
    Makes the options of a model: those fields of its configuration that the configuration itself names, with its
    types, choices, ranges, defaults and words.

    Args:
        name (`str`):
            Name of the class.
        config_class (`type`):
            The configuration. Its `command_line_options` are the fields, its `choices` what these may be.
        defaults (`Mapping[str, Any]`, *optional*):
            Where the task's recipe has another default than the configuration. `None` leaves the choice to what makes
            the model.
        notes (`Mapping[str, str]`, *optional*):
            What the help says behind the configuration's words.

    Returns:
        `type`: A dataclass for `HfArgumentParser`.
    """
    defaults, notes = defaults or {}, notes or {}
    annotations = notes_of_fields(config_class)
    words = _documented_fields(config_class)
    entries = []
    for option in config_class.command_line_options:
        choices = config_class.choices.get(option)
        default = defaults[option] if option in defaults else getattr(config_class, option)
        if choices is not None and default is None and None in choices:
            default = NONE
        annotation, ranges = annotations[option]
        kind = _kind(annotation, choices)
        text = " ".join(filter(None, (words.get(option), notes.get(option)))).replace("%", "%%")
        entry = field(default=default, metadata={"help": text})
        kind = kind | None if default is None else kind
        entries.append((option, Annotated[(kind, *ranges)] if ranges else kind, entry))
    return make_dataclass(name, entries, bases=(ConfigurationOptions,))


def _kind(annotation: Any, choices: Sequence[str | None] | None) -> Any:
    """What a word of the command line is read as."""
    if choices is not None:
        return Literal[tuple(NONE if choice is None else choice for choice in choices)]
    kinds = [kind for kind in get_args(annotation) or [annotation] if kind is not NoneType]
    return float if float in kinds else kinds[0]  # of numbers, the configurations take either kind


def _documented_fields(config_class: type) -> dict[str, str]:
    """What the docstrings of a configuration and its bases say of each field, on one line."""
    found = {}
    for each in reversed(config_class.__mro__):
        text = inspect.cleandoc(vars(each).get("__doc__") or "")
        for name, description in re.findall(r"^    (\w+) \(.*\):\n((?: {8}.*\n?)+)", text, re.MULTILINE):
            found[name] = " ".join(description.split())
    return found


class TaskParser(OptionParser):
    """
    Reads the command line of a task, and the recipe that it names.

    Args:
        task (`str`):
            What is trained, as `hf-attention train` calls it.
        groups (`Sequence[type]`):
            Dataclasses of options, [`~hf_attention.training.recipes.RecipeArguments`] among them.
        kwargs:
            What `argparse.ArgumentParser` takes.
    """

    def __init__(self, task: str, groups: Sequence[type], **kwargs):
        super().__init__(list(groups), **kwargs)
        self.task = task
        self.recipe: str | None = None
        groups = (group for group in groups if group is not RecipeArguments)  # a recipe names no other
        self.options = {name: entry for group in groups for name, entry in notes_of_fields(group).items()}

    def read(self, argv: Sequence[str] | None = None) -> list[Any]:
        try:
            return super().read(argv)
        except ValueError as error:
            if self.recipe is None:
                raise
            raise ValueError(f"{error} (Some options are those of the recipe {self.recipe!r}.)") from error

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As every parser does; what the recipe says takes the place of the defaults."""
        required = [action for action in self._actions if action.required]
        for action in required:
            action.required = False
        recipe = super().parse_known_args(args)[0].recipe
        values = {} if recipe is None else check_recipe(recipe, self.task, self.options)
        self.set_defaults(**values)
        self.recipe = recipe
        for action in required:
            action.required = action.dest not in values
        return super().parse_known_args(args, namespace)


def parse_arguments(task: str, groups: type[Groups], defaults: Mapping[str, Any], description: str | None) -> Groups:
    """
    Reads the command line.

    Args:
        task (`str`):
            What is trained, as `hf-attention train` calls it.
        groups (`type`):
            A `NamedTuple` whose fields are dataclasses of options.
        defaults (`Mapping[str, Any]`):
            The task's own, in place of the dataclasses'.
        description (`str`, *optional*):
            What the help begins with.

    Returns:
        `NamedTuple`: One instance of each dataclass.

    Raises:
        ValueError:
            Where a value is none that is allowed, the recipe is no such, or `overwrite_output_dir` would remove what
            an option names.
    """
    parser = TaskParser(task, list(get_type_hints(groups).values()), description=description)
    parser.set_defaults(**defaults)
    arguments = groups(*parser.read())
    check_nothing_needed_is_removed(arguments.loop, arguments)
    return arguments


def changed_options(arguments: Any, defaults: Mapping[str, Any] | None = None) -> set[str]:
    """
    The names of the options that differ from their defaults.

    Args:
        arguments:
            An instance of a dataclass of options.
        defaults (`Mapping[str, Any]`, *optional*):
            The task's own, in place of the dataclass's.
    """
    defaults = {entry.name: entry.default for entry in fields(arguments)} | dict(defaults or {})
    return {entry.name for entry in fields(arguments) if getattr(arguments, entry.name) != defaults[entry.name]}


def refuse_options(argument: str, given: set[str]) -> None:
    """
    Args:
        argument (`str`):
            The option that names something ready made.
        given (`set[str]`):
            Those of the options given that only say how to make one.

    Raises:
        ValueError: If there are any.
    """
    if given:
        names = ", ".join(f"`{name}`" for name in sorted(given))
        raise ValueError(
            f"Leave out {names}: with `{argument}`, what it names has its own. Options of a recipe are meant, too."
        )
