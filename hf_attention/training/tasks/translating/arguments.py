"""What training on pairs of sentences is told."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from datasets import Dataset

from ....arguments import COUNT, LENGTH_PENALTY, PROPORTION, CheckedArguments
from ....models.configuration_attention_seq2seq import AttentionSeq2SeqConfig
from ....models.ranges import Range
from ...data.arguments import StreamingArguments, TokenizerArguments
from ...data.held_out import HeldOutArguments
from ...data.texts import text_pairs
from ...loop.arguments import LoopArguments
from ...options import configuration_options
from ...publish.arguments import HubArguments
from ...recipes import RecipeArguments
from ..pretrained import PretrainedArguments


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

Seq2SeqModelArguments = configuration_options(
    "Seq2SeqModelArguments",
    AttentionSeq2SeqConfig,
    defaults={
        "attention_size": 256,
        "embedding_dropout": 0.3,
        "hidden_dropout": 0.3,
        "label_smoothing": 0.1,
        "tie_word_embeddings": True,
        "share_encoder_decoder_embeddings": None,
    },
    notes={"share_encoder_decoder_embeddings": "Default: wherever source and target have one vocabulary."},
)


def name_sides(arguments: Any, files: list[str] | None) -> None:
    """Two plain files become the columns `source` and `target`: so they are named where no others are."""
    if files is not None and len(files) == 2 and arguments.source_column is None and arguments.target_column is None:
        arguments.source_column, arguments.target_column = "source", "target"


def to_pairs(rows: Dataset, arguments: Any) -> Dataset:
    """The pairs of sentences of some rows, in the columns or languages that the options name."""
    return text_pairs(
        rows,
        source_column=arguments.source_column,
        target_column=arguments.target_column,
        source_lang=arguments.source_lang,
        target_lang=arguments.target_lang,
        drop_unpaired=arguments.drop_unpaired,
    )


@dataclass
class TextPairArguments(CheckedArguments):
    """The pairs of sentences, and how they are batched and decoded."""

    task: Literal["translation", "chat"] = field(
        default="translation",
        metadata={"help": "What is scored. translation: BLEU and chrF; chat: perplexity, and how varied replies are."},
    )
    dataset_name: str | None = field(default=None, metadata={"help": "Hub name, folder or file of the data set."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    train_files: list[str] | None = field(
        default=None,
        metadata={"help": "Instead: a JSON-lines, CSV or TSV file, or two plain ones, a sentence a line; or .gz."},
    )
    validation_files: list[str] | None = field(
        default=None, metadata={"help": "The same for validation. Default: some of train_files."}
    )
    test_files: list[str] | None = field(default=None, metadata={"help": "The same for the test."})
    additional_train_files: list[str] | None = field(
        default=None,
        metadata={
            "help": "More pairs for training, such as back-translations: one file or two, like train_files. None of "
            "them are held out for validation. One file has the columns of the other data, or source and target."
        },
    )
    source_column: str | None = field(default=None, metadata={"help": "Column of the source sentences."})
    target_column: str | None = field(default=None, metadata={"help": "Column of the target sentences."})
    source_lang: str | None = field(default=None, metadata={"help": "Or: source language in a translation column."})
    target_lang: str | None = field(default=None, metadata={"help": "And the target language."})
    bleu_tokenizer: str | None = field(
        default=None, metadata={"help": "SacreBLEU's tokenizer for BLEU. Default: that of the target language."}
    )
    drop_unpaired: bool = field(default=False, metadata={"help": "Leave out rows without a side, and say how many."})
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    max_train_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many training pairs, additional ones not counted."}
    )
    max_eval_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many pairs of other splits."}
    )
    max_source_length: Annotated[int, COUNT] = field(
        default=100, metadata={"help": "Longer sources are cut, in tokens."}
    )
    max_target_length: Annotated[int, COUNT] = field(
        default=100, metadata={"help": "Longer targets are cut, in tokens."}
    )
    separate_vocabularies: bool = field(
        default=False, metadata={"help": "One vocabulary a side instead of a joint one."}
    )
    bpe_dropout: Annotated[float, PROPORTION] = field(
        default=0.0,
        metadata={
            "help": "Probability to leave out a merge, in training. No seed governs it: runs are not repeatable."
        },
    )
    scheduled_sampling: Annotated[float, Range(0, 1, "[]")] = field(
        default=0.0,
        metadata={"help": "Share of its own words that the decoder is fed, rising from 0 to this in the last epoch."},
    )
    batch_size: Annotated[int, COUNT] = field(default=80, metadata={"help": "Pairs of one batch (and process)."})
    bucket_batches: Annotated[int, COUNT] = field(
        default=20, metadata={"help": "Batches among which pairs are sorted by length; 1: in random order."}
    )
    eval_batch_size: Annotated[int, COUNT] = field(
        default=100, metadata={"help": "Sentences of one batch in generation."}
    )
    validation_num_beams: Annotated[int, COUNT] = field(
        default=5, metadata={"help": "Beams of the validation after each epoch."}
    )
    num_beams: Annotated[int, COUNT] = field(default=5, metadata={"help": "Beams stored with the model."})
    length_penalty: Annotated[float, LENGTH_PENALTY] = field(
        default=1.0, metadata={"help": "The same, of the length's exponent, if not tuned; a single beam has none."}
    )
    tune_generation: bool = field(
        default=False, metadata={"help": "At the end, choose the length penalty on the validation split."}
    )
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})

    def __post_init__(self):
        super().__post_init__()
        if (self.dataset_name is None) == (self.train_files is None):
            raise ValueError("Give either `dataset_name` or `train_files`.")
        if self.task == "chat" and self.tune_generation:
            raise ValueError("`tune_generation` chooses by a score of generated texts: `task='chat'` has none.")
        if self.do_test and self.train_files is not None and self.test_files is None:
            raise ValueError("`do_test` needs `test_files` beside `train_files`.")
        name_sides(self, self.train_files)


@dataclass
class PairedWordVectorArguments(CheckedArguments):
    """Where the embeddings of either side start."""

    source_embeddings: str | None = field(
        default=None,
        metadata={
            "help": "File of pretrained word vectors, GloVe's text or fastText's .vec, also as .gz, for the source. "
            "With word_punct or space, most are found."
        },
    )
    target_embeddings: str | None = field(default=None, metadata={"help": "The same for the target."})


class Arguments(NamedTuple):
    """All that the task is told."""

    loop: LoopArguments
    data: TextPairArguments
    held_out: HeldOutArguments
    streaming: StreamingArguments
    pretrained: PretrainedArguments
    tokenizer: TokenizerArguments
    word_vectors: PairedWordVectorArguments
    model: Seq2SeqModelArguments
    hub: HubArguments
    recipe: RecipeArguments
