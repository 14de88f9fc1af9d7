"""transformers' own trainer trains the models as they are."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common.every_model import ITEMS, over_every_model
from common.factories import make_tokens
from common.tiny_captioner import make_config, make_processor
from torch.nn import functional as F
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    set_seed,
)

from hf_attention import (
    AttentionCaptionerForConditionalGeneration,
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
)
from hf_attention.models.special_tokens import special_token_ids
from hf_attention.scenes import make_scenes, make_translations
from hf_attention.training.data.tokenization import train_tokenizer


PAD, UNKNOWN, START, END = range(4)  # of both tasks' tokenizers
SIZES = {"hidden_size": 32, "embedding_size": 24, "attention_size": 16}


class Captioning:
    """The whole recipe: the processor makes the batches."""

    frozen = {"freeze_backbone": True}
    max_length = 40

    def __init__(self):
        scenes = make_scenes(train=12, validation=0, test=0, held_out=0, captions_per_scene=1)["train"]
        self.rows = [{"image": row["image"], "caption": row["captions"][0]} for row in scenes]
        self.words = sorted({word for row in self.rows for word in row["caption"].lower().replace(",", " , ").split()})
        self.processing_class = make_processor(self.words)

    def make_model(self, **settings) -> AttentionCaptionerForConditionalGeneration:
        set_seed(0)
        defaults = {**SIZES, "memory_size": 32, "freeze_backbone": False}
        return AttentionCaptionerForConditionalGeneration(make_config("resnet", self.words, **defaults | settings))

    def make_collator(self, model: PreTrainedModel) -> Callable[[list[dict]], dict[str, torch.Tensor]]:
        def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
            batch = self.processing_class(
                images=[row["image"] for row in rows],
                text_target=[row["caption"] for row in rows],
                return_tensors="pt",
            )
            # For the trainer's own label smoothing, which keeps the labels to itself.
            return {**batch, "decoder_input_ids": model.prepare_decoder_input_ids_from_labels(batch["labels"])}

        return collate


class Translating:
    """The whole recipe: a tokenizer, and transformers' collator, which asks the model for the decoder's inputs."""

    frozen = {}
    max_length = 128

    def __init__(self):
        pairs = make_translations(train=12, validation=0, test=0)["train"]
        sources, targets = ([pair[side] for pair in pairs["translation"]] for side in ("en", "qaa"))
        self.processing_class = train_tokenizer([*sources, *targets])
        self.rows = [
            dict(self.processing_class(source, text_target=target))
            for source, target in zip(sources, targets, strict=True)
        ]

    def make_model(self, **settings) -> AttentionSeq2SeqForConditionalGeneration:
        set_seed(0)
        defaults = {**SIZES, "encoder_hidden_size": 16}
        return AttentionSeq2SeqForConditionalGeneration(
            AttentionSeq2SeqConfig(
                vocab_size=len(self.processing_class),
                **special_token_ids(self.processing_class),
                **defaults | settings,
            )
        )

    def make_collator(self, model: PreTrainedModel) -> DataCollatorForSeq2Seq:
        return DataCollatorForSeq2Seq(self.processing_class, model=model)


@pytest.fixture(scope="module", params=[Captioning, Translating], ids=["captioning", "translating"])
def task(request: pytest.FixtureRequest) -> Captioning | Translating:
    return request.param()


@pytest.fixture
def make_trainer(task: Captioning | Translating, tmp_path: Path) -> Callable[..., Seq2SeqTrainer]:
    def make(model: PreTrainedModel, trainer_kwargs: dict | None = None, **arguments) -> Seq2SeqTrainer:
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
            train_dataset=task.rows,
            eval_dataset=task.rows,
            data_collator=task.make_collator(model),
            processing_class=task.processing_class,
            **trainer_kwargs or {},
        )

    return make


def encoder_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in batch.items() if name not in ("labels", "decoder_input_ids")}


def losses_of(trainer: Seq2SeqTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def test_the_loss_falls_and_captions_are_generated(task, make_trainer: Callable, tmp_path: Path) -> None:
    model = task.make_model()
    before = {name: value for name, value in model.generation_config.to_diff_dict().items() if name[0] != "_"}
    assert before["max_length"] == task.max_length and "suppress_tokens" not in before
    predictions = []

    def share_of_right_tokens(prediction) -> dict[str, float]:
        predictions.append(torch.tensor(prediction.predictions))
        tokens, labels = predictions[-1][:, 1:], torch.tensor(prediction.label_ids)[:, :-1]
        assert tokens.shape == labels.shape
        return {"right": (tokens == labels)[labels > END].float().mean().item()}

    trainer = make_trainer(
        model,
        {"compute_metrics": share_of_right_tokens},
        max_steps=50,
        predict_with_generate=True,
        generation_max_length=25,
    )
    trainer.train()
    losses = losses_of(trainer)
    assert len(losses) == 50 and sum(losses[-3:]) < 0.7 * sum(losses[:3])

    metrics = trainer.evaluate()
    # In evaluation the batch norms use other statistics than in training.
    assert losses[-1] / 2 < metrics["eval_loss"] < losses[0]
    assert metrics["eval_right"] > 0.15
    trainer.evaluate(num_beams=2, max_length=9)
    inputs = encoder_inputs(trainer.data_collator(trainer.eval_dataset))
    for tokens, arguments in zip(predictions, ({"max_length": 25}, {"max_length": 9, "num_beams": 2}), strict=True):
        expected = model.generate(**inputs, **arguments)
        assert torch.equal(tokens[:, : expected.shape[1]], expected)
        assert (tokens[:, expected.shape[1] :] == PAD).all() and not (tokens == UNKNOWN).any()

    # Nothing that was set is set otherwise: not the length of the evaluations, nor their beams.
    after = model.generation_config.to_dict()
    assert {name: after[name] for name in before} == before
    trainer.save_model(tmp_path / "final")
    loaded = type(model).from_pretrained(tmp_path / "final")
    assert loaded.generation_config.max_length == task.max_length and loaded.generation_config.num_beams in (None, 1)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize("predict_with_generate", [False, True])
def test_the_best_model_is_told_by_its_loss(task, make_trainer: Callable, predict_with_generate: bool) -> None:
    trainer = make_trainer(
        task.make_model(),
        max_steps=4,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        predict_with_generate=predict_with_generate,
        generation_max_length=6,
    )
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) == 2 and trainer.state.best_metric == min(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-5)


@over_every_model("captioner", "captioner_vit", "seq2seq", "vqa", "ensemble")
def test_predictions_are_what_is_generated(make_example: Callable, tmp_path: Path) -> None:
    """The trainer hands labels and their weights to `generate()` along with the inputs."""
    model, inputs = make_example()
    labels = make_tokens(ITEMS, 4)
    batch = {**inputs, "labels": labels, "token_weights": torch.ones(labels.shape)}
    trainer = Seq2SeqTrainer(
        model,
        Seq2SeqTrainingArguments(str(tmp_path), predict_with_generate=True, use_cpu=True, report_to="none"),
        data_collator=lambda rows: {name: torch.stack([row[name] for row in rows]) for name in batch},
    )
    rows = [{name: values[row] for name, values in batch.items()} for row in range(ITEMS)]
    output = trainer.predict(rows, max_length=6)
    expected = model.generate(**inputs, max_length=6)
    predicted, length = torch.tensor(output.predictions), expected.shape[1]
    assert torch.equal(predicted[:, :length], expected) and (predicted[:, length:] == PAD).all()
    with torch.no_grad():
        loss = model(**inputs, labels=labels).loss.item()
    assert output.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_accumulated_gradients_are_those_of_one_large_batch(task, make_trainer: Callable) -> None:
    """Captions differ in length: a mean of the batches' means would be another loss."""
    start = task.make_model(**task.frozen).double()
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

    batch = task.make_collator(start)(task.rows)
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    logits = start.eval()(**{name: value for name, value in inputs.items() if name != "labels"}).logits
    loss = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)  # a mean over labels
    loss.backward()
    assert large_loss == pytest.approx(loss.item(), rel=1e-6)
    gradients = {name: parameter.grad for name, parameter in start.named_parameters() if parameter.requires_grad}
    moved = 0
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(small[name] - tensor, large[name] - tensor, rtol=1e-9, atol=1e-12)
        if name in gradients:  # tied weights go by one of their names
            torch.testing.assert_close(tensor - large[name], gradients[name], rtol=1e-6, atol=1e-9)
        moved += not torch.equal(large[name], tensor)
    # Everything but a frozen backbone was trained.
    assert moved == sum(parameter.requires_grad for parameter in start.parameters())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_the_trainer(task, make_trainer: Callable, smoothing: float) -> None:
    """By the trainer's own label smoothing and by the configuration's it is the same, and that of the definition."""
    model = task.make_model(**task.frozen)
    arguments = {"max_steps": 1, "per_device_train_batch_size": len(task.rows)}
    batch = task.make_collator(model)(task.rows)
    labels = batch["labels"]
    start = torch.full((len(labels), 1), START)
    decoder_input_ids = torch.cat([start, labels[:, :-1].clamp(min=PAD)], 1)
    logits = model.eval()(**encoder_inputs(batch), decoder_input_ids=decoder_input_ids).logits
    targets = (1 - smoothing) * F.one_hot(labels.clamp(min=0), model.config.vocab_size) + (
        smoothing / model.config.vocab_size
    )
    expected = -(targets * logits.log_softmax(-1)).sum(-1)[labels != -100].mean().item()

    by_trainer = make_trainer(copy.deepcopy(model), label_smoothing_factor=smoothing, **arguments)
    by_config = make_trainer(copy.deepcopy(model), **arguments)
    by_config.model.config.label_smoothing = smoothing
    for trainer in (by_trainer, by_config):
        trainer.train()
        assert losses_of(trainer)[0] == pytest.approx(expected, rel=1e-5)


def test_bfloat16(task, make_trainer: Callable) -> None:
    model = task.make_model()
    trainer = make_trainer(model, max_steps=8, bf16=True)
    trainer.train()
    losses = losses_of(trainer)
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_training_goes_on_from_a_checkpoint(task, make_trainer: Callable, tmp_path: Path) -> None:
    settings = {"readout_dropout": 0.2, "embedding_dropout": 0.1}
    arguments = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4, "lr_scheduler_type": "linear"}
    undisturbed = task.make_model(**settings)
    make_trainer(undisturbed, **arguments).train()

    resumed = task.make_model(**settings)
    make_trainer(resumed, **arguments).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    for name, tensor in undisturbed.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    # A checkpoint is a model like any other.
    halfway = type(resumed).from_pretrained(tmp_path / "checkpoint-4")
    assert not torch.equal(halfway.lm_head.weight, undisturbed.lm_head.weight)


def test_gradient_checkpointing_changes_nothing(
    task: Captioning | Translating, make_trainer: Callable[..., Seq2SeqTrainer]
) -> None:
    losses = []
    for checkpointing in (False, True):
        trainer = make_trainer(task.make_model(), max_steps=3, gradient_checkpointing=checkpointing)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
