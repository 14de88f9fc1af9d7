"""Training a captioner, from the command line to the model's card: `scripts/train_captioner.py`."""

from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
from datasets import Dataset, IterableDataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from ....extras import require_extra
from ....metrics.captioning.captioning import METRICS
from ....metrics.words import METRIC_TOKENIZER, metric_words
from ....models.configuration_attention_captioner import AttentionCaptionerConfig
from ....models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration
from ....models.processing_attention_captioner import AttentionCaptionerProcessor
from ...data.held_out import with_validation_split
from ...data.image_columns import check_images, drop_bad_images, image_ids, read_image
from ...data.image_splits import joined_captions, load_captioned_splits
from ...data.images import PixelSource, RegionSource, make_source
from ...data.reading import get_split
from ...data.streaming import first_rows, streamed_dataloader
from ...data.texts import drop_textless, text_lists
from ...data.tokenization import warn_of_unknown_words
from ...loop.evaluation import beam_settings, tune_generation
from ...loop.objective import Objective
from ...loop.run import Run
from ...loop.train import train
from ...options import changed_options, parse_arguments
from .arguments import DEFAULTS, Arguments, CaptionDataArguments
from .cider import consensus_weights
from .evaluation import CaptionEvaluator
from .examples import caption_dataloader, caption_labels
from .model import load_captioner, make_captioner
from .picture import draw_caption
from .self_critical import SelfCriticalObjective, image_dataloader


class CaptionedImages(NamedTuple):
    """
    A split.

    Args:
        images (`Dataset`):
            One row an image.
        captions (`list[list[str]]`):
            The captions of each.
    """

    images: Dataset
    captions: list[list[str]]


