"""The scores of a finished model, of this package or any other: `scripts/evaluate_model.py`."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from accelerate import Accelerator
from datasets import Dataset, DatasetDict
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ...arguments import COUNT, Expression, OptionParser, WritableFile
from ...extras import require_extra
from ...metrics.perplexity.perplexity import perplexity
from ...metrics.words import METRIC_TOKENIZER
from ...models.positions import question_positions, source_positions
from ...shipped import find_checkpoint
from ..data.columns import with_usual_names
from ..data.held_out import HeldOutArguments, with_validation_split
from ..data.image_columns import check_images, drop_bad_images, image_ids
from ..data.image_splits import load_captioned_splits, load_image_splits
from ..data.images import PixelSource
from ..data.reading import get_split, load_splits, load_text_splits
from ..data.texts import drop_textless, running_texts, text_lists, text_pairs
from ..publish.model_card import add_eval_results, eval_results
from .answering.evaluation import AnsweringEvaluator
from .answering.questions import read_questions
from .captioning.evaluation import CaptionEvaluator
from .translating.arguments import name_sides
from .translating.evaluation import TranslationEvaluator
from .translating.languages import take_languages


# What a perplexity comes from.
NO_METRICS = ("loss", "tokens")


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

    def load(self, auto_class: type, accelerator: Accelerator) -> PreTrainedModel:
        """
        The model, to be evaluated.

        Raises:
            ValueError: Where it is another kind of model.
        """
        try:
            return self._load(auto_class, dtype=torch.float32).to(accelerator.device).eval()
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            kind = PreTrainedConfig.get_config_dict(find_checkpoint(self.model))[0]["model_type"]
            raise ValueError(
                f"`model` {self.model!r} is of the model type {kind!r}, which {auto_class.__name__} does not load: "
                f"another of the evaluations may be meant, {', '.join(EVALUATIONS)}."
            ) from error

    def load_beside(self, auto_class: type) -> Any:
        """What reads for the model: its tokenizer or processor."""
        return self._load(auto_class)

    def _load(self, auto_class: type, **kwargs: Any) -> Any:
        name = find_checkpoint(self.model)
        return auto_class.from_pretrained(name, trust_remote_code=self.trust_remote_code, **kwargs)

    def load_split(self, *columns: str, is_running_text: bool = False) -> Dataset:
        """The rows to evaluate on; `columns` may have another of their usual names."""
        splits = with_usual_names(load_splits(self.dataset_name, self.dataset_config_name), *columns)
        return self.get_split(splits, is_running_text=is_running_text)

    def get_split(self, splits: DatasetDict, **kwargs: Any) -> Dataset:
        """Its rows, or those that training held out; `kwargs` are those of `with_validation_split`."""
        if self.split not in splits:
            splits = with_validation_split(splits, self.train_split, self.split, self.test_split, self, **kwargs)
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
        split = self.get_split(splits, ids=ids)
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
class TranslationArguments(GenerationArguments):
    """A translator and pairs of sentences."""

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
    bleu_tokenizer: str | None = field(
        default=None, metadata={"help": "SacreBLEU's tokenizer for BLEU. Default: that of the target language."}
    )
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
        name_sides(self, self.files)

    def load_split(self) -> Dataset:
        """The rows to evaluate on."""
        if self.files is None:
            return super().load_split()
        name = self.train_split if self.split == "validation" else self.split
        return self.get_split(load_text_splits({name: self.files}))


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


# Scores, and how each of them is computed, where there is more to say than its name.
Scores = tuple[dict[str, float], dict[str, str]]


def text(arguments: PerplexityArguments) -> Scores:
    """The perplexity of a text."""
    accelerator = Accelerator()
    model = arguments.load(AutoModelForCausalLM, accelerator)
    tokenizer = arguments.load_beside(AutoTokenizer)
    split = arguments.load_split(arguments.text_column, is_running_text=not arguments.reset_state)
    texts = running_texts(split, arguments.text_column, arguments.drop_missing)
    options = ("segment_length", "columns", "reset_state", "context", "separator")
    return perplexity(model, tokenizer, texts, accelerator, **{name: getattr(arguments, name) for name in options}), {}


def captions(arguments: CaptionsArguments) -> Scores:
    """CIDEr, BLEU and ROUGE-L of captions."""
    accelerator = Accelerator()
    model, processor = arguments.load(AutoModelForImageTextToText, accelerator), arguments.load_beside(AutoProcessor)
    split = arguments.load_images(
        load_captioned_splits,
        captions_column=arguments.captions_column,
        drop_uncaptioned=arguments.drop_uncaptioned,
    )
    if arguments.drop_uncaptioned:
        split = drop_textless(split, arguments.captions_column, "captions_column")
    source = PixelSource(split, arguments.image_column, processor.image_processor)
    references = text_lists(split, arguments.captions_column, "captions_column")
    evaluate = CaptionEvaluator(source, references, processor.tokenizer, accelerator, arguments.eval_batch_size)
    scores = evaluate(model)
    return scores, dict.fromkeys(scores, METRIC_TOKENIZER)


def read_at_most(tokenizer: PreTrainedTokenizerBase, positions: int | None) -> None:
    """
    Has a tokenizer cut texts where the model's positions end, if not before.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer.
        positions (`int`, *optional*): How many there are; `None`: they do not end.
    """
    if positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)


def translation(arguments: TranslationArguments) -> Scores:
    """BLEU and chrF of translations."""
    accelerator = Accelerator()
    model, tokenizer = arguments.load(AutoModelForSeq2SeqLM, accelerator), arguments.load_beside(AutoTokenizer)
    read_at_most(tokenizer, source_positions(model))
    take_languages(arguments, PreTrainedConfig.get_config_dict(find_checkpoint(arguments.model))[0])
    pairs = text_pairs(
        arguments.load_split(),
        source_column=arguments.source_column,
        target_column=arguments.target_column,
        source_lang=arguments.source_lang,
        target_lang=arguments.target_lang,
        drop_unpaired=arguments.drop_unpaired,
    )
    evaluate = TranslationEvaluator(
        pairs,
        tokenizer,
        accelerator,
        arguments.eval_batch_size,
        tokenize=arguments.bleu_tokenizer,
        language=arguments.target_lang,
    )
    return evaluate(model), evaluate.signatures


def answers(arguments: AnswersArguments) -> Scores:
    """Exact match and, with several annotators, the accuracy of the VQA data sets."""
    accelerator = Accelerator()
    model = arguments.load(AutoModelForVisualQuestionAnswering, accelerator)
    processor = arguments.load_beside(AutoProcessor)
    read_at_most(processor.tokenizer, question_positions(model.config))
    columns = (arguments.question_column, arguments.answer_column)
    split = arguments.load_images(load_image_splits, arguments.image_id_column, columns=columns)
    questions = read_questions(
        split,
        arguments.image_column,
        *columns,
        image_id_column=arguments.image_id_column,
        question_pattern=arguments.question_pattern,
        drop_unanswered=arguments.drop_unanswered,
    )
    source = PixelSource(questions.images, arguments.image_column, processor.image_processor)
    evaluate = AnsweringEvaluator(source, questions, processor.tokenizer, accelerator, arguments.eval_batch_size)
    return evaluate(model), {}


class Evaluation(NamedTuple):
    """
    What can be measured.

    Args:
        arguments (`type`):
            The arguments that it takes.
        evaluate (`Callable`):
            Takes them, and returns scores and signatures.
        task (`str`):
            The task of such models on the Hub.
        module (`str`, *optional*):
            What it needs of the extra `metrics`.
    """

    arguments: type[EvaluationArguments]
    evaluate: Callable[[Any], Scores]
    task: str
    module: str | None = None


EVALUATIONS = {
    "answers": Evaluation(AnswersArguments, answers, "visual-question-answering"),
    "captions": Evaluation(CaptionsArguments, captions, "image-to-text", "pycocoevalcap"),
    "perplexity": Evaluation(PerplexityArguments, text, "text-generation"),
    "translation": Evaluation(TranslationArguments, translation, "translation", "sacrebleu"),
}


def main(description: str | None = None) -> None:
    """
    Scores a model as the command line says.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    parser = OptionParser((), description=description)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OptionParser)
    for name, evaluation in EVALUATIONS.items():
        commands.add_parser(name, dataclass_types=evaluation.arguments)
    values = vars(parser.parse_args())
    evaluation = EVALUATIONS[values.pop("command")]
    arguments = evaluation.arguments(**values)
    if evaluation.module is not None:
        require_extra("metrics", evaluation.module)
    scores, signatures = evaluation.evaluate(arguments)
    print(json.dumps(scores))
    if arguments.model_card is not None:
        results = eval_results(
            {name: score for name, score in scores.items() if name not in NO_METRICS},
            evaluation.task,
            arguments.dataset_name or ", ".join(Path(file).name for file in arguments.files),
            arguments.dataset_config_name,
            arguments.split,
            signatures,
        )
        add_eval_results(arguments.model_card, results, Path(arguments.model).resolve().name)
    if arguments.json is not None:
        written = {**scores, "signatures": signatures} if signatures else scores
        Path(arguments.json).write_text(json.dumps(written, indent=1) + "\n")
