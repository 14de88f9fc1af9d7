"""How a pipeline's arguments, its model's settings and the task's defaults make the arguments of `generate()`."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset, IterableDataset
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    GenerationMixin,
    Pipeline,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pipelines.base import load_assistant_model
from transformers.utils import ModelOutput

from .versions import with_stated_max_length


class Stream(IterableDataset):
    """
    What a pipeline reads item by item, as it is asked for answers: every transformers takes a data set so.

    Args:
        items (`Iterable`): The items.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


class CheckedDataset(Dataset):
    """
    A data set whose items are checked as they are read.

    Args:
        items (`Dataset`): The data set.
        check (`Callable`): As [`checked`] takes it.
    """

    def __init__(self, items: Dataset, check: Callable[[Any], None]) -> None:
        self.items = items
        self.check = check

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        return _checked(self.items[position], position, self.check)


def checked(items: Iterable[Any], check: Callable[[Any], None]) -> Iterator[Any]:
    """
    The items one by one, checked as they come.

    Args:
        items (`Iterable`): The items.
        check (`Callable`): Raises a `TypeError` or `ValueError` where one is none that the pipeline takes.

    Raises:
        TypeError, ValueError: The error of `check`, which then tells the place of the item.
    """
    for position, item in enumerate(items):
        yield _checked(item, position, check)


def _checked(item: Any, position: int, check: Callable[[Any], None]) -> Any:
    try:
        check(item)
    except (TypeError, ValueError) as error:
        raise type(error)(f"At position {position} (counted from 0): {error}") from None
    return item


def as_list(values: Any) -> Any:
    """
    The strings or objects of a tuple, a column of pandas or an array of numpy in a list; all else as it is.

    Args:
        values: Anything.
    """
    if isinstance(values, tuple):
        return list(values)
    return values.tolist() if getattr(getattr(values, "dtype", None), "kind", None) in ("O", "U") else values


def has_no_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """
    Whether a tokenizer is what AutoTokenizer makes of a checkpoint without the tokenizer's files: special tokens, and
    of some classes one more, such as the mark of a space.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer.
    """
    return len(tokenizer) <= len(tokenizer.all_special_ids) + 1


