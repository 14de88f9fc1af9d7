import subprocess
import sys
import types
from typing import get_type_hints

import pytest
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, Pipeline, pipelines
from typing_extensions import Self

import hf_attention
from hf_attention import AttentionSeq2SeqConfig, auto
from hf_attention.models.declaration import DECLARATIONS


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_import_is_silent_and_light() -> None:
    result = run(
        "import hf_attention, sys\n"
        "assert not {'datasets', 'matplotlib', 'evaluate'} & set(sys.modules), sorted(sys.modules)"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == result.stderr == ""


def test_registering_again_changes_nothing(capfd: pytest.CaptureFixture) -> None:
    resolve = getattr(pipelines, "_resolve_deprecated_task", None)  # since transformers 5.19
    tasks = dict(pipelines.PIPELINE_REGISTRY.supported_tasks)
    hf_attention.register()
    hf_attention.register()
    assert getattr(pipelines, "_resolve_deprecated_task", None) is resolve
    assert dict(pipelines.PIPELINE_REGISTRY.supported_tasks) == tasks
    assert capfd.readouterr() == ("", "")


def test_auto_classes_know_every_model() -> None:
    needed = {"attention_ensemble": {"members": [AttentionSeq2SeqConfig(vocab_size=9).to_dict()]}}
    for model_type, declaration in DECLARATIONS.items():
        config = AutoConfig.for_model(model_type, **needed.get(model_type, {}))
        assert type(config) is declaration.config_class
        for auto_class in {AutoModel, AutoModelForImageTextToText} & set(declaration.classes):
            assert type(auto_class.from_config(config)) is declaration.classes[auto_class][0]


def test_what_loads_a_model_is_typed_as_its_class() -> None:
    for declaration in DECLARATIONS.values():
        for model_class in declaration.model_classes():
            for name in ("from_pretrained", "from_backbone_pretrained", "from_members"):
                if hasattr(model_class, name):
                    assert get_type_hints(getattr(model_class, name))["return"] is Self, (model_class, name)


def test_registered_tasks_pass_and_others_go_the_old_way() -> None:
    assert pipelines.check_task("image-to-text")[0] == "image-to-text"
    assert pipelines.check_task("ner")[0] == "token-classification"
    for task in ("visual-question-answering", "question-answering"):
        if task not in auto.PIPELINES and hasattr(pipelines, "_resolve_deprecated_task"):
            with pytest.raises(KeyError, match="has been removed from transformers|Unknown task"):
                pipelines.check_task(task)
    with pytest.raises(KeyError, match="Unknown task"):
        pipelines.check_task("no-such-task")


def test_languages_in_the_name_of_a_task() -> None:
    for name in ("translation_en_to_fr", "translation_en_XX_to_ro_RO"):
        assert pipelines.check_task(name)[:2] == pipelines.check_task("translation")[:2]
    for name in ("translation_en_fr", "translation_en_to_", "translation__to_fr", "translation_"):
        with pytest.raises(KeyError, match=f"'{name}' is no task.*translation_xx_to_yy"):
            pipelines.check_task(name)
    with pytest.raises(KeyError):
        pipelines.check_task("summarization_en_to_fr")


def test_task_comes_back_under_its_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    class AnswerPipeline(Pipeline):
        task_name = "summarization"
        task_aliases = ("answering",)
        auto_class = AutoModel

    registry = pipelines.PIPELINE_REGISTRY
    monkeypatch.setattr(registry, "supported_tasks", dict(registry.supported_tasks))
    monkeypatch.setattr(registry, "task_aliases", dict(registry.task_aliases))
    monkeypatch.setattr(auto, "PIPELINES", dict(auto.PIPELINES))
    auto.register_pipeline(AnswerPipeline)
    for name in ("summarization", "answering"):
        task, entry, _ = pipelines.check_task(name)
        assert task == "summarization"
        assert entry["impl"] is AnswerPipeline
        assert entry["pt"] == (AutoModel,)


def test_changed_transformers_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(task: str, model: str | None = None) -> str:
        return "image-text-to-text" if task == "image-to-text" else task

    is_called = hasattr(pipelines, "_resolve_deprecated_task")
    monkeypatch.setattr(pipelines, "_resolve_deprecated_task", resolve, raising=False)
    hf_attention.register()
    with pytest.raises(RuntimeError, match="pipeline_class=hf_attention.ImageToTextPipeline"):
        pipelines._resolve_deprecated_task("image-to-text")
    with pytest.raises(RuntimeError, match="'translation_en_to_fr'.*pipeline_class=hf_attention.TranslationPipeline"):
        pipelines._resolve_deprecated_task("translation_en_to_fr")
    if is_called:
        with pytest.raises(RuntimeError, match="pipeline_class"):
            pipelines.pipeline("image-to-text", model="nowhere", config=AutoConfig.for_model("blip"))
    assert pipelines._resolve_deprecated_task("text-generation", model="x") == "text-generation"


def test_transformers_without_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pipelines, "_resolve_deprecated_task", raising=False)
    hf_attention.register()
    assert not hasattr(pipelines, "_resolve_deprecated_task")
    assert isinstance(hf_attention.register, types.FunctionType)
