import itertools
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    AutoTokenizer,
)

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionEnsembleForConditionalGeneration,
    AttentionSeq2SeqConfig,
    AttentionVQAConfig,
    RecurrentLMConfig,
    checkpoint,
)
from hf_attention.training.tasks.pretrained import PretrainedArguments


CLASSES = {
    "scenes-captioner": (AttentionCaptionerConfig, AutoModelForImageTextToText, AutoProcessor),
    "scenes-answerer": (AttentionVQAConfig, AutoModelForVisualQuestionAnswering, AutoProcessor),
    "toy-translator": (AttentionSeq2SeqConfig, AutoModelForSeq2SeqLM, AutoTokenizer),
    "scenes-writer": (RecurrentLMConfig, AutoModelForCausalLM, AutoTokenizer),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_is_trained_in_float32(name: str, tmp_path: Path) -> None:
    config_class, *classes = CLASSES[name]
    model_class, processor_class = classes
    model_class.from_pretrained(checkpoint(name), dtype=torch.bfloat16).save_pretrained(tmp_path)
    processor_class.from_pretrained(checkpoint(name)).save_pretrained(tmp_path)
    model, processor = PretrainedArguments(str(tmp_path)).load(*classes)
    assert model.dtype == torch.float32 and isinstance(model.config, config_class)
    assert type(processor) is type(processor_class.from_pretrained(checkpoint(name)))


@pytest.mark.parametrize("given, wanted", [*itertools.permutations(CLASSES, 2)])
def test_a_model_of_another_task_is_refused(given: str, wanted: str) -> None:
    kinds = [CLASSES[name][0].model_type for name in (given, wanted)]
    with pytest.raises(ValueError, match="is of the model type '{}', and this goes on from '{}'".format(*kinds)):
        PretrainedArguments(given).check(CLASSES[wanted][0])


def test_an_ensemble_is_refused(tmp_path: Path) -> None:
    member = AutoModelForSeq2SeqLM.from_pretrained(checkpoint("toy-translator"))
    AttentionEnsembleForConditionalGeneration.from_members([member, member]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'attention_ensemble', and this goes on from 'attention_seq2seq'"):
        PretrainedArguments(str(tmp_path)).check(AttentionSeq2SeqConfig)


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("toy-translator"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    missing = next(name for name in weights if name.endswith("bias"))
    del weights[missing]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"is no whole model: it lacks {missing}"):
        PretrainedArguments(str(folder)).load(*CLASSES["toy-translator"][1:])


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no model; the folder of a run does"):
        PretrainedArguments(str(tmp_path)).check(AttentionSeq2SeqConfig)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(OSError, match="not a valid JSON file"):
        PretrainedArguments(str(tmp_path)).check(AttentionSeq2SeqConfig)
    with pytest.raises(OSError, match="`model_name_or_path` 'runs/nothing' is no folder here, and the Hub gives none"):
        PretrainedArguments("runs/nothing").check(AttentionSeq2SeqConfig)
    assert PretrainedArguments().check(AttentionSeq2SeqConfig) == {}


def test_a_file_is_no_model() -> None:
    with pytest.raises(ValueError, match="config.json' is a file: give the folder"):
        PretrainedArguments(f"{checkpoint('toy-translator')}/config.json").check(AttentionSeq2SeqConfig)


def test_a_name_that_is_nearly_a_shipped_model() -> None:
    with pytest.raises(ValueError, match="Did you mean toy-translator\\?"):
        PretrainedArguments("toy-translater").check(AttentionSeq2SeqConfig)
