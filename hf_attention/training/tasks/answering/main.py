"""Training an answering model, from the command line to the model's card: `scripts/train_vqa.py`."""

import logging
from functools import partial

from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from ....metrics.vqa_accuracy.vqa_accuracy import METRICS
from ....models.configuration_attention_vqa import AttentionVQAConfig
from ....models.positions import question_positions
from ....models.processing_attention_vqa import AttentionVQAProcessor
from ...data.held_out import HeldOutArguments, with_validation_split
from ...data.image_columns import check_images, drop_bad_images, image_ids, read_image
from ...data.image_splits import load_image_splits
from ...data.images import PixelSource, RegionSource, load_part_config, make_source
from ...data.reading import get_split
from ...data.tokenization import warn_of_unknown_words
from ...loop.run import Run
from ...loop.train import train
from ...options import parse_arguments
from .arguments import DEFAULTS, Arguments, QuestionDataArguments
from .evaluation import AnsweringEvaluator
from .examples import AnsweringDataset, AnsweringObjective, BlindSource, answering_dataloader
from .labels import answer_labels, answer_vocabulary
from .model import load_answering_model, make_answering_model
from .picture import draw_answer
from .questions import Questions, mirrored_text, read_questions


logger = logging.getLogger(__name__)


def main(description: str | None = None) -> None:
    """
    Trains an answering model as the command line says.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    arguments = parse_arguments("answerer", Arguments, DEFAULTS, description)
    check_arguments(arguments)
    data = arguments.data
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)  # this file's alone: Accelerate tells of each file that it saves
    run = Run(arguments.loop, arguments.hub)

    questions = load_questions(data, arguments.held_out, arguments.loop.eval_samples(data.max_eval_samples))
    answers = answer_vocabulary(questions["train"].answers, data.max_answers, data.min_answer_count)
    if arguments.model.model_name_or_path is not None:
        model, processor = load_answering_model(arguments)
    else:
        model, processor = make_answering_model(arguments, run, questions["train"], answers)
    warn_of_unknown_words(processor.tokenizer, questions["train"].texts, "questions")
    processor.tokenizer.model_max_length = data.max_length
    generating = model.can_generate()
    if generating:
        model.generation_config.max_length = data.max_length + 1  # with the start token

    def evaluator(name: str) -> AnsweringEvaluator:
        source = image_source(questions[name], data, model, processor, run)
        return AnsweringEvaluator(source, questions[name], processor.tokenizer, run.accelerator, data.eval_batch_size)

    validation = evaluator("validation")
    unknown = {} if generating else count_unknown(questions, model.config.label2id)
    draw = None
    attention = model.config.attention_type if generating else model.config.attention_form
    if attention is not None and not data.blind:
        shown = questions["validation"]
        image = read_image(shown.images, shown.image[0], data.image_column)
        draw = partial(draw_answer, processor=processor, image=image, question=shown.texts[0])
    end = {"processor": processor, "task": "visual-question-answering", "arguments": arguments, "draw": draw}
    run.rehearse(model, evaluate=validation.of_one_batch(), **end)
    result = train(
        model,
        arguments.loop,
        training_batches(arguments, questions["train"], model, processor, run),
        run.accelerator,
        evaluate=validation,
        save=run.saving(processor),
        learning_rates=arguments.model.learning_rates("model.encoder.image_encoder.backbone."),
        objective=None if generating else AnsweringObjective(),
    )

    model = run.best_model(result, type(model))
    results = {
        "best_epoch": result.state.best_epoch,
        "known_answers": None if generating else model.config.num_labels,
        "questions": {name: len(part) for name, part in questions.items()},
        "images": {name: len(part.images) for name, part in questions.items()},
        "without_known_answer": unknown,
        "validation": validation(model),
    }
    if data.do_test:
        results["test"] = evaluator("test")(model)
    run.finish(model, results=results, **end)


def check_arguments(arguments: Arguments) -> None:
    """Refuses, before anything costly, what does not go together or does not exist."""
    data, model = arguments.data, arguments.model
    if data.blind and model.train_backbone:
        raise ValueError("`blind` hides the images: there is nothing to train a backbone on.")
    if data.blind and data.crops:
        raise ValueError("`blind` hides the images: leave out `crops`.")
    arguments.loop.check_metric(METRICS)
    trained = model.check(AttentionVQAConfig)
    model.check_backbone(data.image_size)
    config = AttentionVQAConfig.from_dict(trained) if trained else None
    if config is None and model.question_encoder is not None:
        config = load_part_config(model.question_encoder, "question_encoder")
    positions = None if config is None else question_positions(config)
    if positions is not None and data.max_length > positions:
        raise ValueError(
            f"`max_length` must be at most {positions}, for so many tokens the question encoder has positions, got "
            f"{data.max_length}."
        )


def load_questions(
    arguments: QuestionDataArguments, held_out: HeldOutArguments, max_eval_samples: int | None
) -> dict[str, Questions]:
    """The questions of each split that the run needs, by `train`, `validation` and `test`."""
    splits = load_image_splits(
        arguments.dataset_name,
        arguments.dataset_config_name,
        image_column=arguments.image_column,
        columns=(arguments.question_column, arguments.answer_column),
        image_dir=arguments.image_dir,
        skip_missing=arguments.skip_bad_images,
    )
    names = {
        "train": arguments.train_split,
        "validation": arguments.validation_split,
        "test": arguments.test_split,
    }
    ids = partial(image_ids, image_column=arguments.image_column, image_id_column=arguments.image_id_column)
    splits = with_validation_split(splits, *names.values(), held_out, ids=ids)
    if not arguments.do_test:
        del names["test"]
    parts = {part: get_split(splits, name, argument=f"{part}_split") for part, name in names.items()}

    def read(name: str) -> Questions:
        dataset = parts[name]
        check_images(dataset, arguments.image_column)
        limit = arguments.max_train_samples if name == "train" else max_eval_samples
        if limit is not None:
            dataset = dataset.select(range(min(limit, len(dataset))))
        if arguments.skip_bad_images:
            dataset = drop_bad_images(dataset, arguments.image_column)
        return read_questions(
            dataset,
            arguments.image_column,
            arguments.question_column,
            arguments.answer_column,
            arguments.image_id_column,
            arguments.question_pattern,
            arguments.drop_unanswered,
        )

    return {name: read(name) for name in parts}


def image_source(
    questions: Questions,
    arguments: QuestionDataArguments,
    model: PreTrainedModel,
    processor: AttentionVQAProcessor,
    run: Run,
    mirror: bool = False,
    crops: int = 0,
) -> PixelSource | RegionSource | BlindSource:
    """The images that are asked about, as the model takes them."""
    images = make_source(
        questions.images,
        arguments.image_column,
        model.get_encoder().image_encoder,
        processor.image_processor,
        run.accelerator,
        mirror,
        arguments.features_dir,
        crops,
    )
    return BlindSource(images) if arguments.blind else images


def count_unknown(questions: dict[str, Questions], label2id: dict[str, int]) -> dict[str, int]:
    """How many questions of each split have no answer that the model knows; the log says it, too."""
    counts = {}
    for name, part in questions.items():
        counts[name] = sum(not any(answer in label2id for answer in given) for given in part.answers)
        answers = [answer for given in part.answers for answer in given]
        logger.info(
            "%s: %d of %d questions have no answer that is known, and %d of %d answers are unknown.",
            name,
            counts[name],
            len(part),
            sum(answer not in label2id for answer in answers),
            len(answers),
        )
    return counts


def training_batches(
    arguments: Arguments, questions: Questions, model: PreTrainedModel, processor: AttentionVQAProcessor, run: Run
) -> DataLoader:
    """What the model is trained on: of one that knows some answers, the questions that have one of them."""
    data, config = arguments.data, model.config
    source = image_source(questions, data, model, processor, run, data.mirror, data.crops)
    labels, mirrored_labels = None, None
    if not model.can_generate():
        labels = answer_labels(questions.answers, config.label2id, config.problem_type)
        known = [row for row, label in enumerate(labels) if label is not None]
        labels, questions = [labels[row] for row in known], questions.select(known)
        if data.mirror:
            mirrored = [[mirrored_text(answer) for answer in given] for given in questions.answers]
            mirrored_labels = answer_labels(mirrored, config.label2id, config.problem_type)
    return answering_dataloader(
        AnsweringDataset(source, questions, labels, processor.tokenizer, mirrored_labels),
        data.batch_size,
        data.questions_per_image,
        mirror=data.mirror,
        crops=data.crops,
        bucket_batches=data.bucket_batches,
        seed=arguments.loop.seed,
        num_workers=arguments.loop.dataloader_num_workers,
    )
