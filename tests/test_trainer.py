"""transformers' own trainer trains the captioner as it is."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_captioner import END, PAD, START, UNKNOWN, make_config, make_processor
from torch.nn import functional as F
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

from hf_attention import AttentionCaptionerForConditionalGeneration
from hf_attention.scenes import make_scenes


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """Pictures with their captions."""
    scenes = make_scenes(train=12, validation=0, test=0, held_out=0, captions_per_scene=1)["train"]
    return [{"image": row["image"], "caption": row["captions"][0]} for row in scenes]


@pytest.fixture(scope="module")
def words(rows: list[dict]) -> list[str]:
    return sorted({word for row in rows for word in row["caption"].lower().replace(",", " , ").split()})


def make_model(words: list[str], **settings) -> AttentionCaptionerForConditionalGeneration:
    set_seed(0)
    defaults = {
        "hidden_size": 32,
        "embedding_size": 24,
        "attention_size": 16,
        "memory_size": 32,
        "freeze_backbone": False,
    }
    config = make_config("resnet", words, **defaults | settings)
    return AttentionCaptionerForConditionalGeneration(config)


@pytest.fixture
def make_trainer(rows: list[dict], words: list[str], tmp_path: Path) -> Callable[..., Seq2SeqTrainer]:
    processor = make_processor(words)

    def collate(batch: list[dict]) -> dict[str, torch.Tensor]:
        return processor(
            images=[row["image"] for row in batch],
            text_target=[row["caption"] for row in batch],
            return_tensors="pt",
        )

    def make(model: AttentionCaptionerForConditionalGeneration, trainer_kwargs: dict | None = None, **arguments):
        defaults = {
            "output_dir": str(tmp_path),
            "use_cpu": True,
            "remove_unused_columns": False,
            "report_to": "none",
            "disable_tqdm": True,
            "log_level": "error",
            "save_strategy": "no",
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
        }
        return Seq2SeqTrainer(
            model=model,
            args=Seq2SeqTrainingArguments(**defaults | arguments),
            train_dataset=rows,
            eval_dataset=rows,
            data_collator=collate,
            processing_class=processor,
            **trainer_kwargs or {},
        )

    return make


def losses_of(trainer: Seq2SeqTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def test_the_loss_falls_and_captions_are_generated(words: list[str], make_trainer: Callable, tmp_path: Path) -> None:
    model = make_model(words)
    before = {name: value for name, value in model.generation_config.to_diff_dict().items() if name[0] != "_"}
    assert before["max_length"] == 40 and before["suppress_tokens"] == [PAD, UNKNOWN]
    predictions = []

    def share_of_right_tokens(prediction) -> dict[str, float]:
        predictions.append(torch.tensor(prediction.predictions))
        tokens, labels = predictions[-1][:, 1:], torch.tensor(prediction.label_ids)[:, :-1]
        assert tokens.shape == labels.shape
        return {"right": (tokens == labels)[labels > END].float().mean().item()}

    trainer = make_trainer(
        model,
        {"compute_metrics": share_of_right_tokens},
        max_steps=40,
        predict_with_generate=True,
        generation_max_length=25,
    )
    trainer.train()
    losses = losses_of(trainer)
    assert len(losses) == 40 and sum(losses[-3:]) < 0.7 * sum(losses[:3])

    metrics = trainer.evaluate()
    # In evaluation the batch norms use other statistics than in training.
    assert losses[-1] / 2 < metrics["eval_loss"] < losses[0]
    assert metrics["eval_right"] > 0.15
    trainer.evaluate(num_beams=2, max_length=9)
    pixel_values = trainer.data_collator(trainer.eval_dataset)["pixel_values"]
    for tokens, arguments in zip(predictions, ({"max_length": 25}, {"max_length": 9, "num_beams": 2}), strict=True):
        expected = model.generate(pixel_values, **arguments)
        assert torch.equal(tokens[:, : expected.shape[1]], expected)
        assert (tokens[:, expected.shape[1] :] == PAD).all() and not (tokens == UNKNOWN).any()

    # Nothing that was set is set otherwise: not the length of the evaluations, nor their beams.
    after = model.generation_config.to_dict()
    assert {name: after[name] for name in before} == before
    trainer.save_model(tmp_path / "final")
    loaded = AttentionCaptionerForConditionalGeneration.from_pretrained(tmp_path / "final")
    assert loaded.generation_config.max_length == 40 and loaded.generation_config.num_beams in (None, 1)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_accumulated_gradients_are_those_of_one_large_batch(words: list[str], make_trainer: Callable) -> None:
    """Captions differ in length: a mean of the batches' means would be another loss."""
    start = make_model(words, freeze_backbone=True).double()
    ends = []
    for batch, accumulation in ((12, 1), (4, 3)):
        model = copy.deepcopy(start)
        trainer = make_trainer(
            model,
            max_steps=1,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            optim="sgd",
            learning_rate=1.0,
            max_grad_norm=0.0,
        )
        trainer.train()
        ends.append((weights_of(model), losses_of(trainer)[0]))
    (large, large_loss), (small, small_loss) = ends
    assert small_loss == pytest.approx(large_loss, rel=1e-6)
    moved = 0
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(small[name] - tensor, large[name] - tensor, rtol=1e-9, atol=1e-12)
        moved += not torch.equal(large[name], tensor)
    # Everything but the backbone was trained.
    assert moved == sum(parameter.requires_grad for parameter in start.parameters())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_the_trainer(words: list[str], rows: list[dict], make_trainer: Callable, smoothing: float) -> None:
    """By the trainer's own label smoothing and by the configuration's it is the same, and that of the definition."""
    model = make_model(words, freeze_backbone=True)
    arguments = {"max_steps": 1, "per_device_train_batch_size": len(rows)}
    trainer = make_trainer(copy.deepcopy(model), **arguments)
    collate = trainer.data_collator

    batch = collate(rows)
    labels = batch["labels"]
    start = torch.full((len(rows), 1), START)
    batch["decoder_input_ids"] = torch.cat([start, labels[:, :-1].clamp(min=PAD)], 1)
    log_probabilities = model.eval()(
        pixel_values=batch["pixel_values"], decoder_input_ids=batch["decoder_input_ids"]
    ).logits.log_softmax(-1)
    targets = (1 - smoothing) * F.one_hot(labels.clamp(min=0), model.config.vocab_size) + (
        smoothing / model.config.vocab_size
    )
    expected = -(targets * log_probabilities).sum(-1)[labels != -100].mean().item()

    def collate_with_inputs(rows: list[dict]) -> dict[str, torch.Tensor]:
        # The trainer keeps the labels to itself: the model is to be given the decoder's inputs.
        batch = collate(rows)
        return batch | {"decoder_input_ids": model.prepare_decoder_input_ids_from_labels(batch["labels"])}

    by_trainer = make_trainer(copy.deepcopy(model), label_smoothing_factor=smoothing, **arguments)
    by_trainer.data_collator = collate_with_inputs
    by_config = make_trainer(copy.deepcopy(model), **arguments)
    by_config.model.config.label_smoothing = smoothing
    for trainer in (by_trainer, by_config):
        trainer.train()
        assert losses_of(trainer)[0] == pytest.approx(expected, rel=1e-5)


def test_bfloat16(words: list[str], make_trainer: Callable) -> None:
    model = make_model(words)
    trainer = make_trainer(model, max_steps=8, bf16=True)
    trainer.train()
    losses = losses_of(trainer)
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_training_goes_on_from_a_checkpoint(words: list[str], make_trainer: Callable, tmp_path: Path) -> None:
    settings = {"readout_dropout": 0.2, "embedding_dropout": 0.1}
    arguments = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4, "lr_scheduler_type": "linear"}
    undisturbed = make_model(words, **settings)
    make_trainer(undisturbed, **arguments).train()

    resumed = make_model(words, **settings)
    make_trainer(resumed, **arguments).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    for name, tensor in undisturbed.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    # A checkpoint is a model like any other.
    halfway = AttentionCaptionerForConditionalGeneration.from_pretrained(tmp_path / "checkpoint-4")
    assert not torch.equal(halfway.lm_head.weight, undisturbed.lm_head.weight)
