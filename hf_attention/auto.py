"""Makes transformers know what the models declare of themselves: Auto classes, and the tasks of pipelines."""

import functools
import inspect
import re
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Pipeline, pipelines
from transformers.models.auto import modeling_auto, tokenization_auto

from .models.declaration import DECLARATIONS, LISTENERS, Declaration


# By the names of their tasks.
PIPELINES: dict[str, type[Pipeline]] = {}


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
    Makes the Auto classes and `transformers.pipeline` know the models and the tasks of this package, and each model
    that is declared later as it is declared.

    `import hf_attention` calls it; a second call changes nothing.
    """
    if register_model not in LISTENERS:
        LISTENERS.append(register_model)
    for declaration in DECLARATIONS.values():
        register_model(declaration)
    registry = pipelines.PIPELINE_REGISTRY
    if not isinstance(registry.task_aliases, _TaskAliases):
        registry.task_aliases = _TaskAliases(registry.task_aliases)
    let_registered_tasks_pass()


def register_model(declaration: Declaration) -> None:
    """
    Makes the Auto classes and `transformers.pipeline` know a model.

    Args:
        declaration ([`Declaration`]): What it says of itself.
    """
    config_class = declaration.config_class
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    for auto_class, heads in declaration.classes.items():
        auto_class.register(config_class, heads if len(heads) > 1 else heads[0], exist_ok=True)
        if auto_class is AutoModelForCausalLM:
            # By this name `Trainer` knows that the labels are to be shifted for its own label smoothing.
            modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config_class.model_type] = heads[0].__name__
    if declaration.processor is not None:
        declaration.processor_auto_class.register(config_class, declaration.processor, exist_ok=True)
        if declaration.processor_auto_class is AutoTokenizer:
            # transformers 5.0 otherwise reads a folder without code of its own by a plain tokenizer.
            tokenization_auto.TOKENIZER_MAPPING_NAMES[config_class.model_type] = declaration.processor.__name__
    for pipeline_class in declaration.pipelines:
        register_pipeline(pipeline_class)


def register_pipeline(pipeline_class: type[Pipeline]) -> None:
    """
    Makes `transformers.pipeline` know a task.

    Args:
        pipeline_class (`type`): A pipeline that says which one, as [`GeneratingPipeline`] tells.
    """
    task = pipeline_class.task_name
    PIPELINES[task] = pipeline_class
    registry = pipelines.PIPELINE_REGISTRY
    # Not through `register_pipeline`: it would have the pipeline of a foreign model write itself into that
    # model's configuration on save, which transformers without this package then refuses to load.
    registry.supported_tasks[task] = _TaskWithoutDefault(impl=pipeline_class, pt=(pipeline_class.auto_class,))
    registry.task_aliases.update(dict.fromkeys(pipeline_class.task_aliases, task))


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
    for task, pipeline_class in PIPELINES.items():
        if pipeline_class.names_languages and str(name).startswith(f"{task}_"):
            if not re.fullmatch(f"{task}_.+_to_.+", name):
                raise KeyError(f"{name!r} is no task: a pair of languages is written {task}_xx_to_yy.")
            return task
    return None


def _refuse_own_task(name: Any, signature: inspect.Signature) -> None:
    for task, pipeline_class in PIPELINES.items():
        names_languages = pipeline_class.names_languages and str(name).startswith(f"{task}_")
        if names_languages or name in (task, *pipeline_class.task_aliases):
            raise RuntimeError(
                f"hf_attention cannot bring the task {name!r} back into this transformers, which has changed "
                f"`transformers.pipelines._resolve_deprecated_task{signature}`. Use a transformers that this "
                "hf_attention supports, or name a task that transformers has, and the class: "
                f"`pipeline(task, model=model, pipeline_class=hf_attention.{pipeline_class.__name__})`."
            )
