"""Training on pairs of sentences, from the command line to the model's card: `scripts/train_seq2seq.py`."""

import math
from functools import partial

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, concatenate_datasets
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from ....extras import require_extra
from ....metrics.translation.translation import METRICS
from ....models.configuration_attention_seq2seq import AttentionSeq2SeqConfig
from ....models.modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration
from ...data.held_out import with_validation_split
from ...data.reading import get_split, load_splits, load_text_splits
from ...data.streaming import first_rows, streamed_dataloader
from ...data.texts import TRANSLATION_COLUMN, has_language_columns, text_pairs
from ...data.tokenization import warn_of_unknown_words
from ...loop.batches import SizedBatches
from ...loop.evaluation import beam_settings, tune_generation
from ...loop.run import Run
from ...loop.scheduled_sampling import ScheduledSamplingObjective
from ...loop.train import train
from ...options import parse_arguments
from .arguments import DEFAULTS, Arguments, TextPairArguments, to_pairs
from .evaluation import ChatEvaluator, TextPairEvaluator, TranslationEvaluator
from .examples import text_pair_dataloader
from .languages import take_languages
from .model import load_embeddings, load_model, make_model, make_tokenizer
from .picture import draw_translation


def main(description: str | None = None) -> None:
    """
    Trains a sequence-to-sequence model as the command line says.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    arguments = parse_arguments("translator", Arguments, DEFAULTS, description)
    check_arguments(arguments)
    data = arguments.data
    if data.task == "chat":
        arguments.loop.metric_for_best_model, arguments.loop.greater_is_better = "perplexity", False
    run = Run(arguments.loop, arguments.hub)

    train_rows, pairs = read_splits(arguments)
    read_pairs = partial(training_pairs, arguments, train_rows, pairs)
    if arguments.pretrained.model_name_or_path is not None:
        model, tokenizer = load_model(arguments)
    else:
        tokenizer = run.tokenizer(lambda: make_tokenizer(arguments.tokenizer, read_pairs, data.separate_vocabularies))
        model = make_model(arguments.model, tokenizer)
        load_embeddings(model, arguments.word_vectors, tokenizer, read_pairs)
    tokenizer.model_max_length = data.max_source_length
    if "train" in pairs:
        warn_of_unknown_words(tokenizer, pairs["train"]["source"], "sources")
        warn_of_unknown_words(getattr(tokenizer, "target_tokenizer", tokenizer), pairs["train"]["target"], "targets")
    is_translation = None not in (data.source_lang, data.target_lang)
    if is_translation:
        # By this the translation pipeline warns of other languages.
        model.config.task_specific_params = {f"translation_{data.source_lang}_to_{data.target_lang}": {}}
    else:
        model.config.task_specific_params = None  # of the translator that it may have been
    settings = beam_settings(data.num_beams, data.length_penalty)
    model.generation_config.max_length = data.max_target_length + 1  # with the start token
    model.generation_config.update(**settings)

    validation = make_evaluator("validation", pairs, tokenizer, run, data)
    validation_settings = beam_settings(data.validation_num_beams, data.length_penalty)
    draw = None
    if model.config.attention_type is not None:
        draw = partial(draw_translation, tokenizer=tokenizer, source=pairs["validation"][0]["source"])
    task = "translation" if is_translation else "text2text-generation"
    end = {"processor": tokenizer, "task": task, "arguments": arguments, "draw": draw}
    run.rehearse(model, evaluate=partial(validation.of_one_batch(), **validation_settings), **end)
    dataloader = training_batches(arguments, train_rows, pairs, tokenizer, run)
    result = train(
        model,
        arguments.loop,
        dataloader,
        run.accelerator,
        evaluate=partial(validation, **validation_settings),
        save=run.saving(tokenizer),
        objective=make_objective(arguments, dataloader, run),
    )

    model = run.best_model(result, AttentionSeq2SeqForConditionalGeneration)
    if data.tune_generation:
        settings, scores = tune_generation(
            model,
            validation,
            arguments.loop.metric_for_best_model,
            [data.num_beams],
            (0.6, 1.0, 1.4),
            arguments.loop.greater_is_better,
        )
        model.generation_config.update(**settings)
    else:
        scores = validation(model)
    results = {
        "signatures": validation.signatures,
        "best_epoch": result.state.best_epoch,
        "vocab_size": model.config.vocab_size,
        "generation": settings,
        "validation": scores,
    }
    if data.do_test:
        results["test"] = make_evaluator("test", pairs, tokenizer, run, data)(model)
    run.finish(model, results=results, **end)


def check_arguments(arguments: Arguments) -> None:
    """Refuses, before anything costly, what does not go together or is not installed; the model says its languages."""
    config = arguments.pretrained.check(AttentionSeq2SeqConfig)
    if arguments.data.task == "translation":
        take_languages(arguments.data, config)
        require_extra("metrics", "sacrebleu")
        arguments.loop.check_metric(METRICS)
    arguments.streaming.check(arguments.loop.max_steps, arguments.loop.dataloader_num_workers)
    if arguments.streaming.streaming and arguments.data.task == "chat":
        raise ValueError("`task='chat'` compares replies with all training answers, which `streaming` does not keep.")
    if arguments.streaming.streaming and arguments.data.additional_train_files is not None:
        raise ValueError("`additional_train_files` cannot be streamed: leave out `streaming`.")


def load_rows(arguments: TextPairArguments, streaming: bool) -> DatasetDict | IterableDatasetDict:
    """The rows of each split that the run needs, by the split's name."""
    if arguments.dataset_name is not None:
        return load_splits(arguments.dataset_name, arguments.dataset_config_name, streaming)
    splits = ("train", "validation", "test") if arguments.do_test else ("train", "validation")
    files = {getattr(arguments, f"{split}_split"): getattr(arguments, f"{split}_files") for split in splits}
    return load_text_splits({name: paths for name, paths in files.items() if paths is not None}, streaming)


