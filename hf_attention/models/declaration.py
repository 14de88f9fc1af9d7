"""What a model says of itself, in one place: its Auto classes, its processor or tokenizer, its pipelines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from transformers import (
    AutoProcessor,
    AutoTokenizer,
    Pipeline,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from .remote_code import CarriesCode


@dataclass(frozen=True)
class Declaration:
    """
    What [`declare`] was told.

    Args:
        config_class (`type`): The configuration.
        classes (`Mapping[type, tuple[type, ...]]`): The classes that each Auto class loads.
        processor (`type`, *optional*): The processor or tokenizer.
        pipelines (`tuple[type, ...]`): The pipelines.
        task (`str`, *optional*): The task that it is for.
    """

    config_class: type[PreTrainedConfig]
    classes: Mapping[type, tuple[type[PreTrainedModel], ...]]
    processor: type[ProcessorMixin | PreTrainedTokenizerBase] | None
    pipelines: tuple[type[Pipeline], ...]
    task: str | None

    @property
    def processor_auto_class(self) -> type:
        """What loads the processor."""
        return AutoProcessor if issubclass(self.processor, ProcessorMixin) else AutoTokenizer

    def model_classes(self) -> Iterator[type[PreTrainedModel]]:
        """Every class of the model, the first again where several Auto classes load it."""
        for classes in self.classes.values():
            yield from classes

    def generating_class(self) -> type[PreTrainedModel]:
        """The class that has `generate()`."""
        return next(each for each in self.model_classes() if each.can_generate())

    def auto_map(self, architectures: Sequence[str] | None) -> dict[str, str]:
        """
        What config.json says of the code beside it. Of several heads that one Auto class loads, it is the one that was
        saved, and no Auto class loads another.

        Args:
            architectures (`Sequence[str]`, *optional*): The names of the classes that were saved.
        """
        other_heads = set()
        for heads in self.classes.values():
            saved = next((head for head in heads if head.__name__ in (architectures or ())), heads[0])
            other_heads |= {head for head in heads if head is not saved}
        auto_map = {"AutoConfig": name_in_code(self.config_class)}
        for auto_class, heads in self.classes.items():
            for head in heads:
                if head not in other_heads:
                    auto_map[auto_class.__name__] = name_in_code(head)
        return auto_map

    def code(self) -> list[type]:
        """The classes whose modules a checkpoint carries."""
        processor = [self.processor] if has_own_code(self.processor) else []
        return [self.config_class, *self.model_classes(), *processor, *self.pipelines]


# By `model_type`: a checkpoint's own code may have its configuration from another copy of a module than its model.
DECLARATIONS: dict[str, Declaration] = {}
# Hear of each new declaration. The package registers it; in the code of a checkpoint nobody does.
LISTENERS: list[Callable[[Declaration], None]] = []


def declare(
    config_class: type[PreTrainedConfig],
    classes: Mapping[type, type[PreTrainedModel] | tuple[type[PreTrainedModel], ...]],
    processor: type[ProcessorMixin | PreTrainedTokenizerBase] | None = None,
    pipelines: Sequence[type[Pipeline]] = (),
    task: str | None = None,
) -> None:
    """
    Declares a model, once, at the end of the module that holds it. Auto classes and `pipeline` know it from then on,
    and its checkpoints carry its code and these classes'.

    Args:
        config_class (`type`):
            The configuration, a subclass of [`AttentionDecoderConfig`]; its `model_type` is what `AutoConfig` goes by.
        classes (`Mapping`):
            The class that each Auto class loads; of a tuple, the one that the checkpoint's `architectures` name, else
            the first.
        processor (`type`, *optional*):
            The processor or tokenizer. The code of a processor travels where it is a [`CarriesCode`].
        pipelines (`Sequence[type]`, *optional*):
            Pipelines, each of which says to which task it answers: [`GeneratingPipeline`].
        task (`str`, *optional*):
            The task that the model is for. Defaults to the first pipeline's.

    Example:

    ```python
    >>> declare(AudioConfig, {AutoModel: AudioModel, AutoModelForSpeechSeq2Seq: AudioForConditionalGeneration})
    ```
    """
    classes = {auto: heads if isinstance(heads, tuple) else (heads,) for auto, heads in classes.items()}
    if task is None and pipelines:
        task = pipelines[0].task_name
    declaration = Declaration(config_class, classes, processor, tuple(pipelines), task)
    config_class.register_for_auto_class()
    for auto_class, heads in reversed(classes.items()):  # a class that several load is the first one's
        for head in heads:
            head.register_for_auto_class(auto_class.__name__)
    if has_own_code(processor):
        processor.register_for_auto_class(declaration.processor_auto_class.__name__)
    DECLARATIONS[config_class.model_type] = declaration
    for listener in LISTENERS:
        listener(declaration)


def name_in_code(each: type) -> str:
    """
    How config.json names a class: by the file beside it.

    Args:
        each (`type`): The class.
    """
    return f"{each.__module__.rpartition('.')[2]}.{each.__name__}"


def has_own_code(processor: type | None) -> bool:
    """
    Whether a processor is saved with its code, rather than transformers' own.

    Args:
        processor (`type`, *optional*): The processor or tokenizer.
    """
    return processor is not None and issubclass(processor, CarriesCode)
