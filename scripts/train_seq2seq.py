"""
Trains a sequence-to-sequence model with attention on pairs of sentences: translation, or chat.

    accelerate launch scripts/train_seq2seq.py --dataset_name $HF_ATTENTION_DATA/data/multi30k \\
        --source_lang en --target_lang de --output_dir runs/en-de --mixed_precision bf16 --do_test

Data larger than the disk are read as they come with `--streaming --max_steps 100000`.

At the end `output_dir` holds the model that was best on validation, with its tokenizer and generation settings,
results.json and a model card; with `--push_to_hub` the Hub has them too.
"""

import logging
import math
from collections.abc import Callable
from functools import partial
from itertools import chain

from datasets import Dataset, DatasetDict, IterableDatasetDict
from torch.utils.data import DataLoader
from transformers import HfArgumentParser, PreTrainedTokenizerFast

from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionSeq2SeqTokenizer,
)
from hf_attention.extras import require_extra
from hf_attention.metrics.translation.translation import translation_signatures
from hf_attention.training.arguments import (
    HubArguments,
    LoopArguments,
    Seq2SeqModelArguments,
    StreamingArguments,
    TextPairArguments,
    TokenizerArguments,
    changed_options,
    refuse_options,
)
from hf_attention.training.data.reading import get_split, load_splits, load_text_splits, text_pairs
from hf_attention.training.data.streaming import first_rows, streamed_dataloader
from hf_attention.training.data.tokenization import load_tokenizer, train_tokenizer
from hf_attention.training.loop.batches import SizedBatches
from hf_attention.training.loop.evaluation import tune_generation
from hf_attention.training.loop.run import Run
from hf_attention.training.loop.scheduled_sampling import ScheduledSamplingObjective
from hf_attention.training.loop.train import train
from hf_attention.training.tasks.translating import (
    ChatEvaluator,
    TextPairEvaluator,
    TranslationEvaluator,
    text_pair_dataloader,
)


# For some 30,000 pairs of sentences, where it differs from the arguments' own defaults.
DEFAULTS = {
    "learning_rate": 3e-3,
    "warmup_steps": 400,
    "max_grad_norm": 1.0,
    "num_train_epochs": 12,
    "metric_for_best_model": "bleu",
    "tokenizer_type": "bpe",
    "vocab_size": 8000,
    "min_count": 2,
}


def load_rows(arguments: TextPairArguments, streaming: bool) -> DatasetDict | IterableDatasetDict:
    """The rows of each split that the run needs, by the split's name."""
    if arguments.dataset_name is not None:
        return load_splits(arguments.dataset_name, arguments.dataset_config_name, streaming)
    splits = ("train", "validation", "test") if arguments.do_test else ("train", "validation")
    files = {getattr(arguments, f"{split}_split"): getattr(arguments, f"{split}_files") for split in splits}
    return load_text_splits({name: paths[0] if len(paths) == 1 else paths for name, paths in files.items()}, streaming)