def additional_pairs(arguments: TextPairArguments) -> Dataset:
    """
    The pairs of sentences of `additional_train_files`: of two files, source and target; of one, the columns or
    languages that the other data have, or its columns `source` and `target`.
    """
    name, files = "additional_train_files", arguments.additional_train_files
    columns, languages = ("source", "target"), (None, None)
    given = (arguments.source_lang, arguments.target_lang)
    try:
        rows = get_split(load_text_splits({name: files}), name)
        if len(files) == 1 and arguments.source_column in rows.column_names:
            columns = (arguments.source_column, arguments.target_column)
        elif TRANSLATION_COLUMN in rows.column_names or has_language_columns(rows, *given):
            columns, languages = (None, None), given
        return text_pairs(rows, *columns, *languages, drop_unpaired=arguments.drop_unpaired)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from error


def read_splits(arguments: Arguments) -> tuple[Dataset | IterableDataset, dict[str, Dataset]]:
    """The rows of training, and the pairs by `train`, unless that is a stream, `validation` and, if asked, `test`."""
    data, streaming = arguments.data, arguments.streaming.streaming
    additional = [] if data.additional_train_files is None else [additional_pairs(data)]
    rows = load_rows(data, streaming)
    rows = with_validation_split(rows, data.train_split, data.validation_split, data.test_split, arguments.held_out)
    train_rows = get_split(rows, data.train_split, data.max_train_samples, "train_split")

    def evaluation_pairs(argument: str) -> Dataset:
        samples = arguments.loop.eval_samples(data.max_eval_samples)
        split = get_split(rows, getattr(data, argument), samples, argument)
        return to_pairs(first_rows(split) if streaming else split, data)

    pairs = {"validation": evaluation_pairs("validation_split")}
    if data.do_test:
        pairs["test"] = evaluation_pairs("test_split")
    if not streaming:
        pairs["train"] = concatenate_datasets([to_pairs(train_rows, data), *additional])
    return train_rows, pairs


def training_pairs(arguments: Arguments, train_rows: Dataset | IterableDataset, pairs: dict[str, Dataset]) -> Dataset:
    """What the tokenizer is trained on: all pairs, or of a stream the first."""
    if arguments.streaming.streaming:
        return to_pairs(first_rows(train_rows, arguments.streaming.tokenizer_rows), arguments.data)
    return pairs["train"]


def make_evaluator(
    split: str, pairs: dict[str, Dataset], tokenizer: PreTrainedTokenizerFast, run: Run, arguments: TextPairArguments
) -> TextPairEvaluator:
    """What scores a model on a split, as suits the task."""
    common = (pairs[split], tokenizer, run.accelerator, arguments.eval_batch_size)
    if arguments.task == "chat":
        answers = pairs["train"]["target"]
        return ChatEvaluator(*common, training_answers=answers, max_target_length=arguments.max_target_length)
    languages = {"tokenize": arguments.bleu_tokenizer, "language": arguments.target_lang}
    return TranslationEvaluator(*common, **languages)


def training_batches(
    arguments: Arguments,
    train_rows: Dataset | IterableDataset,
    pairs: dict[str, Dataset],
    tokenizer: PreTrainedTokenizerFast,
    run: Run,
) -> DataLoader:
    """What the model is trained on."""
    loop = arguments.loop

    def batches(pairs: Dataset, num_workers: int = 0) -> DataLoader:
        return text_pair_dataloader(pairs, tokenizer, arguments.data, seed=loop.seed, num_workers=num_workers)

    if not arguments.streaming.streaming:
        return batches(pairs["train"], loop.dataloader_num_workers)
    return streamed_dataloader(
        train_rows,
        lambda rows: batches(to_pairs(rows, arguments.data)),
        run.accelerator,
        arguments.streaming,
        loop.seed,
        loop.dataloader_num_workers,
    )


def make_objective(arguments: Arguments, dataloader: DataLoader, run: Run) -> ScheduledSamplingObjective | None:
    """What is minimised, where that is not the model's own loss."""
    loop, probability = arguments.loop, arguments.data.scheduled_sampling
    if not probability:
        return None
    epochs = loop.num_train_epochs
    if loop.max_steps is not None:
        if arguments.streaming.streaming:
            steps = arguments.streaming.steps_per_epoch
        else:
            batches = SizedBatches(dataloader, run.accelerator, loop.gradient_accumulation_steps, loop.seed)
            steps = batches.steps_per_epoch
        epochs = math.ceil(loop.max_steps / steps)
    return ScheduledSamplingObjective(run.accelerator, probability, epochs)
