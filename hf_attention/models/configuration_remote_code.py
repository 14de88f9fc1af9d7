"""Configurations whose checkpoints also work where this package is not installed."""

import copy
import os
import re
from collections.abc import Iterable
from typing import Any

from packaging.version import Version
from transformers import Pipeline
from transformers.utils import logging

from .declaration import DECLARATIONS, name_in_code
from .remote_code import save_code
from .versions import OF_TRANSFORMERS, BaseConfig, __version__, strict


logger = logging.get_logger(__name__)


class _CustomPipelines(dict):
    """
    What config.json says of each task's pipeline, also by the task's other names, among them every
    `translation_xx_to_yy`: transformers looks for the name as a user wrote it.
    """

    def _find(self, name: object) -> dict | None:
        for task, entry in self.items():
            is_pair = entry.get("names_languages") and re.fullmatch(f"{task}_.+_to_.+", str(name))
            if name in (task, *entry.get("aliases", ())) or is_pair:
                return entry
        return None

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def __missing__(self, name: str) -> dict:
        entry = self._find(name)
        if entry is None:
            raise KeyError(name)
        return entry


@strict
class RemoteCodeConfig(BaseConfig):
    """
    Names the classes and pipelines that travel with a checkpoint in the config.json it saves, and the version of this
    package.

    Raises:
        ValueError: Where a newer version has saved it, with fields that this one does not know.
    """

    def __post_init__(self, **kwargs):
        # `custom_pipelines` in a loaded config.json closes the registered pipeline to those who do not trust remote
        # code. It is needed only where this class itself is remote code.
        custom_pipelines = kwargs.pop("custom_pipelines", None)
        if custom_pipelines is not None and type(self).__module__.startswith("transformers_modules"):
            self.custom_pipelines = _CustomPipelines(custom_pipelines)
        saved_by = kwargs.pop("hf_attention_version", __version__)
        self._check_unknown(kwargs, saved_by)
        super().__post_init__(**kwargs)

    def _check_unknown(self, names: Iterable[str], saved_by: str) -> None:
        unknown = sorted(name for name in names if not name.startswith("_") and name not in OF_TRANSFORMERS)
        if unknown and Version(saved_by) > Version(__version__):
            raise ValueError(
                f"hf_attention {__version__} does not know {unknown} of this {type(self).__name__}, saved by "
                f"hf_attention {saved_by}: install that version or a newer one."
            )
        if unknown:
            logger.warning(f"{type(self).__name__} has no fields {unknown}: they are kept, and change nothing.")

    def pipeline_classes(self) -> tuple[type[Pipeline], ...]:
        """The pipelines of the model."""
        declaration = DECLARATIONS.get(self.model_type)
        return () if declaration is None else declaration.pipelines

    def named_classes(self) -> list[type]:
        """The classes that its fields name. Where they are other people's, a checkpoint carries their code, too."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """As [`~transformers.PreTrainedConfig.to_dict`], without the folders that its parts were loaded from."""
        values = super().to_dict()
        _forget_names(list(values.values()))
        return values

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs):
        """
        Saves as any configuration, and beside it the code of what the model declares. config.json names its classes
        and pipelines.
        """
        config = copy.deepcopy(self)
        config.hf_attention_version = __version__
        declaration = DECLARATIONS.get(self.model_type)
        if declaration is None or type(self).__module__ == "__main__":
            super(RemoteCodeConfig, config).save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
            return
        # What a loaded config.json says of other classes than the declared ones stays.
        declared = {name_in_code(each) for each in declaration.code()}
        inherited = {
            auto_class: name
            for auto_class, name in (getattr(self, "auto_map", None) or {}).items()
            if not (isinstance(name, str) and name.rpartition("--")[2] in declared)
        }
        config.auto_map = declaration.auto_map(self.architectures) | inherited
        if self.pipeline_classes():
            config.custom_pipelines = self._custom_pipelines()
        super(RemoteCodeConfig, config).save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        save_code(save_directory, [*declaration.code(), *self.pipeline_classes()], self.named_classes())

    def _custom_pipelines(self) -> dict[str, dict]:
        return {
            each.task_name: {
                "impl": name_in_code(each),
                "pt": [each.auto_class.__name__],
                "type": each.modality,
                "aliases": list(each.task_aliases),
                "names_languages": each.names_languages,
            }
            for each in self.pipeline_classes()
        }


def _forget_names(values: Any) -> None:
    if isinstance(values, dict):
        values.pop("_name_or_path", None)
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            _forget_names(value)
