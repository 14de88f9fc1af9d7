"""The one table: which Auto class loads which model, and which pipeline answers to which task."""

import functools
import inspect
import re
from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    AutoTokenizer,
    Pipeline,
    PreTrainedConfig,
    pipelines,
)
from transformers.models.auto import modeling_auto

from .models.configuration_attention_captioner import AttentionCaptionerConfig
from .models.configuration_attention_ensemble import AttentionEnsembleConfig
from .models.configuration_attention_seq2seq import AttentionSeq2SeqConfig
from .models.configuration_attention_vqa import AttentionVQAConfig
from .models.configuration_recurrent_lm import RecurrentLMConfig
from .models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration, AttentionCaptionerModel
from .models.modeling_attention_ensemble import AttentionEnsembleForConditionalGeneration
from .models.modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration, AttentionSeq2SeqModel
from .models.modeling_attention_vqa import (
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
    AttentionVQAModel,
)
from .models.modeling_recurrent_lm import RecurrentLMForCausalLM, RecurrentLMModel
from .models.pipeline_image_to_text import ImageToTextPipeline
from .models.pipeline_text2text import SummarizationPipeline, Text2TextGenerationPipeline, TranslationPipeline
from .models.pipeline_visual_question_answering import VisualQuestionAnsweringPipeline
from .models.processing_attention_captioner import AttentionCaptionerProcessor
from .models.processing_attention_vqa import AttentionVQAProcessor
from .models.tokenization_attention_seq2seq import AttentionSeq2SeqTokenizer


@dataclass(frozen=True)
class ModelRow:
    """
    The Auto classes of one model type.

    Args:
        config_class: The configuration; its `model_type` is what `AutoConfig` goes by.
        classes:
            The class that each Auto class loads for this configuration; of several, the one that the checkpoint's
            `architectures` name, else the first.
    """

    config_class: type[PreTrainedConfig]
    classes: dict[type, type | tuple[type, ...]]


@dataclass(frozen=True)
class TaskRow:
    """
    The pipeline of one task.

    Args:
        pipeline_class: The pipeline.
        auto_classes: What loads its model: attributes of `transformers`, the first that can load the checkpoint.
        aliases: Other names of the task.
        names_languages: Whether `task_xx_to_yy` names it too. The pipeline reads the languages from it.
    """

    pipeline_class: type[Pipeline]
    auto_classes: tuple[type, ...]
    aliases: tuple[str, ...] = ()
    names_languages: bool = False


MODELS: tuple[ModelRow, ...] = (
    ModelRow(
        AttentionCaptionerConfig,
        {
            AutoModel: AttentionCaptionerModel,
            AutoModelForImageTextToText: AttentionCaptionerForConditionalGeneration,
            AutoProcessor: AttentionCaptionerProcessor,
        },
    ),
    ModelRow(
        AttentionSeq2SeqConfig,
        {
            AutoModel: AttentionSeq2SeqModel,
            AutoModelForSeq2SeqLM: AttentionSeq2SeqForConditionalGeneration,
            AutoTokenizer: AttentionSeq2SeqTokenizer,
        },
    ),
    ModelRow(
        AttentionVQAConfig,
        {
            AutoModel: AttentionVQAModel,
            AutoModelForVisualQuestionAnswering: (
                AttentionVQAForQuestionAnswering,
                AttentionVQAForConditionalGeneration,
            ),
            AutoModelForImageTextToText: AttentionVQAForConditionalGeneration,
            AutoProcessor: AttentionVQAProcessor,
        },
    ),
    ModelRow(
        AttentionEnsembleConfig,
        dict.fromkeys((AutoModelForImageTextToText, AutoModelForSeq2SeqLM), AttentionEnsembleForConditionalGeneration),
    ),
    ModelRow(RecurrentLMConfig, {AutoModel: RecurrentLMModel, AutoModelForCausalLM: RecurrentLMForCausalLM}),
)

TASKS: dict[str, TaskRow] = {
    "image-to-text": TaskRow(ImageToTextPipeline, (AutoModelForImageTextToText,)),
    "summarization": TaskRow(SummarizationPipeline, (AutoModelForSeq2SeqLM,)),
    "text2text-generation": TaskRow(Text2TextGenerationPipeline, (AutoModelForSeq2SeqLM,)),
    "translation": TaskRow(TranslationPipeline, (AutoModelForSeq2SeqLM,), names_languages=True),
    "visual-question-answering": TaskRow(
        VisualQuestionAnsweringPipeline, (AutoModelForVisualQuestionAnswering,), aliases=("vqa",)
    ),
}