def make_tokenizer(
    arguments: TokenizerArguments, read_pairs: Callable[[], Dataset], separate: bool
) -> PreTrainedTokenizerFast | AttentionSeq2SeqTokenizer:
    """The ready tokenizer, or one trained on pairs: joint, or with a vocabulary a side."""
    if arguments.tokenizer_name is not None:
        refuse_options("tokenizer_name", changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        tokenizer = load_tokenizer(arguments.tokenizer_name)
        if separate and not hasattr(tokenizer, "target_tokenizer"):
            raise ValueError(f"The tokenizer {arguments.tokenizer_name!r} has no vocabulary a side.")
        return tokenizer
    pairs = read_pairs()

    def trained(*columns: str) -> PreTrainedTokenizerFast:
        texts = chain.from_iterable(pairs[column] for column in columns)
        return train_tokenizer(
            texts, arguments.tokenizer_type, arguments.vocab_size, arguments.min_count, arguments.lowercase
        )

    if separate:
        return AttentionSeq2SeqTokenizer.from_tokenizers(trained("source"), trained("target"))
    return trained("source", "target")


def make_model(
    arguments: Seq2SeqModelArguments, tokenizer: PreTrainedTokenizerFast | AttentionSeq2SeqTokenizer
) -> AttentionSeq2SeqForConditionalGeneration:
    """A new model for the tokenizer's vocabularies."""
    target = getattr(tokenizer, "target_tokenizer", None)
    settings = arguments.config_kwargs()
    if settings["share_encoder_decoder_embeddings"] is None:
        settings["share_encoder_decoder_embeddings"] = target is None
    config = AttentionSeq2SeqConfig(
        vocab_size=len(tokenizer if target is None else target),
        source_vocab_size=None if target is None else len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        unk_token_id=tokenizer.unk_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        **settings,
    )
    return AttentionSeq2SeqForConditionalGeneration(config)


def main() -> None:
    parser = HfArgumentParser(
        (
            LoopArguments,
            TextPairArguments,
            StreamingArguments,
            TokenizerArguments,
            Seq2SeqModelArguments,
            HubArguments,
        ),
        description=__doc__,
    )
    parser.set_defaults(**DEFAULTS)
    arguments = parser.parse_args_into_dataclasses()
    loop_args, data_args, stream_args, tokenizer_args, model_args, hub_args = arguments
    if data_args.task == "translation":
        require_extra("metrics", "sacrebleu")
    stream_args.check(loop_args)
    if stream_args.streaming and data_args.task == "chat":
        raise ValueError("`task='chat'` compares replies with all training answers, which `streaming` does not keep.")
    if data_args.task == "chat":
        loop_args.metric_for_best_model, loop_args.greater_is_better = "perplexity", False
    logging.basicConfig(level=logging.WARNING)
    run = Run(loop_args, hub_args)
    accelerator = run.accelerator

    rows = load_rows(data_args, stream_args.streaming)
    to_pairs = partial(
        text_pairs,
        source_column=data_args.source_column,
        target_column=data_args.target_column,
        source_lang=data_args.source_lang,
        target_lang=data_args.target_lang,
        drop_unpaired=data_args.drop_unpaired,
    )
    train_rows = get_split(rows, data_args.train_split, data_args.max_train_samples)

    def evaluation_pairs(name: str) -> Dataset:
        split = get_split(rows, name, loop_args.eval_samples(data_args.max_eval_samples))
        return to_pairs(first_rows(split) if stream_args.streaming else split)

    pairs = {"validation": evaluation_pairs(data_args.validation_split)}
    if data_args.do_test:
        pairs["test"] = evaluation_pairs(data_args.test_split)
    if not stream_args.streaming:
        pairs["train"] = to_pairs(train_rows)

    def read_pairs() -> Dataset:
        """What the tokenizer is trained on."""
        return (
            to_pairs(first_rows(train_rows, stream_args.tokenizer_rows)) if stream_args.streaming else pairs["train"]
        )

    tokenizer = run.tokenizer(lambda: make_tokenizer(tokenizer_args, read_pairs, data_args.separate_vocabularies))
    tokenizer.model_max_length = data_args.max_source_length
    model = make_model(model_args, tokenizer)
    if data_args.source_lang is not None:
        # By this the translation pipeline refuses other languages, and knows these also where this package is missing.
        model.config.task_specific_params = {f"translation_{data_args.source_lang}_to_{data_args.target_lang}": {}}
    model.generation_config.max_length = data_args.max_target_length + 1  # with the start token
    settings = {"num_beams": data_args.num_beams, "length_penalty": data_args.length_penalty}
    model.generation_config.update(**settings)

    def evaluator(split: str) -> TextPairEvaluator:
        settings = (data_args.eval_batch_size, data_args.max_source_length, data_args.max_target_length)
        if data_args.task == "chat":
            answers = pairs["train"]["target"]
            return ChatEvaluator(pairs[split], tokenizer, accelerator, *settings, training_answers=answers)
        return TranslationEvaluator(pairs[split], tokenizer, accelerator, *settings)

    validation = evaluator("validation")

    def batches(pairs: Dataset, num_workers: int = 0) -> DataLoader:
        return text_pair_dataloader(pairs, tokenizer, data_args, seed=loop_args.seed, num_workers=num_workers)

    num_workers = loop_args.dataloader_num_workers
    if stream_args.streaming:
        dataloader = streamed_dataloader(
            train_rows, lambda rows: batches(to_pairs(rows)), accelerator, stream_args, loop_args.seed, num_workers
        )
    else:
        dataloader = batches(pairs["train"], num_workers)
    objective = None
    if data_args.scheduled_sampling > 0:
        epochs = loop_args.num_train_epochs
        if loop_args.max_steps is not None:
            steps = stream_args.steps_per_epoch
            if not stream_args.streaming:
                accumulation = loop_args.gradient_accumulation_steps
                steps = SizedBatches(dataloader, accelerator, accumulation, loop_args.seed).steps_per_epoch
            epochs = math.ceil(loop_args.max_steps / steps)
        objective = ScheduledSamplingObjective(accelerator, data_args.scheduled_sampling, epochs)
    result = train(
        model,
        loop_args,
        dataloader,
        accelerator,
        evaluate=lambda model: validation(model, num_beams=data_args.validation_num_beams),
        save=run.saving(tokenizer),
        objective=objective,
    )

    model = run.best_model(result, AttentionSeq2SeqForConditionalGeneration)
    if data_args.tune_generation:
        settings, scores = tune_generation(
            model, validation, loop_args.metric_for_best_model, [data_args.num_beams], (0.6, 1.0, 1.4)
        )
        model.generation_config.update(**settings)
    else:
        scores = validation(model)
    results = {
        "signatures": translation_signatures() if data_args.task == "translation" else {},
        "best_epoch": result.state.best_epoch,
        "vocab_size": model.config.vocab_size,
        "generation": settings,
        "validation": scores,
    }
    if data_args.do_test:
        results["test"] = evaluator("test")(model)
    task = "text2text-generation" if data_args.source_lang is None else "translation"
    run.finish(model, tokenizer, task, arguments, results, pairs["validation"][0]["source"])


if __name__ == "__main__":
    main()
