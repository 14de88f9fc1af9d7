"""Training a language model, from the command line to the model's card: `scripts/train_lm.py`."""

from collections.abc import Callable
from pathlib import Path

from datasets import DatasetDict
from transformers import PreTrainedModel

from ....metrics.perplexity.perplexity import METRICS, TextPerplexity
from ....models.configuration_recurrent_lm import RecurrentLMConfig
from ....models.modeling_recurrent_lm import RecurrentLMForCausalLM
from ...data.columns import with_usual_names
from ...data.held_out import with_validation_split
from ...data.reading import get_split, load_splits
from ...data.texts import running_texts
from ...data.tokenization import warn_of_unknown_words
from ...loop.nt_asgd import NTASGD
from ...loop.run import Run
from ...loop.train import train
from ...options import parse_arguments
from .arguments import DEFAULTS, Arguments, TextArguments
from .examples import text_dataloader
from .model import load_model, make_model, make_tokenizer
from .objectives import CarriedState, TextObjective


def main(description: str | None = None) -> None:
    """
    Trains a language model as the command line says.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    arguments = parse_arguments("language-model", Arguments, DEFAULTS, description)
    check_arguments(arguments)
    loop, data = arguments.loop, arguments.data
    run = Run(loop, arguments.hub)
    accelerator = run.accelerator

    splits = with_usual_names(load_splits(data.dataset_name, data.dataset_config_name), data.text_column)
    splits = with_validation_split(
        splits,
        data.train_split,
        data.validation_split,
        data.test_split,
        arguments.held_out,
        is_running_text=not data.reset_state,
    )
    texts = load_texts(splits, "train_split", data, data.max_train_samples)
    if arguments.pretrained.model_name_or_path is not None:
        model, tokenizer = load_model(arguments)
    else:
        tokenizer = run.tokenizer(lambda: make_tokenizer(arguments.tokenizer, texts, data.reset_state))
        model = make_model(arguments.model, tokenizer)
        arguments.word_vectors.load_into(model.get_input_embeddings(), tokenizer, lambda: texts)
    warn_of_unknown_words(tokenizer, texts, "texts")

    def perplexity(argument: str, columns: int) -> TextPerplexity:
        texts = load_texts(splits, argument, data, loop.eval_samples(data.max_eval_samples))
        return TextPerplexity(texts, tokenizer, accelerator, columns, reset_state=data.reset_state)

    validation = perplexity("validation_split", data.eval_columns)
    columns = data.eval_columns if data.reset_state else 1
    # Read before the training, so that what is missing is missed now.
    at_end = {"validation": perplexity("validation_split", columns)}
    if data.do_test:
        at_end["test"] = perplexity("test_split", columns)
    end = {"processor": tokenizer, "task": "text-generation", "arguments": arguments}
    run.rehearse(model, evaluate=validation.of_one_batch(), **end)
    optimizer, evaluate, save = None, validation, run.saving(tokenizer)
    if arguments.optimizer.optimizer == "nt_asgd":
        optimizer = NTASGD(
            model.parameters(), loop.learning_rate, loop.weight_decay, arguments.optimizer.nonmonotone_interval
        )
        evaluate, save = with_averaged_weights(optimizer, evaluate, save)
    result = train(
        model,
        loop,
        text_dataloader(texts, tokenizer, data, accelerator.num_processes, loop.seed),
        accelerator,
        evaluate=evaluate,
        save=save,
        optimizer=optimizer,
        objective=TextObjective() if data.reset_state else CarriedState(accelerator.device),
    )

    model = run.best_model(result, RecurrentLMForCausalLM)
    results = {
        "best_epoch": result.state.best_epoch,
        "vocab_size": model.config.vocab_size,
        **{split: evaluate(model) for split, evaluate in at_end.items()},
    }
    run.finish(model, results=results, **end)


def check_arguments(arguments: Arguments) -> None:
    """Refuses, before anything costly, what does not go together."""
    arguments.loop.check_metric(METRICS)
    arguments.pretrained.check(RecurrentLMConfig)
    averages_itself = arguments.optimizer.optimizer == "nt_asgd"
    if averages_itself and arguments.loop.ema_decay:
        raise ValueError("`optimizer` nt_asgd averages weights itself: give it `ema_decay` 0.")
    if averages_itself and arguments.loop.average_checkpoints:
        raise ValueError("`optimizer` nt_asgd averages weights itself: leave out `average_checkpoints`.")


def load_texts(splits: DatasetDict, argument: str, arguments: TextArguments, max_samples: int | None) -> list[str]:
    """The texts of the split that an argument names, in their order."""
    split = get_split(splits, getattr(arguments, argument), max_samples, argument)
    return running_texts(split, arguments.text_column, arguments.drop_missing)


def with_averaged_weights(
    optimizer: NTASGD,
    evaluate: Callable[[PreTrainedModel], dict[str, float]],
    save: Callable[[PreTrainedModel, Path], None],
) -> tuple[Callable[[PreTrainedModel], dict[str, float]], Callable[[PreTrainedModel, Path], None]]:
    """Evaluation and saving of the averaged weights; the optimiser is told what the evaluation finds."""

    def evaluate_averaged(model: PreTrainedModel) -> dict[str, float]:
        with optimizer.averaged():
            metrics = evaluate(model)
        optimizer.observe(metrics["loss"])
        return metrics

    def save_averaged(model: PreTrainedModel, folder: Path) -> None:
        with optimizer.averaged():
            save(model, folder)

    return evaluate_averaged, save_averaged
