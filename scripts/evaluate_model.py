"""
Scores a model, of this package or any other.

    python scripts/evaluate_model.py perplexity --model runs/ptb --dataset_name $HF_ATTENTION_DATA/data/ptb

`perplexity` is that of a text under a causal language model: the texts of a column, each followed by the tokenizer's
end-of-sentence token, or joined by `--separator`. A recurrent model reads them as one stream, its state carried from
segment to segment; any other predicts the last `--segment_length` tokens of each window of `--context`.

    python scripts/evaluate_model.py captions --model runs/flickr8k --dataset_name $HF_ATTENTION_DATA/data/flickr8k
    python scripts/evaluate_model.py translation --model runs/en-de --dataset_name $HF_ATTENTION_DATA/data/multi30k \\
        --source_lang en --target_lang de
    python scripts/evaluate_model.py answers --model runs/daquar --dataset_name $HF_ATTENTION_DATA/data/daquar

These generate as the checkpoint's own generation settings say, and score as training does. With `--model_card` the
scores go into a card's `model-index`, as the Hub reads it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    AutoTokenizer,
    HfArgumentParser,
    PreTrainedModel,
)

import hf_attention  # noqa: F401  (the Auto classes then know its models)
from hf_attention.extras import require_extra
from hf_attention.metrics.captioning.captioning import METRIC_TOKENIZER
from hf_attention.metrics.perplexity.perplexity import perplexity
from hf_attention.metrics.translation.translation import translation_signatures
from hf_attention.training.data.reading import (
    check_column,
    check_images,
    get_split,
    load_splits,
    text_lists,
    text_pairs,
)
from hf_attention.training.publish.model_card import add_eval_results, eval_results
from hf_attention.training.tasks.answering import AnsweringEvaluator, read_questions
from hf_attention.training.tasks.captioning import CaptionEvaluator, PixelSource
from hf_attention.training.tasks.translating import TranslationEvaluator


@dataclass
class EvaluationArguments:
    """A model and a data set."""

    model: str = field(metadata={"help": "Hub name or folder of the model."})
    dataset_name: str = field(metadata={"help": "Hub name or folder of the data set."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str = "test"
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many rows."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the code that lies beside the weights."})
    json: str | None = field(default=None, metadata={"help": "Where to write the scores too."})
    model_card: str | None = field(
        default=None,
        metadata={"help": "A model card (README.md) whose model-index gets the scores; made where there is none."},
    )

    def load(self, auto_class: type, accelerator: Accelerator) -> PreTrainedModel:
        """The model, to be evaluated."""
        model = auto_class.from_pretrained(self.model, dtype=torch.float32, trust_remote_code=self.trust_remote_code)
        return model.to(accelerator.device).eval()

    def load_beside(self, auto_class: type) -> Any:
        """What reads for the model: its tokenizer or processor."""
        return auto_class.from_pretrained(self.model, trust_remote_code=self.trust_remote_code)

    def load_split(self) -> Dataset:
        """The rows to evaluate on."""
        splits = load_splits(self.dataset_name, self.dataset_config_name)
        return get_split(splits, self.split, self.max_eval_samples)


@dataclass
class PerplexityArguments(EvaluationArguments):
    """A causal language model and a text."""

    text_column: str = field(default="text", metadata={"help": "Column of the texts: a sentence or paragraph a row."})
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


@dataclass
class GenerationArguments(EvaluationArguments):
    """A model that generates."""

    eval_batch_size: int = field(default=100, metadata={"help": "Texts at a time."})


@dataclass
class CaptionsArguments(GenerationArguments):
    """A captioner and images with captions."""

    image_column: str = field(default="image", metadata={"help": "Column of the images."})
    captions_column: str = field(default="captions", metadata={"help": "Column of captions, one or several a row."})


@dataclass
class TranslationArguments(GenerationArguments):
    """A translator and pairs of sentences."""

    source_column: str | None = field(default=None, metadata={"help": "Column of the sources."})
    target_column: str | None = field(default=None, metadata={"help": "Column of the targets."})
    source_lang: str | None = field(default=None, metadata={"help": "Language in a column `translation`."})
    target_lang: str | None = field(default=None, metadata={"help": "Language in a column `translation`."})


@dataclass
class AnswersArguments(GenerationArguments):
    """A model that answers questions about images."""

    image_column: str = field(default="image", metadata={"help": "Column of the images."})
    question_column: str = field(default="question", metadata={"help": "Column of the questions."})
    answer_column: str = field(default="answer", metadata={"help": "Column of the answers, one or several a row."})
    question_pattern: str | None = field(default=None, metadata={"help": "Expression to cut out of the questions."})


def text(arguments: PerplexityArguments) -> dict[str, float]:
    """The perplexity of a text."""
    accelerator = Accelerator()
    tokenizer = arguments.load_beside(AutoTokenizer)
    model = arguments.load(AutoModelForCausalLM, accelerator)
    split = arguments.load_split()
    check_column(split, arguments.text_column, "text_column")
    texts = list(split[arguments.text_column])
    options = ("segment_length", "columns", "reset_state", "context", "separator")
    return perplexity(model, tokenizer, texts, accelerator, **{name: getattr(arguments, name) for name in options})


def captions(arguments: CaptionsArguments) -> dict[str, float]:
    """CIDEr, BLEU and ROUGE-L of captions."""
    accelerator, processor, split = Accelerator(), arguments.load_beside(AutoProcessor), arguments.load_split()
    check_images(split, arguments.image_column)
    source = PixelSource(split, arguments.image_column, processor.image_processor)
    references = text_lists(split, arguments.captions_column, "captions_column")
    evaluate = CaptionEvaluator(source, references, processor.tokenizer, accelerator, arguments.eval_batch_size)
    return evaluate(arguments.load(AutoModelForImageTextToText, accelerator))


def translation(arguments: TranslationArguments) -> dict[str, float]:
    """BLEU and chrF of translations."""
    accelerator, tokenizer = Accelerator(), arguments.load_beside(AutoTokenizer)
    pairs = text_pairs(
        arguments.load_split(),
        source_column=arguments.source_column,
        target_column=arguments.target_column,
        source_lang=arguments.source_lang,
        target_lang=arguments.target_lang,
    )
    evaluate = TranslationEvaluator(pairs, tokenizer, accelerator, arguments.eval_batch_size)
    return evaluate(arguments.load(AutoModelForSeq2SeqLM, accelerator))


def answers(arguments: AnswersArguments) -> dict[str, float]:
    """Exact match and, with several annotators, the accuracy of the VQA data sets."""
    accelerator, processor = Accelerator(), arguments.load_beside(AutoProcessor)
    questions = read_questions(
        arguments.load_split(),
        arguments.image_column,
        arguments.question_column,
        arguments.answer_column,
        question_pattern=arguments.question_pattern,
    )
    source = PixelSource(questions.images, arguments.image_column, processor.image_processor)
    evaluate = AnsweringEvaluator(source, questions, processor.tokenizer, accelerator, arguments.eval_batch_size)
    return evaluate(arguments.load(AutoModelForVisualQuestionAnswering, accelerator))


# What can be measured, the arguments that it takes, and the task of such models on the Hub.
EVALUATIONS: dict[str, tuple[type, Callable[[Any], dict[str, float]], str]] = {
    "answers": (AnswersArguments, answers, "visual-question-answering"),
    "captions": (CaptionsArguments, captions, "image-to-text"),
    "perplexity": (PerplexityArguments, text, "text-generation"),
    "translation": (TranslationArguments, translation, "translation"),
}


METRIC_MODULES = {captions: "pycocoevalcap", translation: "sacrebleu"}
# What a perplexity comes from.
NO_METRICS = ("loss", "tokens")


def main(argv: list[str] | None = None) -> None:
    parser = HfArgumentParser((), description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=HfArgumentParser)
    for name, (arguments_class, *_) in EVALUATIONS.items():
        commands.add_parser(name, dataclass_types=arguments_class)
    values = vars(parser.parse_args(argv))
    arguments_class, evaluate, task = EVALUATIONS[values.pop("command")]
    arguments = arguments_class(**values)
    if evaluate in METRIC_MODULES:
        require_extra("metrics", METRIC_MODULES[evaluate])
    scores = evaluate(arguments)
    print(json.dumps(scores))
    if arguments.model_card is not None:
        signatures = translation_signatures() if task == "translation" else {}
        if task == "image-to-text":
            signatures = dict.fromkeys(scores, METRIC_TOKENIZER)
        results = eval_results(
            {name: score for name, score in scores.items() if name not in NO_METRICS},
            task,
            arguments.dataset_name,
            arguments.dataset_config_name,
            arguments.split,
            signatures,
        )
        add_eval_results(arguments.model_card, results, Path(arguments.model).name)
    if arguments.json is not None:
        Path(arguments.json).write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
