"""A model trained before, from which a run goes on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ...arguments import CheckedArguments
from ...shipped import find_checkpoint
from ..options import ConfigurationOptions, changed_options


@dataclass
class PretrainedArguments(CheckedArguments):
    """A model trained before."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Folder, shipped model or Hub name of a trained model to go on from, with what reads for it and "
            "its sizes. Of models of text, dropout and label smoothing are those of this run."
        },
    )

    def load(
        self, model_class: type[PreTrainedModel], processor_class: type, **kwargs: Any
    ) -> tuple[PreTrainedModel, Any]:
        """
        The model, in float32 whatever it was saved in, and what reads for it.

        Args:
            model_class (`type`): What loads the model.
            processor_class (`type`): What loads its tokenizer or processor.
            kwargs: Fields of the model's configuration that are those of this run.

        Raises:
            ValueError: Where weights are missing, which transformers would draw at random.
        """
        name = find_checkpoint(self.model_name_or_path)
        model, info = model_class.from_pretrained(name, dtype=torch.float32, output_loading_info=True, **kwargs)
        if missing := sorted(info["missing_keys"]):
            raise ValueError(f"{self._given} is no whole model: it lacks {', '.join(missing)}.")
        return model, processor_class.from_pretrained(name)

    def check(self, config_class: type[PreTrainedConfig]) -> dict[str, Any]:
        """
        Refuses another model, before anything costly.

        Args:
            config_class (`type`): The configuration that it must have.

        Returns:
            `dict`: What its configuration holds; nothing where no model is given.

        Raises:
            ValueError: Where it is another model, or none.
            OSError: Where there is nothing of that name.
        """
        if self.model_name_or_path is None:
            return {}
        name = find_checkpoint(self.model_name_or_path)
        if Path(name).is_file():
            raise ValueError(f"{self._given} is a file: give the folder that it lies in.")
        try:
            config = PreTrainedConfig.get_config_dict(name)[0]
        except OSError as error:
            if Path(name).exists():
                raise
            raise OSError(f"{self._given} is no folder here, and the Hub gives none: {error}") from error
        found, kind = config.get("model_type"), config_class.model_type
        if found is None:
            raise ValueError(f"{self._given} holds no model; the folder of a run does, or its `best`.")
        if found != kind:
            raise ValueError(f"{self._given} is of the model type {found!r}, and this goes on from {kind!r}.")
        return config

    @property
    def _given(self) -> str:
        return f"`model_name_or_path` {self.model_name_or_path!r}"


def split_off_regularisation(options: ConfigurationOptions) -> tuple[dict[str, Any], set[str]]:
    """
    The dropout and label smoothing of this run, and the names of the other options that differ from their defaults,
    which a trained model has already.
    """
    regularisation = {
        name: value
        for name, value in options.config_kwargs().items()
        if "dropout" in name or name == "label_smoothing"
    }
    return regularisation, changed_options(options) - regularisation.keys()