def main(description: str | None = None) -> None:
    """
    Trains a captioner as the command line says.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    arguments = parse_arguments("captioner", Arguments, DEFAULTS, description)
    check_arguments(arguments)
    data = arguments.data
    run = Run(arguments.loop, arguments.hub)

    train_set, validation_set, test_set = read_splits(arguments)
    if arguments.model.model_name_or_path is not None:
        model, processor = load_captioner(arguments)
    else:
        model, processor = make_captioner(arguments, run, partial(training_texts, arguments, train_set))
    if not arguments.streaming.streaming:
        warn_of_unknown_words(processor.tokenizer, training_texts(arguments, train_set), "captions")
    if model.get_encoder().trains_part:
        model.get_encoder().backbone.to(memory_format=torch.channels_last)  # in which convolutions are faster
    set_generation(model, data)

    def evaluator(split: CaptionedImages) -> CaptionEvaluator:
        source = image_source(split.images, data, model, processor, run)
        return CaptionEvaluator(source, split.captions, processor.tokenizer, run.accelerator, data.eval_batch_size)

    validation = evaluator(validation_set)
    validation_settings = beam_settings(data.validation_num_beams, data.length_penalty)
    draw = None
    if model.config.attention_type is not None:
        image = read_image(validation_set.images, 0, data.image_column)
        draw = partial(draw_caption, processor=processor, image=image)
    end = {"processor": processor, "task": "image-to-text", "arguments": arguments, "draw": draw}
    run.rehearse(model, evaluate=partial(validation.of_one_batch(), **validation_settings), **end)
    dataloader, objective = training_batches(arguments, train_set, model, processor, run)
    result = train(
        model,
        arguments.loop,
        dataloader,
        run.accelerator,
        evaluate=partial(validation, **validation_settings),
        save=run.saving(processor),
        learning_rates=arguments.model.learning_rates("model.encoder.backbone."),
        objective=objective,
    )

    model = run.best_model(result, AttentionCaptionerForConditionalGeneration)
    settings, scores = tuned(model, validation, arguments)
    results = {
        "metric_tokenizer": METRIC_TOKENIZER,
        "best_epoch": result.state.best_epoch,
        "vocab_size": len(processor.tokenizer),
        "generation": settings,
        "validation": scores,
    }
    if test_set is not None:
        results["test"] = evaluator(test_set)(model)
    run.finish(model, results=results, **end)


def check_arguments(arguments: Arguments) -> None:
    """Refuses, before anything costly, what does not go together or is not installed."""
    require_extra("metrics", "pycocoevalcap")
    arguments.loop.check_metric(METRICS)
    streaming, self_critical = arguments.streaming.streaming, arguments.self_critical.self_critical
    arguments.streaming.check(arguments.loop.max_steps, arguments.loop.dataloader_num_workers)
    if streaming and self_critical:
        raise ValueError("`self_critical` rewards by all training captions, which `streaming` does not keep.")
    if arguments.data.consensus_weights and (streaming or self_critical):
        raise ValueError("`consensus_weights` needs all captions at once: leave out `streaming` and `self_critical`.")
    if self_critical and arguments.model.model_name_or_path is None:
        raise ValueError("`self_critical` goes on from a trained captioner: give `model_name_or_path`.")
    if not self_critical and (given := changed_options(arguments.self_critical)):
        raise ValueError(f"{', '.join(f'`{name}`' for name in sorted(given))}: only with `self_critical`.")
    arguments.model.check(AttentionCaptionerConfig)
    arguments.model.check_backbone(arguments.data.image_size)


def read_splits(
    arguments: Arguments,
) -> tuple[CaptionedImages | IterableDataset, CaptionedImages, CaptionedImages | None]:
    """Training (the rows of a stream, if it is one), validation and, where asked for, test."""
    data, streaming = arguments.data, arguments.streaming.streaming
    splits = load_captioned_splits(
        data.dataset_name,
        data.dataset_config_name,
        streaming,
        image_column=data.image_column,
        captions_column=data.captions_column,
        image_dir=data.image_dir,
        skip_missing=data.skip_bad_images,
        drop_uncaptioned=data.drop_uncaptioned,
    )
    splits = with_validation_split(
        splits,
        data.train_split,
        data.validation_split,
        data.test_split,
        arguments.held_out,
        ids=partial(image_ids, image_column=data.image_column),
    )

    def evaluation_set(argument: str) -> CaptionedImages:
        samples = arguments.loop.eval_samples(data.max_eval_samples)
        rows = get_split(splits, getattr(data, argument), samples, argument)
        if streaming:
            rows = joined_captions(first_rows(rows), data.image_column, data.captions_column)
        return read_captions(rows, data)

    train_rows = get_split(splits, data.train_split, data.max_train_samples, "train_split")
    train_set = train_rows if streaming else read_captions(train_rows, data)
    validation_set = evaluation_set("validation_split")
    # What would fail at the end of a long run fails here.
    test_set = evaluation_set("test_split") if data.do_test else None
    return train_set, validation_set, test_set


def read_captions(rows: Dataset, arguments: CaptionDataArguments) -> CaptionedImages:
    """The images of a split and their captions; bad images, and those without captions, are left out if asked."""
    check_images(rows, arguments.image_column)
    if arguments.drop_uncaptioned:
        rows = drop_textless(rows, arguments.captions_column, "captions_column")
    if arguments.skip_bad_images:
        rows = drop_bad_images(rows, arguments.image_column)
    return CaptionedImages(rows, text_lists(rows, arguments.captions_column, "captions_column"))


def training_texts(arguments: Arguments, train_set: CaptionedImages | IterableDataset) -> Iterable[str]:
    """What the tokenizer is trained on: all captions, or of a stream the first."""
    if arguments.streaming.streaming:
        rows = first_rows(train_set, arguments.streaming.tokenizer_rows)
        if arguments.data.drop_uncaptioned:
            rows = drop_textless(rows, arguments.data.captions_column, "captions_column")
        return chain.from_iterable(text_lists(rows, arguments.data.captions_column, "captions_column"))
    return chain.from_iterable(train_set.captions)


def set_generation(model: PreTrainedModel, arguments: CaptionDataArguments) -> None:
    """Stores with the model how it generates."""
    model.generation_config.update(
        max_length=arguments.max_target_length + 1,  # with the start token
        no_repeat_ngram_size=arguments.no_repeat_ngram_size,
        **beam_settings(arguments.num_beams, arguments.length_penalty),
    )


def image_source(
    images: Dataset,
    arguments: CaptionDataArguments,
    model: PreTrainedModel,
    processor: AttentionCaptionerProcessor,
    run: Run,
    mirror: bool = False,
    crops: int = 0,
) -> PixelSource | RegionSource:
    """The images of a split, as the model takes them."""
    return make_source(
        images,
        arguments.image_column,
        model.get_encoder(),
        processor.image_processor,
        run.accelerator,
        mirror,
        arguments.features_dir,
        crops,
    )


def training_batches(
    arguments: Arguments,
    train_set: CaptionedImages | IterableDataset,
    model: PreTrainedModel,
    processor: AttentionCaptionerProcessor,
    run: Run,
) -> tuple[DataLoader, Objective | None]:
    """What the model is trained on, and what it minimises where that is not its own loss."""
    data, loop = arguments.data, arguments.loop
    num_workers = loop.dataloader_num_workers
    if arguments.streaming.streaming:

        def batches_of_buffer(rows: Dataset) -> DataLoader:
            images, captions = read_captions(rows, data)
            source = PixelSource(images, data.image_column, processor.image_processor)
            return caption_batches(arguments, source, captions, processor)

        dataloader = streamed_dataloader(
            train_set, batches_of_buffer, run.accelerator, arguments.streaming, loop.seed, num_workers
        )
        return dataloader, None
    source = image_source(train_set.images, data, model, processor, run, data.mirror, data.crops)
    if arguments.self_critical.self_critical:
        objective = SelfCriticalObjective(
            train_set.captions, processor.tokenizer, run.accelerator, arguments.self_critical
        )
        return image_dataloader(source, data, loop.seed, num_workers), objective
    return caption_batches(arguments, source, train_set.captions, processor, num_workers), None


def caption_batches(
    arguments: Arguments,
    source: PixelSource | RegionSource,
    captions: list[list[str]],
    processor: AttentionCaptionerProcessor,
    num_workers: int = 0,
) -> DataLoader:
    """Batches of images with their captions."""
    data = arguments.data
    labels = caption_labels(captions, processor.tokenizer, data.max_target_length)
    weights = None
    if data.consensus_weights:
        weights = consensus_weights([[metric_words(text) for text in texts] for texts in captions])
    return caption_dataloader(source, labels, data, arguments.loop.seed, num_workers, weights)


def tuned(
    model: PreTrainedModel, validation: CaptionEvaluator, arguments: Arguments
) -> tuple[dict[str, float], dict[str, float]]:
    """The settings of generation, chosen on validation if asked, and the scores with them."""
    data = arguments.data
    settings = beam_settings(data.num_beams, data.length_penalty)
    if data.tune_generation:
        metric = data.tuning_metric or arguments.loop.metric_for_best_model
        settings, scores = tune_generation(model, validation, metric)
        model.generation_config.update(**settings)
    else:
        scores = validation(model)
    if data.no_repeat_ngram_size > 0:
        settings = {**settings, "no_repeat_ngram_size": data.no_repeat_ngram_size}
    return settings, scores
