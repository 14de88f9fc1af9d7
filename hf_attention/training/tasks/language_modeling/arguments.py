"""What training a language model is told."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from ....arguments import COUNT, CheckedArguments
from ....models.configuration_recurrent_lm import RecurrentLMConfig
from ...data.arguments import TokenizerArguments
from ...data.held_out import HeldOutArguments
from ...data.word_vectors import WordVectorArguments
from ...loop.arguments import LoopArguments
from ...options import configuration_options
from ...publish.arguments import HubArguments
from ...recipes import RecipeArguments
from ..pretrained import PretrainedArguments


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

# The medium model of Zaremba et al. 2015.
LanguageModelArguments = configuration_options(
    "LanguageModelArguments",
    RecurrentLMConfig,
    defaults={
        "embedding_size": 650,
        "hidden_size": 650,
        "num_hidden_layers": 2,
        "embedding_dropout": 0.5,
        "hidden_dropout": 0.5,
        "readout_dropout": 0.5,
        "tie_word_embeddings": True,
    },
)


@dataclass
class TextArguments(CheckedArguments):
    """A running text, and how it is cut into batches."""

    dataset_name: str = field(
        metadata={"help": "Hub name, folder or file of the data set; a folder may hold plain files such as train.txt."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    text_column: str = field(default="text", metadata={"help": "Column of the texts: a sentence or paragraph a row."})
    drop_missing: bool = field(default=False, metadata={"help": "Leave out rows without a text, and say how many."})
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    max_train_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many training rows."}
    )
    max_eval_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many rows of other splits."}
    )
    columns: Annotated[int, COUNT] = field(
        default=32, metadata={"help": "Parallel parts of the text in a batch (and process); sentences, if reset."}
    )
    segment_length: Annotated[int, COUNT] = field(
        default=35, metadata={"help": "Tokens of a column between two steps."}
    )
    random_segments: bool = field(default=False, metadata={"help": "Draw the segments' lengths around that length."})
    reset_state: bool = field(
        default=False, metadata={"help": "Train and score sentence by sentence, each from the zero state."}
    )
    eval_columns: Annotated[int, COUNT] = field(
        default=16, metadata={"help": "Parallel parts of the validation text; the test text is read in one."}
    )
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})


@dataclass
class OptimizerArguments(CheckedArguments):
    """AdamW, or SGD that begins to average its weights when validation stops improving."""

    optimizer: Literal["adamw", "nt_asgd"] = field(
        default="adamw", metadata={"help": "nt_asgd: that of Merity et al. 2018; it goes with ema_decay 0."}
    )
    nonmonotone_interval: Annotated[int, COUNT] = field(
        default=5, metadata={"help": "nt_asgd averages once the loss is above its best of so many epochs before."}
    )


class Arguments(NamedTuple):
    """All that the task is told."""

    loop: LoopArguments
    data: TextArguments
    held_out: HeldOutArguments
    pretrained: PretrainedArguments
    tokenizer: TokenizerArguments
    word_vectors: WordVectorArguments
    model: LanguageModelArguments
    optimizer: OptimizerArguments
    hub: HubArguments
    recipe: RecipeArguments
