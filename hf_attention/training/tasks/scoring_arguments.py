"""What an evaluation is told, and the rows that it scores a model on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from datasets import Dataset, DatasetDict

from ...arguments import COUNT, Expression, WritableFile
from ..data.columns import with_usual_names
from ..data.held_out import DEFAULT_NAME, HeldOutArguments, with_validation_split
from ..data.image_columns import check_images, drop_bad_images, image_ids
from ..data.reading import get_split, load_splits, load_text_splits
from .translating.arguments import name_sides, to_pairs


@dataclass(kw_only=True)
class EvaluationArguments(HeldOutArguments):
    """A model and a data set."""

    model: str = field(metadata={"help": "Folder, shipped model or Hub name."})
    dataset_name: str = field(metadata={"help": "Hub name, folder or file of the data set."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str = field(
        default="test",
        metadata={"help": "validation is what training held out, where the data set has none of that name."},
    )
    train_split: str = field(default="train", metadata={"help": "From which training held it out."})
    test_split: str = field(default="test", metadata={"help": "Which training left for the test."})
    max_eval_samples: Annotated[int | None, COUNT] = field(default=None, metadata={"help": "Use only so many rows."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the code that lies beside the weights."})
    json: Annotated[str | None, WritableFile()] = field(
        default=None, metadata={"help": "Where to write the scores and their signatures too."}
    )
    model_card: Annotated[str | None, WritableFile()] = field(
        default=None,
        metadata={"help": "A model card (README.md) whose model-index gets the scores; made where there is none."},
    )

    def load_splits(self) -> DatasetDict:
        """The rows of all splits."""
        return load_splits(self.dataset_name, self.dataset_config_name)

    def hold_out(self, splits: DatasetDict, **kwargs: Any) -> DatasetDict:
        """The splits, with what training held out of its own; `kwargs` are those of `with_validation_split`."""
        if self.split in splits:
            return splits
        return with_validation_split(splits, self.train_split, self.split, self.test_split, self, **kwargs)

    def rows_of(self, splits: DatasetDict) -> Dataset:
        """
        The rows to evaluate on.

        Raises:
            ValueError: Where there are none of that name.
        """
        if self.split == self.test_split and self.split not in splits and self.train_split in splits:
            raise ValueError(
                f"`split`: the data set has no split {self.split!r}. It has {sorted(splits)}; of a data set without "
                "one for validation, `split` 'validation' is what training held out."
            )
        return get_split(splits, self.split, self.max_eval_samples)


@dataclass
class PerplexityArguments(EvaluationArguments):
    """A causal language model and a text."""

    text_column: str = field(default="text", metadata={"help": "Column of the texts: a sentence or paragraph a row."})
    drop_missing: bool = field(default=False, metadata={"help": "Leave out rows without a text, and say how many."})
    separator: str | None = field(
        default=None, metadata={"help": "Join the texts by this, in place of an end-of-sentence token behind each."}
    )
    segment_length: Annotated[int, COUNT] = field(default=64, metadata={"help": "Tokens at a time."})
    columns: Annotated[int, COUNT] = field(
        default=1, metadata={"help": "Recurrent models: parts of the text that are read side by side; 1 is exact."}
    )
    reset_state: bool = field(default=False, metadata={"help": "Recurrent models: read each text from a zero state."})
    context: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Other models: tokens of a window. Default: all that the model can read."}
    )

    def load_rows(self) -> Dataset:
        """The rows to evaluate on; the column of the texts may have another of its usual names."""
        splits = with_usual_names(self.load_splits(), self.text_column)
        return self.rows_of(self.hold_out(splits, is_running_text=not self.reset_state))


@dataclass
class GenerationArguments(EvaluationArguments):
    """A model that generates."""

    eval_batch_size: Annotated[int, COUNT] = field(default=100, metadata={"help": "Texts at a time."})


@dataclass
class ImagesArguments(GenerationArguments):
    """A model that looks at images, and the images."""

    image_column: str = field(
        default="image", metadata={"help": "Column of the images, or of their files or addresses."}
    )
    image_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of the images that a file names. Default: they are looked for beside that file."},
    )
    skip_bad_images: bool = field(
        default=False, metadata={"help": "Leave out images that are not there or cannot be decoded, and say which."}
    )

    def load_images(
        self, load: Callable[..., DatasetDict], image_id_column: str | None = None, **kwargs: Any
    ) -> Dataset:
        """The rows to evaluate on, by one of the functions of `image_splits`, which also takes the `kwargs`."""
        splits = load(
            self.dataset_name,
            self.dataset_config_name,
            image_column=self.image_column,
            image_dir=self.image_dir,
            skip_missing=self.skip_bad_images,
            **kwargs,
        )
        ids = partial(image_ids, image_column=self.image_column, image_id_column=image_id_column)
        split = self.rows_of(self.hold_out(splits, ids=ids))
        check_images(split, self.image_column)
        return drop_bad_images(split, self.image_column) if self.skip_bad_images else split


@dataclass
class CaptionsArguments(ImagesArguments):
    """A captioner and images with captions."""

    captions_column: str = field(default="captions", metadata={"help": "Column of captions, one or several a row."})
    drop_uncaptioned: bool = field(
        default=False, metadata={"help": "Leave out images without a caption, and say how many."}
    )


@dataclass
class PairsArguments(GenerationArguments):
    """A model that makes a text of a text, and pairs of them."""

    dataset_name: str | None = field(default=None, metadata={"help": "Hub name, folder or file of the data set."})
    files: list[str] | None = field(
        default=None,
        metadata={
            "help": "Instead: one file of pairs or two, as in training; with `--split validation` what it held out."
        },
    )
    source_column: str | None = field(default=None, metadata={"help": "Column of the sources."})
    target_column: str | None = field(default=None, metadata={"help": "Column of the targets."})
    source_lang: str | None = field(default=None, metadata={"help": "Language in a column `translation`."})
    target_lang: str | None = field(default=None, metadata={"help": "Language in a column `translation`."})
    drop_unpaired: bool = field(default=False, metadata={"help": "Leave out rows without a side, and say how many."})

    def __post_init__(self):
        super().__post_init__()
        if (self.dataset_name is None) == (self.files is None):
            raise ValueError("Give either `dataset_name` or `files`.")
        if self.files is not None and self.split not in ("test", "validation"):
            raise ValueError(
                "`files` are scored whole, or with `split` 'validation' what training held out of them, got "
                f"{self.split!r}."
            )
        if self.files is not None and self.split == self.train_split:
            raise ValueError(f"With `files`, `train_split` and `split` must differ, both are {self.split!r}.")
        name_sides(self, self.files)

    def load_splits(self) -> DatasetDict:
        if self.files is None:
            return super().load_splits()
        return load_text_splits({self.train_split if self.split == "validation" else self.split: self.files})

    def load_pairs(self) -> Dataset:
        """The pairs to evaluate on."""
        return to_pairs(self.rows_of(self.hold_out(self.load_splits())), self)


@dataclass
class TranslationArguments(PairsArguments):
    """A translator and pairs of sentences."""

    bleu_tokenizer: str | None = field(
        default=None, metadata={"help": "SacreBLEU's tokenizer for BLEU. Default: that of the target language."}
    )


@dataclass
class ChatArguments(PairsArguments):
    """A model that replies, and pairs of a sentence and a reply."""

    train_files: list[str] | None = field(
        default=None,
        metadata={"help": "Beside `files` of a test: those of training, whose answers replies may be copies of."},
    )
    max_target_length: Annotated[int, COUNT] = field(
        default=100, metadata={"help": "Longer replies are cut, in tokens, before their perplexity is taken."}
    )

    def __post_init__(self):
        super().__post_init__()
        needs_training = self.files is not None and self.split == "test"
        if needs_training != (self.train_files is not None):
            raise ValueError(
                "`train_files` are the answers that a reply may be copied from, where `files` are those of a test: "
                f"{'give' if needs_training else 'leave out'} `train_files`."
            )

    def load_splits(self) -> DatasetDict:
        splits = super().load_splits()
        if self.train_files is None:
            return splits
        return DatasetDict({**splits, **load_text_splits({self.train_split: self.train_files})})

    def load_pairs_and_answers(self) -> tuple[Dataset, list[str]]:
        """The pairs to evaluate on, and the answers of training: where it held some out, without those."""
        splits = with_validation_split(self.load_splits(), self.train_split, DEFAULT_NAME, self.test_split, self)
        training = to_pairs(get_split(splits, self.train_split, argument="train_split"), self)
        return to_pairs(self.rows_of(splits), self), training["target"][:]


@dataclass
class AnswersArguments(ImagesArguments):
    """A model that answers questions about images."""

    question_column: str = field(default="question", metadata={"help": "Column of the questions."})
    answer_column: str = field(default="answer", metadata={"help": "Column of the answers, one or several a row."})
    image_id_column: str | None = field(
        default=None, metadata={"help": "Column that tells images apart, as in training. Default: their files."}
    )
    drop_unanswered: bool = field(
        default=False, metadata={"help": "Leave out questions without an answer, and say how many."}
    )
    question_pattern: Annotated[str | None, Expression()] = field(
        default=None, metadata={"help": "Expression to cut out of the questions."}
    )
