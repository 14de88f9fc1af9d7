"""
Trains a recurrent language model on running text.

    accelerate launch scripts/train_lm.py --dataset_name $HF_ATTENTION_DATA/data/ptb --output_dir runs/ptb \\
        --mixed_precision bf16 --do_test

At the end `output_dir` holds the model that was best on validation, with its tokenizer, results.json and a model card;
with `--push_to_hub` the Hub has them too.
"""

import logging
from pathlib import Path

from datasets import DatasetDict
from transformers import AutoTokenizer, HfArgumentParser, PreTrainedModel, PreTrainedTokenizerFast

from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM
from hf_attention.training.arguments import (
    HubArguments,
    LanguageModelArguments,
    LanguageModelOptimizerArguments,
    LoopArguments,
    PretrainedLanguageModelArguments,
    TextArguments,
    TokenizerArguments,
    changed_options,
    refuse_options,
)
from hf_attention.training.data.reading import check_column, get_split, load_splits
from hf_attention.training.data.tokenization import load_tokenizer, train_tokenizer
from hf_attention.training.loop.nt_asgd import NTASGD
from hf_attention.training.loop.run import Run
from hf_attention.training.loop.train import train
from hf_attention.training.tasks.language_modeling import (
    CarriedState,
    TextObjective,
    TextPerplexity,
    for_running_text,
    text_dataloader,
)


# For some million words, where it differs from the arguments' own defaults.
DEFAULTS = {
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "num_train_epochs": 12,
    "metric_for_best_model": "perplexity",
    "greater_is_better": False,
    "tokenizer_type": "space",
    "vocab_size": 50000,
    "min_count": 1,
}


def load_texts(splits: DatasetDict, name: str, arguments: TextArguments, max_samples: int | None) -> list[str]:
    """The texts of a split, in their order."""
    split = get_split(splits, name, max_samples)
    check_column(split, arguments.text_column, "text_column")
    return list(split[arguments.text_column])


def make_tokenizer(arguments: TokenizerArguments, texts: list[str], padding: bool) -> PreTrainedTokenizerFast:
    """The ready tokenizer, or one trained on the texts, whose own end of sentence parts them."""
    if arguments.tokenizer_name is not None:
        refuse_options("tokenizer_name", changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        special_tokens = ("eos_token", "pad_token") if padding else ("eos_token",)
        return load_tokenizer(arguments.tokenizer_name, special_tokens, closes_texts=False)
    return for_running_text(
        train_tokenizer(
            texts, arguments.tokenizer_type, arguments.vocab_size, arguments.min_count, arguments.lowercase
        )
    )


def make_model(arguments: LanguageModelArguments, tokenizer: PreTrainedTokenizerFast) -> RecurrentLMForCausalLM:
    """A new model for the tokenizer's vocabulary."""
    config = RecurrentLMConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        unk_token_id=tokenizer.unk_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **arguments.config_kwargs(),
    )
    return RecurrentLMForCausalLM(config)


def load_model(
    name: str, arguments: LanguageModelArguments, tokenizer_args: TokenizerArguments
) -> tuple[RecurrentLMForCausalLM, PreTrainedTokenizerFast]:
    """A trained model with its tokenizer, and the dropout and label smoothing of this run."""
    regularisation = {
        field: value
        for field, value in arguments.config_kwargs().items()
        if "dropout" in field or field == "label_smoothing"
    }
    given = (changed_options(arguments) - regularisation.keys()) | changed_options(tokenizer_args, DEFAULTS)
    refuse_options("model_name_or_path", given)
    model = RecurrentLMForCausalLM.from_pretrained(name, **regularisation)
    return model, AutoTokenizer.from_pretrained(name)


def main() -> None:
    parser = HfArgumentParser(
        (
            LoopArguments,
            TextArguments,
            PretrainedLanguageModelArguments,
            TokenizerArguments,
            LanguageModelArguments,
            LanguageModelOptimizerArguments,
            HubArguments,
        ),
        description=__doc__,
    )
    parser.set_defaults(**DEFAULTS)
    arguments = parser.parse_args_into_dataclasses()
    loop_args, data_args, pretrained_args, tokenizer_args, model_args, optimizer_args, hub_args = arguments
    if optimizer_args.optimizer == "nt_asgd" and loop_args.ema_decay:
        raise ValueError("`optimizer` nt_asgd averages weights itself: give it `ema_decay` 0.")
    if optimizer_args.optimizer == "nt_asgd" and loop_args.average_checkpoints:
        raise ValueError("`optimizer` nt_asgd averages weights itself: leave out `average_checkpoints`.")
    logging.basicConfig(level=logging.WARNING)
    run = Run(loop_args, hub_args)
    accelerator = run.accelerator

    splits = load_splits(data_args.dataset_name, data_args.dataset_config_name)
    texts = load_texts(splits, data_args.train_split, data_args, data_args.max_train_samples)
    if pretrained_args.model_name_or_path is not None:
        model, tokenizer = load_model(pretrained_args.model_name_or_path, model_args, tokenizer_args)
    else:
        tokenizer = run.tokenizer(lambda: make_tokenizer(tokenizer_args, texts, data_args.reset_state))
        model = make_model(model_args, tokenizer)
    optimizer = None
    if optimizer_args.optimizer == "nt_asgd":
        optimizer = NTASGD(
            model.parameters(),
            loop_args.learning_rate,
            loop_args.weight_decay,
            optimizer_args.nonmonotone_interval,
        )

    max_eval_samples = loop_args.eval_samples(data_args.max_eval_samples)

    def perplexity(split: str, columns: int) -> TextPerplexity:
        texts = load_texts(splits, split, data_args, max_eval_samples)
        return TextPerplexity(texts, tokenizer, accelerator, columns, reset_state=data_args.reset_state)

    validation = perplexity(data_args.validation_split, data_args.eval_columns)

    def evaluate(model: PreTrainedModel) -> dict[str, float]:
        if optimizer is None:
            return validation(model)
        with optimizer.averaged():
            metrics = validation(model)
        optimizer.observe(metrics["loss"])
        return metrics

    save = run.saving(tokenizer)

    def save_averaged(model: PreTrainedModel, folder: Path) -> None:
        with optimizer.averaged():
            save(model, folder)

    result = train(
        model,
        loop_args,
        text_dataloader(texts, tokenizer, data_args, accelerator.num_processes, loop_args.seed),
        accelerator,
        evaluate=evaluate,
        save=save if optimizer is None else save_averaged,
        optimizer=optimizer,
        objective=TextObjective() if data_args.reset_state else CarriedState(accelerator.device),
    )

    model = run.best_model(result, RecurrentLMForCausalLM)
    columns = data_args.eval_columns if data_args.reset_state else 1
    results = {
        "best_epoch": result.state.best_epoch,
        "vocab_size": model.config.vocab_size,
        "validation": perplexity(data_args.validation_split, columns)(model),
    }
    if data_args.do_test:
        results["test"] = perplexity(data_args.test_split, columns)(model)
    run.finish(model, tokenizer, "text-generation", arguments, results)


if __name__ == "__main__":
    main()
