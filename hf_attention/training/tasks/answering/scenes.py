"""Questions about generated scenes: `scripts/answer_scenes.py`."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from accelerate.utils import set_seed
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ResNetConfig

from ....arguments import COUNT, NOT_NEGATIVE, SEED, CheckedArguments, OptionParser
from ....models.configuration_attention_vqa import AttentionVQAConfig
from ....models.modeling_attention_vqa import AttentionVQAForQuestionAnswering
from ....models.processing_attention_vqa import AttentionVQAProcessor
from ....models.special_tokens import special_token_ids
from ....scenes import make_scene_questions
from ....scenes.questions import KINDS
from ...data.images import PixelsInMemory, make_image_processor
from ...data.tokenization import train_tokenizer
from ...loop.arguments import LoopArguments, processor_precision
from ...loop.train import make_accelerator, prepare_output_dir, train
from ...publish.results import write_results
from .examples import AnsweringDataset, AnsweringObjective, answering_dataloader, question_batch
from .labels import answer_vocabulary, leave_out_absent_answers
from .questions import Questions, read_questions


IMAGE_SIZE = 64
GRID = 16
QUESTIONS_PER_SCENE = 12
ATTENTION_FORMS = tuple(form or "none" for form in AttentionVQAConfig.choices["attention_form"])
# Relations take the longest to learn: three of nine turns are theirs. Where a scene has no more of a kind to ask, the
# next one has its turn, here as in the other splits.
TRAINING_KINDS = (*KINDS, "relation", "count", "relation", "yes_no")


@dataclass
class SceneArguments(CheckedArguments):
    """The run."""

    output_dir: str = field(metadata={"help": "Folder of the model, its checkpoints and results.json."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint folder, or 'latest': the newest whole one of output_dir."}
    )
    attention_form: Literal[ATTENTION_FORMS] = field(
        default="glimpses", metadata={"help": "How the question looks at the regions."}
    )
    seed: Annotated[int, SEED] = field(
        default=0, metadata={"help": "Seed of the scenes, the weights and the order of the data."}
    )
    train_scenes: Annotated[int, COUNT] = field(
        default=24000, metadata={"help": "Scenes to learn from, with twelve questions each."}
    )
    test_scenes: Annotated[int, COUNT] = field(default=500, metadata={"help": "Scenes of each test."})
    num_train_epochs: Annotated[int, COUNT] = field(default=18, metadata={"help": "Passes over them."})
    learning_rate: Annotated[float, NOT_NEGATIVE] = field(default=3e-3, metadata={"help": "Highest learning rate."})


def make_model(
    tokenizer: PreTrainedTokenizerFast, answers: list[str], attention_form: str | None
) -> AttentionVQAForQuestionAnswering:
    """A small residual network with a 16x16 grid of regions, and the attention over it."""
    config = AttentionVQAConfig(
        backbone_config=ResNetConfig(
            embedding_size=32,
            hidden_sizes=[64],
            depths=[3],
            layer_type="basic",
            downsample_in_first_stage=False,
            image_size=IMAGE_SIZE,
        ),
        freeze_backbone=False,
        box_positions=True,
        vocab_size=len(tokenizer),
        **special_token_ids(tokenizer),
        memory_size=128,
        encoder_embedding_size=64,
        encoder_hidden_size=128,
        encoder_bidirectional=True,
        attention_size=128,
        attention_form=attention_form,
        num_glimpses=4 if attention_form == "glimpses" else None,
        problem_type="single_label_classification",
        id2label=dict(enumerate(answers)),
        label2id={answer: number for number, answer in enumerate(answers)},
    )
    model = AttentionVQAForQuestionAnswering(config)
    model.get_encoder().image_encoder.backbone.to(memory_format=torch.channels_last)  # convolutions are faster so
    return model


@torch.no_grad()
def answer(
    model: PreTrainedModel, questions: Questions, source: PixelsInMemory, tokenizer, batch_size: int = 100
) -> tuple[list[str], torch.Tensor | None]:
    """The answers to all questions, and where each made the model look: (questions, regions), over all glimpses."""
    answers, maps = [], []
    for start in range(0, len(questions), batch_size):
        rows = range(start, min(start + batch_size, len(questions)))
        batch, places = question_batch(source, questions, rows, tokenizer)
        outputs = model(**batch, output_attentions=True)
        answers += [model.config.id2label[number] for number in outputs.logits[places].argmax(-1).tolist()]
        if outputs.attentions:
            maps.append(torch.stack(outputs.attentions).mean(0)[places])
    return answers, torch.cat(maps) if maps else None


def covered_cells(boxes: list[list[int]]) -> torch.Tensor:
    """Which cells of the grid, row by row, the boxes intersect."""
    cell = IMAGE_SIZE / GRID
    edges = torch.arange(GRID) * cell
    covered = torch.zeros(GRID, GRID, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        rows, columns = (edges < bottom) & (edges + cell > top), (edges < right) & (edges + cell > left)
        covered |= rows[:, None] & columns
    return covered.flatten()


def score(dataset: Dataset, answers: list[str], maps: torch.Tensor | None) -> dict[str, float]:
    """The share of right answers, over all and by kind; of colour and shape questions, where the model looked."""
    right, looked, chance = defaultdict(list), [], []
    for number, row in enumerate(dataset.remove_columns("image")):
        for name in ("all", row["kind"]):
            right[name].append(answers[number] == row["answer"])
        if maps is not None and row["kind"] in ("colour", "shape"):
            covered = covered_cells(row["boxes"])
            looked.append(bool(covered[maps[number].argmax()]))
            chance.append(covered.float().mean().item())
    scores = {name: sum(values) / len(values) for name, values in right.items()}
    if looked:
        scores |= {"looked_at": sum(looked) / len(looked), "looked_at_by_chance": sum(chance) / len(chance)}
    return scores


def make_data(arguments: SceneArguments) -> tuple[dict[str, Dataset], dict[str, Questions], dict[str, PixelsInMemory]]:
    """The rows, the questions and the images of each split."""
    make_splits = partial(
        make_scene_questions,
        seed=arguments.seed,
        image_size=IMAGE_SIZE,
        questions_per_scene=QUESTIONS_PER_SCENE,
    )
    splits = make_splits(train=0, **dict.fromkeys(("validation", "test", "held_out"), arguments.test_scenes))
    splits |= make_splits(arguments.train_scenes, 0, 0, 0, kinds=TRAINING_KINDS)
    splits["held_out"] = splits["held_out"].filter(lambda held_out: held_out, input_columns="held_out")
    questions = {name: read_questions(split, "image", "question", "answer") for name, split in splits.items()}
    image_processor = make_image_processor(None, IMAGE_SIZE)
    sources = {name: PixelsInMemory(part.images, "image", image_processor) for name, part in questions.items()}
    return splits, questions, sources


def main(description: str | None = None) -> None:
    """
    Trains an answering model on scenes, and says where it looks.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    [arguments] = OptionParser(SceneArguments, description=description).read()
    loop_arguments = LoopArguments(
        output_dir=arguments.output_dir,
        overwrite_output_dir=True,
        resume_from_checkpoint=arguments.resume_from_checkpoint,
        seed=arguments.seed,
        num_train_epochs=arguments.num_train_epochs,
        learning_rate=arguments.learning_rate,
        warmup_steps=200,
        ema_decay=0.99,
        metric_for_best_model="all",
        mixed_precision=processor_precision(),
    )
    prepare_output_dir(loop_arguments)
    set_seed(arguments.seed)
    splits, questions, sources = make_data(arguments)
    tokenizer = train_tokenizer(questions["train"].texts)
    processor = AttentionVQAProcessor(image_processor=make_image_processor(None, IMAGE_SIZE), tokenizer=tokenizer)
    known = answer_vocabulary(questions["train"].answers)
    form = None if arguments.attention_form == "none" else arguments.attention_form
    model = make_model(tokenizer, known, form)
    numbers = [model.config.label2id[answer] for answer in splits["train"]["answer"]]
    labels = leave_out_absent_answers(numbers, questions["train"].texts, splits["train"]["kind"], len(known))
    dataset = AnsweringDataset(sources["train"], questions["train"], labels, tokenizer)

    def evaluate(model: PreTrainedModel, name: str = "validation") -> dict[str, float]:
        return score(splits[name], *answer(model, questions[name], sources[name], tokenizer))

    def save(model: PreTrainedModel, folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    result = train(
        model,
        loop_arguments,
        answering_dataloader(
            dataset, batch_size=16 * QUESTIONS_PER_SCENE, questions_per_image=QUESTIONS_PER_SCENE, seed=arguments.seed
        ),
        make_accelerator(loop_arguments),
        evaluate=evaluate,
        save=save,
        objective=AnsweringObjective(),
    )
    model = AttentionVQAForQuestionAnswering.from_pretrained(result.best_model).eval()
    results = {name: evaluate(model, name) for name in ("validation", "test", "held_out")}
    write_results(Path(arguments.output_dir), {**vars(arguments), **results})
    for name, scores in results.items():
        print(name, " ".join(f"{key} {value:.1%}" for key, value in scores.items()))