class _TaskAliases(dict):
    """
    The other names of tasks, among them every `translation_xx_to_yy`: the registry finds the pipeline by it, and
    `pipeline` hands the pipeline the name as it was written.
    """

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or _task_with_languages(name) is not None

    def __missing__(self, name: str) -> str:
        task = _task_with_languages(name)
        if task is None:
            raise KeyError(name)
        return task

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default


class _TaskWithoutDefault(dict):
    """A task as the registry holds it; asking for its default model is an error, so none is ever downloaded."""

    def __missing__(self, key: str) -> Any:
        if key == "default":
            raise ValueError("This task has no default model: name one, as in `pipeline(task, model=...)`.")
        raise KeyError(key)


def register() -> None:
    """
    Makes the Auto classes and `transformers.pipeline` know the models and the tasks of this package.

    `import hf_attention` calls it; a second call changes nothing.
    """
    for row in MODELS:
        AutoConfig.register(row.config_class.model_type, row.config_class, exist_ok=True)
        for auto_class, model_class in row.classes.items():
            auto_class.register(row.config_class, model_class, exist_ok=True)
            if auto_class is AutoModelForCausalLM:
                # By this name `Trainer` knows that the labels are to be shifted for its own label smoothing.
                modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[row.config_class.model_type] = model_class.__name__
    registry = pipelines.PIPELINE_REGISTRY
    for task, row in TASKS.items():
        # Not through `register_pipeline`: it would have the pipeline of a foreign model write itself into that
        # model's configuration on save, which transformers without this package then refuses to load.
        registry.supported_tasks[task] = _TaskWithoutDefault(impl=row.pipeline_class, pt=row.auto_classes)
        registry.task_aliases.update(dict.fromkeys(row.aliases, task))
    if not isinstance(registry.task_aliases, _TaskAliases):
        registry.task_aliases = _TaskAliases(registry.task_aliases)
    let_registered_tasks_pass()


def let_registered_tasks_pass() -> None:
    """
    Lets the names of tasks that transformers has dropped reach its registry again.

    transformers 5 redirects or refuses such a name (`transformers.pipelines._resolve_deprecated_task`) before it looks
    into the registry of pipelines. This, the one patch of this package, wraps that function: a task or an alias that
    is in the registry passes as it is, all others go the old way. A transformers without the function needs no patch.

    Where the function no longer takes just the task, nothing can be promised of it: then asking for one of this
    package's tasks is a `RuntimeError` that names the way without, `pipeline(..., pipeline_class=...)`.
    """
    resolve = getattr(pipelines, "_resolve_deprecated_task", None)
    if resolve is None or getattr(resolve, "lets_registered_tasks_pass", False):
        return
    signature = inspect.signature(resolve)

    @functools.wraps(resolve)
    def resolve_unless_registered(*args: Any, **kwargs: Any) -> Any:
        for name in (*args, *kwargs.values()):
            if list(signature.parameters) != ["task"]:
                _refuse_own_task(name, signature)
                continue
            registry = pipelines.PIPELINE_REGISTRY
            if name in registry.supported_tasks or name in registry.task_aliases:
                return name
        return resolve(*args, **kwargs)

    resolve_unless_registered.lets_registered_tasks_pass = True
    pipelines._resolve_deprecated_task = resolve_unless_registered


def _task_with_languages(name: Any) -> str | None:
    """The task of a name such as `translation_en_to_de`; `None` of any other name."""
    for task, row in TASKS.items():
        if row.names_languages and str(name).startswith(f"{task}_"):
            if not re.fullmatch(f"{task}_.+_to_.+", name):
                raise KeyError(f"{name!r} is no task: a pair of languages is written {task}_xx_to_yy.")
            return task
    return None


def _refuse_own_task(name: Any, signature: inspect.Signature) -> None:
    for task, row in TASKS.items():
        if name in (task, *row.aliases) or (row.names_languages and str(name).startswith(f"{task}_")):
            raise RuntimeError(
                f"hf_attention cannot bring the task {name!r} back into this transformers, which has changed "
                f"`transformers.pipelines._resolve_deprecated_task{signature}`. Use a transformers that this "
                "hf_attention supports, or name a task that transformers has, and the class: "
                f"`pipeline(task, model=model, pipeline_class=hf_attention.{row.pipeline_class.__name__})`."
            )
