"""
Scores a model, of this package or any other.

    python scripts/evaluate_model.py perplexity --model runs/ptb --dataset_name $HF_ATTENTION_DATA/data/ptb

`perplexity` is that of a text under a causal language model: the texts of a column, each followed by the tokenizer's
end-of-sentence token, or joined by `--separator`. A recurrent model reads them as one stream, its state carried from
segment to segment; any other predicts the last `--segment_length` tokens of each window of `--context`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer, HfArgumentParser

import hf_attention  # noqa: F401  (the Auto classes then know its models)
from hf_attention.training.data import check_column, get_split, load_splits
from hf_attention.training.language_modeling import TextPerplexity, WindowPerplexity, stream


@dataclass
class PerplexityArguments:
    """A causal language model and a text."""

    model: str = field(metadata={"help": "Hub name or folder of the model."})
    dataset_name: str = field(metadata={"help": "Hub name or folder of the data set."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str = "test"
    text_column: str = field(default="text", metadata={"help": "Column of the texts: a sentence or paragraph a row."})
    max_samples: int | None = field(default=None, metadata={"help": "Use only so many rows."})
    separator: str | None = field(
        default=None, metadata={"help": "Join the texts by this, in place of an end-of-sentence token behind each."}
    )
    segment_length: int = field(default=64, metadata={"help": "Tokens at a time."})
    columns: int = field(
        default=1, metadata={"help": "Recurrent models: parts of the text that are read side by side; 1 is exact."}
    )
    reset_state: bool = field(default=False, metadata={"help": "Recurrent models: read each text from a zero state."})
    context: int | None = field(
        default=None, metadata={"help": "Other models: tokens of a window. Default: all that the model can read."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the code that lies beside the weights."})
    json: str | None = field(default=None, metadata={"help": "Where to write the scores too."})


def perplexity(arguments: PerplexityArguments) -> dict[str, float]:
    """The perplexity of a text."""
    accelerator = Accelerator()
    trust = {"trust_remote_code": arguments.trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, **trust)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, **trust)
    model = model.to(accelerator.device).eval()
    splits = load_splits(arguments.dataset_name, arguments.dataset_config_name)
    split = get_split(splits, arguments.split, arguments.max_samples)
    check_column(split, arguments.text_column, "text_column")
    texts = list(split[arguments.text_column])
    if model.config.model_type == "recurrent_lm":
        if arguments.separator is not None or arguments.context is not None:
            raise ValueError("`separator` and `context` are for models without a recurrent state.")
        return TextPerplexity(
            texts, tokenizer, accelerator, arguments.columns, arguments.segment_length, arguments.reset_state
        )(model)
    if arguments.columns != 1 or arguments.reset_state:
        raise ValueError("`columns` and `reset_state` are for recurrent models.")
    if arguments.separator is not None:
        tokens = tokenizer(arguments.separator.join(texts), return_tensors="pt", verbose=False)["input_ids"][0]
    elif tokenizer.eos_token_id is None:
        raise ValueError(f"The tokenizer of {arguments.model} has no end-of-sentence token: give a `separator`.")
    else:
        tokens = stream(texts, tokenizer)
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    context = arguments.context or longest
    if context is None or (longest is not None and context > longest):
        raise ValueError(
            f"`context` must be given, and be at most what the model can read ({longest}), got {context}."
        )
    return WindowPerplexity(tokens, accelerator.device, context, min(arguments.segment_length, context))(model)


# What can be measured, and the arguments that it takes.
EVALUATIONS: dict[str, tuple[type, Callable[[Any], dict[str, float]]]] = {
    "perplexity": (PerplexityArguments, perplexity),
}


def main(argv: list[str] | None = None) -> None:
    parser = HfArgumentParser((), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=HfArgumentParser)
    for name, (arguments_class, _) in EVALUATIONS.items():
        commands.add_parser(name, dataclass_types=arguments_class)
    values = vars(parser.parse_args(argv))
    arguments_class, evaluate = EVALUATIONS[values.pop("command")]
    arguments = arguments_class(**values)
    scores = evaluate(arguments)
    print(json.dumps(scores))
    if arguments.json is not None:
        Path(arguments.json).write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