class GeneratingPipeline(Pipeline):
    """
    A pipeline whose model may generate. Generation goes by the arguments of the call, then those given here, then the
    model's generation configuration, then `generation_defaults`. A `generation_config` of the call stands for what is
    given here and for `generation_defaults`.

    Args:
        model (`PreTrainedModel`): The model.
        assistant_model (`str` or `PreTrainedModel`, *optional*): Drafts tokens, which the model then checks.
        assistant_tokenizer (`PreTrainedTokenizerBase`, *optional*): The assistant's, where it is another.
        kwargs: What [`~transformers.Pipeline`] takes, and defaults for the arguments of a call.

    Raises:
        ValueError: An assistant is given to a model that does not generate.
    """

    # The version of this logic that a transformers has itself differs from minor to minor.
    _pipeline_calls_generate = False
    # Until 5.3 `save_pretrained` reads it, and nothing sets it.
    modelcard = None

    # The task that it answers to, other names of it, and whether `task_xx_to_yy` is one.
    task_name: ClassVar[str]
    task_aliases: ClassVar[tuple[str, ...]] = ()
    names_languages: ClassVar[bool] = False
    # What transformers calls the kind of its inputs: `"text"`, `"image"`, `"audio"`, `"multimodal"`.
    modality: ClassVar[str] = "text"
    # Loads the model, and an assistant that is given by its name.
    auto_class: ClassVar[type] = AutoModelForSeq2SeqLM

    generation_defaults: ClassVar[dict[str, Any]] = {"max_new_tokens": 256}
    # What configurations of before `generation_config.json` wrote out, whether anybody had wished it or not.
    old_defaults: ClassVar[dict[str, Any]] = {"max_length": 20, "num_beams": 1}
    # Named as an argument of generate(), but asking for something in the answers.
    answer_params: ClassVar[tuple[str, ...]] = ("output_attentions",)

    @staticmethod
    def generation_params(generate_kwargs: dict[str, Any] | None, **arguments: Any) -> dict[str, Any]:
        """
        The arguments of a call that go to `generate()`, however they are given.

        Args:
            generate_kwargs (`dict`, *optional*): Those in a `dict`.
            arguments: Those beside it.

        Raises:
            ValueError: Where one is given both ways.
        """
        params = dict(generate_kwargs or {})
        if twice := sorted(params.keys() & arguments.keys()):
            raise ValueError(f"`{twice[0]}` is given twice: as an argument, and in `generate_kwargs`.")
        return params | arguments

    def __init__(
        self,
        model: PreTrainedModel,
        assistant_model: str | PreTrainedModel | None = None,
        assistant_tokenizer: Any = None,
        **kwargs: Any,
    ) -> None:
        self._generate_kwargs: dict[str, Any] = {}
        if model.can_generate():
            names = {name for name in vars(GenerationConfig()) if not name.startswith("_")} | {"generation_config"}
            names -= set(self.answer_params)
            self._generate_kwargs = {name: kwargs.pop(name) for name in names & kwargs.keys()}
        elif assistant_model is not None:
            raise ValueError(f"`assistant_model`: a {type(model).__name__} does not generate.")
        if isinstance(assistant_model, str):
            # transformers knows no classes but its own for a name.
            if assistant_tokenizer is None:
                assistant_tokenizer = AutoTokenizer.from_pretrained(assistant_model)
            assistant_model = self.auto_class.from_pretrained(assistant_model, dtype=model.dtype)
        super().__init__(model=model, **kwargs)
        if assistant_model is not None:
            assistant_model.to(self.model.device)
        self.assistant_model, self.assistant_tokenizer = load_assistant_model(
            self.model, assistant_model, assistant_tokenizer
        )

    def prepare_generate_kwargs(self, generate_kwargs: dict[str, Any], **overrides: Any) -> dict[str, Any]:
        """
        What `generate()` is called with.

        Args:
            generate_kwargs (`dict`):
                Arguments of the call. Where they hold a `generation_config`, those given to the pipeline itself do not
                count, nor do `generation_defaults`.
            overrides: What goes before all of them.

        Returns:
            `dict`: Arguments of `generate()`.
        """
        generate_kwargs = with_one_limit(generate_kwargs)
        defaults: dict[str, Any] = {}
        if generate_kwargs.get("generation_config") is None:
            generate_kwargs = with_one_limit(self._generate_kwargs) | generate_kwargs
            defaults = self.generation_defaults
        asked = self.asked_for(generate_kwargs)
        added = {name: value for name, value in defaults.items() if asked.get(name) is None}
        if asked.get("max_length") is not None:
            added.pop("max_new_tokens", None)  # it would win
        if not {"num_beams", "generation_config"} & generate_kwargs.keys() and not asked.get("do_sample"):
            # The model's own beams may be too few for what is asked.
            if (asked.get("num_return_sequences") or 1) > (asked.get("num_beams") or 1):
                added |= {name: value for name, value in defaults.items() if name == "num_beams"}
        pad_token_id = getattr(self.tokenizer, "pad_token_id", None)
        if pad_token_id is not None and "pad_token_id" not in asked:
            added["pad_token_id"] = pad_token_id
        if asked.get("output_scores"):
            added["return_dict_in_generate"] = True  # or they would get lost
        added |= overrides
        assistant = {}
        if self.assistant_model is not None:
            assistant["assistant_model"] = self.assistant_model
        if self.assistant_tokenizer is not None:
            assistant |= {"tokenizer": self.tokenizer, "assistant_tokenizer": self.assistant_tokenizer}
        generate_kwargs = assistant | generate_kwargs
        config = generate_kwargs.get("generation_config")
        if type(self.model).generate is not GenerationMixin.generate and not hasattr(self.model, "special_tokens"):
            # It (BLIP, BLIP-2, Kosmos-2) hands its arguments on to a part, whose generate() knows nothing of the
            # whole's configuration; but BLIP names two tokens itself.
            own = {"eos_token_id", "pad_token_id"} if self.model.config.model_type == "blip" else set()
            names = vars(GenerationConfig()).keys() - (own - generate_kwargs.keys())
            settings = {name: value for name, value in (asked | with_one_limit(added)).items() if name in names}
            generate_kwargs = {name: value for name, value in generate_kwargs.items() if name != "generation_config"}
            return generate_kwargs | {name: value for name, value in settings.items() if not name.startswith("_")}
        if config is None:
            generate_kwargs = generate_kwargs | with_one_limit(added)
        else:
            # generate() takes arguments beside a configuration, but warns.
            config = copy.deepcopy(config)
            config.update(**added)
            generate_kwargs = generate_kwargs | {"generation_config": config}
        return with_stated_max_length(generate_kwargs, self.model.generation_config)

    def sequences_of(
        self, outputs: torch.Tensor | ModelOutput, items: int, generate_kwargs: dict[str, Any]
    ) -> dict[str, torch.Tensor]:
        """
        What was generated, one row an item, so that a batch falls apart into items however many sequences each has.

        Args:
            outputs (`torch.Tensor` or `ModelOutput`): What `generate()` returned.
            items (`int`): The items of the batch.
            generate_kwargs (`dict`): What it was called with.

        Returns:
            `dict`: `sequences`, of shape `(items, sequences, tokens)`, and with `output_scores=True` `scores`, of
            shape `(items, sequences)`: those that beam search ranks by, or else the sum of the log-probabilities of
            the generated tokens.
        """
        if isinstance(outputs, torch.Tensor):
            return {"sequences": outputs.unflatten(0, (items, -1))}
        answers = {"sequences": outputs.sequences.unflatten(0, (items, -1))}
        scores = outputs.get("sequences_scores")
        if scores is None and outputs.get("scores") is not None:
            tokens = outputs.sequences[:, -len(outputs.scores) :]
            steps = self.model.compute_transition_scores(outputs.sequences, outputs.scores, normalize_logits=True)
            end = self.asked_for(generate_kwargs).get("eos_token_id")
            if end is not None:
                is_end = torch.isin(tokens, torch.as_tensor(end, device=tokens.device)).long()
                steps = steps.masked_fill(is_end.cumsum(1) > is_end, 0)
            scores = steps.sum(1)
        if scores is not None:
            answers["scores"] = scores.float().unflatten(0, (items, -1))
        return answers

    def asked_for(self, generate_kwargs: dict[str, Any]) -> dict[str, Any]:
        """
        What is asked of `generate()`, by its arguments or by the model's generation configuration, rather than left to
        the defaults of transformers.

        Args:
            generate_kwargs (`dict`): Arguments of `generate()`.

        Returns:
            `dict`: Settings of generation by name.
        """
        settings = self.model.generation_config.to_diff_dict()
        if hasattr(self.model, "special_tokens"):  # our models leave them to their configuration
            tokens = self.model.special_tokens(**generate_kwargs)
            settings = {name: token for name, token in tokens.items() if token is not None} | settings
        elif settings.get("_from_model_config"):
            settings = {
                name: value
                for name, value in settings.items()
                if name not in self.old_defaults or value != self.old_defaults[name]
            }
        if generate_kwargs.get("generation_config") is not None:
            settings |= generate_kwargs["generation_config"].to_diff_dict()
        return settings | generate_kwargs


def with_one_limit(generate_kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Arguments of `generate()` in which, where one of the two limits of length is asked for, the other is none, whoever
    set it.

    Args:
        generate_kwargs (`dict`): The arguments.
    """
    limits = {"max_length", "max_new_tokens"}
    asked = {name for name in limits if generate_kwargs.get(name) is not None}
    return dict.fromkeys(limits - asked) | generate_kwargs if asked else generate_kwargs
