"""The recipes of docs/trainer.md run as they stand, and what they save is a model like any other."""

import re
from pathlib import Path

import pytest
import tiny_captioner
import tiny_vqa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin, Trainer

from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionVQAForConditionalGeneration,
    RecurrentLMConfig,
    RecurrentLMForCausalLM,
)
from hf_attention.training.language_modeling import for_running_text
from hf_attention.training.tokenization import train_tokenizer


RECIPES = re.findall("```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "trainer.md").read_text(), re.DOTALL)
TEXTS = ["a small red circle left of a blue square", "belum dova pemo kavaten kumbo haska"]


def captioner() -> tuple[PreTrainedModel, ProcessorMixin]:
    return tiny_captioner.make_model(), tiny_captioner.make_processor()


def translator() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = train_tokenizer(TEXTS, min_count=1)
    sizes = {"embedding_size": 6, "hidden_size": 8, "encoder_hidden_size": 4, "attention_size": 4}
    model = AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **sizes))
    model.generation_config.max_length = 12
    return model, tokenizer


def answerer() -> tuple[PreTrainedModel, ProcessorMixin]:
    return tiny_vqa.make_model(problem_type="single_label_classification"), tiny_vqa.make_processor()


def writer() -> tuple[PreTrainedModel, ProcessorMixin]:
    return tiny_vqa.make_model(AttentionVQAForConditionalGeneration), tiny_vqa.make_processor()


def language_model() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = for_running_text(train_tokenizer(TEXTS, min_count=1))
    config = RecurrentLMConfig(vocab_size=len(tokenizer), embedding_size=6, hidden_size=6, bos_token_id=3)
    return RecurrentLMForCausalLM(config), tokenizer


MODELS = {
    "captioner": captioner,
    "translator": translator,
    "answerer": answerer,
    "writer": writer,
    "language-model": language_model,
}


@pytest.mark.parametrize("name", MODELS)
def test_recipes_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [recipe] = [each for each in RECIPES if f'from_pretrained("{name}")' in each]
    for part in MODELS[name]():
        part.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    names: dict = {}
    exec(recipe, names)
    trainer: Trainer = names["trainer"]
    losses = [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry]
    assert len(losses) == 1 and 0 < losses[0] < 100
    trainer.save_model(str(tmp_path / "saved"))
    loaded = type(trainer.model).from_pretrained(tmp_path / "saved")
    before = type(trainer.model).from_pretrained(tmp_path / name)
    weights, old = (dict(model.named_parameters()) for model in (loaded, before))
    assert any(not torch.equal(weights[each], old[each]) for each in weights), "nothing was learnt"


def test_every_recipe_is_run() -> None:
    assert len(RECIPES) == len(MODELS)
