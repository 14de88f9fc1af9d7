"""The script that trains language models: it learns, resumes, and two processes do what one does."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common.scores import evaluate_model
from common.scripts import SCRIPTS, command_line, logged, run_script
from datasets import Dataset, DatasetDict, load_from_disk
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from hf_attention.scenes import make_translations


SMALL = {
    "embedding_size": 16,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "warmup_steps": 2,
    "logging_steps": 1,
    "learning_rate": 2e-2,
    "embedding_dropout": 0.1,
    "hidden_dropout": 0.1,
    "readout_dropout": 0.1,
    "columns": 4,
    "segment_length": 10,
    "eval_columns": 2,
    "num_train_epochs": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    splits = make_translations(train=160, validation=8, test=8)
    DatasetDict(
        {
            name: Dataset.from_dict({"text": [row["en"] for row in splits[name]["translation"]]})
            for name in ("train", "validation", "test")
        }
    ).save_to_disk(folder)
    return folder


@pytest.fixture
def train_lm(folder: Path) -> Callable:
    """Runs the script with the options given."""

    def run(**given) -> dict:
        run_script("train_lm", **{"dataset_name": folder, **SMALL, **given})
        return json.loads((Path(given["output_dir"]) / "results.json").read_text())

    return run


@pytest.mark.parametrize(
    "options",
    [
        {"num_train_epochs": 6},
        {"num_train_epochs": 6, "reset_state": True, "columns": 8},
        {"num_train_epochs": 4, "random_segments": True, "variational_dropout": True, "recurrent_weight_dropout": 0.2},
        {"num_train_epochs": 4, "attention_type": "additive", "attention_window": 5, "mixed_precision": "bf16"},
    ],
    ids=["stream", "sentences", "drops", "window"],
)
def test_it_learns(folder: Path, train_lm: Callable, tmp_path: Path, options: dict):
    results = train_lm(output_dir=tmp_path, do_test=True, **options)
    # Words in random order, by their frequencies in the test text itself, have this perplexity at least.
    counts = Counter(" ".join(f"{text} </s>" for text in load_from_disk(folder)["test"]["text"]).split())
    total = sum(counts.values())
    entropy = -sum(count / total * math.log(count / total) for count in counts.values())
    assert results["test"]["tokens"] == total
    assert results["test"]["perplexity"] < 0.6 * math.exp(entropy)
    assert len(logged(tmp_path, "perplexity")) == options["num_train_epochs"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert len(tokenizer) == model.config.vocab_size
    assert model.config.bos_token_id == tokenizer.eos_token_id
    assert (model.config.attention_type or "none") == options.get("attention_type", "none")
    generator = pipeline("text-generation", str(tmp_path), device="cpu")
    assert generator("the", max_new_tokens=5)[0]["generated_text"].startswith("the")
    assert "text-generation" in (tmp_path / "README.md").read_text()


def test_the_averaging_optimizer(train_lm: Callable, tmp_path: Path):
    options = {"optimizer": "nt_asgd", "learning_rate": 5, "max_grad_norm": 0.25, "lr_scheduler_type": "constant"}
    for wrong in ({}, {"ema_decay": 0, "average_checkpoints": 2}):
        with pytest.raises(ValueError, match="average_checkpoints" if wrong else "ema_decay"):
            train_lm(output_dir=tmp_path / "wrong", **options, **wrong)
    results = train_lm(output_dir=tmp_path / "run", ema_decay=0, nonmonotone_interval=1, num_train_epochs=6, **options)
    perplexities = logged(tmp_path / "run", "perplexity")
    assert perplexities[-1] < 0.8 * perplexities[0]
    assert results["best_epoch"] == 1 + perplexities.index(min(perplexities))


@pytest.mark.parametrize("optimizer", ["adamw", "nt_asgd"])
def test_a_run_that_was_cut_off_within_an_epoch(train_lm: Callable, tmp_path: Path, optimizer: str):
    options = {"hidden_dropout": 0.2, "optimizer": optimizer, "checkpointing_steps": 10, "save_total_limit": 99}
    if optimizer == "nt_asgd":
        options |= {"ema_decay": 0, "nonmonotone_interval": 1, "num_train_epochs": 3}
    train_lm(output_dir=tmp_path / "whole", **options)
    steps = len(logged(tmp_path / "whole", "gradient_norm")) // options.get("num_train_epochs", 2)
    assert steps > 11, "the checkpoint is to lie within an epoch"
    checkpoint = next((tmp_path / "whole").glob("checkpoint-10"))
    train_lm(output_dir=tmp_path / "resumed", resume_from_checkpoint=checkpoint, **options)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    for name, weight in whole.items():
        assert weight.equal(resumed[name]), name


def test_going_on_from_a_trained_model(folder: Path, train_lm: Callable, tmp_path: Path):
    first = train_lm(output_dir=tmp_path / "first")
    options = {
        "dataset_name": folder,
        "model_name_or_path": tmp_path / "first",
        "num_train_epochs": 2,
        "eval_columns": 2,
    }
    still = {"output_dir": tmp_path / "still", "learning_rate": 0, "hidden_dropout": 0.25}
    run_script("train_lm", **options, **still)
    results = json.loads((tmp_path / "still" / "results.json").read_text())
    assert results["validation"] == first["validation"], "a rate of 0 leaves the model as it was"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "still")
    assert (model.config.hidden_dropout, model.config.hidden_size) == (0.25, SMALL["hidden_size"])
    run_script("train_lm", **options, output_dir=tmp_path / "second", columns=4, segment_length=10, learning_rate=1e-2)
    assert logged(tmp_path / "second", "perplexity")[-1] < first["validation"]["perplexity"]
    for wrong in ({"hidden_size": 32}, {"min_count": 2}):
        with pytest.raises(ValueError, match=f"Leave out `{next(iter(wrong))}`: with `model_name_or_path`"):
            run_script("train_lm", **options, output_dir=tmp_path / "wrong", **wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"reset_state": True}, {"optimizer": "nt_asgd", "ema_decay": 0.0}],
    ids=["stream", "sentences", "nt_asgd"],
)
def test_two_processes_take_the_steps_of_one(folder: Path, train_lm: Callable, tmp_path: Path, options: dict):
    """Half of the columns each."""
    options = options | dict.fromkeys(("embedding_dropout", "hidden_dropout", "readout_dropout"), 0.0)
    one = train_lm(output_dir=tmp_path / "one", **options)
    if options.get("reset_state"):
        # Batches of sentences are shared out in turn.
        one = train_lm(
            output_dir=tmp_path / "one", overwrite_output_dir=True, gradient_accumulation_steps=2, **options
        )
    else:
        options["columns"] = 2
    arguments = command_line(**{"dataset_name": folder, **SMALL, **options}, output_dir=tmp_path / "two")
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", SCRIPTS / "train_lm.py", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-3, atol=1e-4)
    two = json.loads((tmp_path / "two" / "results.json").read_text())
    assert two["validation"]["tokens"] == one["validation"]["tokens"]
    assert two["validation"]["loss"] == pytest.approx(one["validation"]["loss"], rel=1e-3)


def test_scores_of_a_saved_model(train_lm: Callable, folder: Path, tmp_path: Path):
    results = train_lm(output_dir=tmp_path, num_train_epochs=1, do_test=True)
    for segment_length in (3, 50):
        scores = evaluate_model("perplexity", tmp_path, dataset_name=folder, segment_length=segment_length)
        assert scores["tokens"] == results["test"]["tokens"]
        assert scores["perplexity"] == pytest.approx(results["test"]["perplexity"], rel=1e-5)
    with pytest.raises(ValueError, match="context"):
        evaluate_model("perplexity", tmp_path, dataset_name=folder, context=5)


def test_scores_of_another_model(train_lm: Callable, folder: Path, tmp_path: Path):
    from transformers import GPT2Config, GPT2LMHeadModel

    train_lm(output_dir=tmp_path, num_train_epochs=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2, n_positions=20))
    other = tmp_path / "gpt2"
    model.save_pretrained(other)
    tokenizer.save_pretrained(other)
    scores = evaluate_model("perplexity", other, dataset_name=folder, segment_length=10)
    assert 0.5 * len(tokenizer) < scores["perplexity"] < 2 * len(tokenizer)
    for options in ({"context": 21}, {"columns": 2}):
        with pytest.raises(ValueError, match=next(iter(options))):
            evaluate_model("perplexity", other, dataset_name=folder, **options)


def test_a_data_set_as_others_have_it(
    folder: Path, train_lm: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A training split alone, a column of another name, and texts that are missing."""
    texts = [*load_from_disk(folder)["train"]["text"], None]
    DatasetDict(train=Dataset.from_dict({"sentence": [None, *texts]})).save_to_disk(tmp_path / "others")
    options = {"dataset_name": tmp_path / "others", "num_train_epochs": 1}
    with pytest.raises(ValueError, match="`drop_missing`"):
        train_lm(**options, output_dir=tmp_path / "run")
    results = train_lm(**options, drop_missing=True, output_dir=tmp_path / "run")
    assert "took the column 'sentence'" in caplog.text and "holding out 16 of the 162 rows" in caplog.text
    assert results["validation"]["tokens"] == sum(len(text.split()) + 1 for text in texts[-16:] if text)
    held_out = evaluate_model(
        "perplexity", tmp_path / "run", dataset_name=tmp_path / "others", drop_missing=True, split="validation"
    )
    assert held_out == pytest.approx(results["validation"])


def test_what_the_end_needs_is_there_at_the_beginning(folder: Path, train_lm: Callable, tmp_path: Path) -> None:
    splits = load_from_disk(folder)
    DatasetDict({name: splits[name] for name in ("train", "validation")}).save_to_disk(tmp_path / "untested")
    for options, message in (
        ({"dataset_name": tmp_path / "untested", "do_test": True}, "`test_split`: the data set has no split 'test'"),
        ({"metric_for_best_model": "bleu"}, "`metric_for_best_model` must be one of perplexity, loss, got 'bleu'"),
        ({"greater_is_better": True}, "`greater_is_better` must be False with `metric_for_best_model` 'perplexity'"),
        ({"learning_rate": "inf"}, "`learning_rate` must be a finite number, got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            train_lm(**options, output_dir=tmp_path / "run", overwrite_output_dir=True)
        assert not (tmp_path / "run" / "log.jsonl").exists()
