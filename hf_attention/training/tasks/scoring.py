"""The scores of a finished model, of this package or any other: `scripts/evaluate_model.py`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
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

from ...arguments import OptionParser
from ...extras import require_extra
from ...metrics.perplexity.perplexity import perplexity
from ...metrics.words import METRIC_TOKENIZER
from ...models.positions import question_positions, source_positions
from ...shipped import find_checkpoint
from ..data.image_splits import load_captioned_splits, load_image_splits
from ..data.images import PixelSource
from ..data.texts import drop_textless, running_texts, text_lists
from ..publish.model_card import add_eval_results, eval_results
from .answering.evaluation import AnsweringEvaluator
from .answering.questions import read_questions
from .captioning.evaluation import CaptionEvaluator
from .scoring_arguments import (
    AnswersArguments,
    CaptionsArguments,
    ChatArguments,
    EvaluationArguments,
    PairsArguments,
    PerplexityArguments,
    TranslationArguments,
)
from .translating.evaluation import ChatEvaluator, TranslationEvaluator
from .translating.languages import take_languages


# What a perplexity comes from.
NO_METRICS = ("loss", "tokens")

# Scores, and how each of them is computed, where there is more to say than its name.
Scores = tuple[dict[str, float], dict[str, str]]


def load_model(arguments: EvaluationArguments, auto_class: type, accelerator: Accelerator) -> PreTrainedModel:
    """
    The model, to be evaluated.

    Raises:
        ValueError: Where it is another kind of model.
    """
    try:
        model = load(arguments, auto_class, dtype=torch.float32)
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        others = [name for name, other in EVALUATIONS.items() if type(arguments) is not other.arguments]
        raise ValueError(
            f"`model` {arguments.model!r} is of the model type {config_of(arguments)['model_type']!r}, which "
            f"{auto_class.__name__} does not load: another of the evaluations may be meant, {', '.join(others)}."
        ) from error
    return model.to(accelerator.device).eval()


def load(arguments: EvaluationArguments, auto_class: type, **kwargs: Any) -> Any:
    """The model, or its tokenizer or processor."""
    name = find_checkpoint(arguments.model)
    return auto_class.from_pretrained(name, trust_remote_code=arguments.trust_remote_code, **kwargs)


def config_of(arguments: EvaluationArguments) -> dict[str, Any]:
    """The fields of the model's configuration, as they are stored."""
    return PreTrainedConfig.get_config_dict(find_checkpoint(arguments.model))[0]


def text(arguments: PerplexityArguments) -> Scores:
    """The perplexity of a text."""
    accelerator = Accelerator()
    model = load_model(arguments, AutoModelForCausalLM, accelerator)
    tokenizer = load(arguments, AutoTokenizer)
    texts = running_texts(arguments.load_rows(), arguments.text_column, arguments.drop_missing)
    options = ("segment_length", "columns", "reset_state", "context", "separator")
    return perplexity(model, tokenizer, texts, accelerator, **{name: getattr(arguments, name) for name in options}), {}


def captions(arguments: CaptionsArguments) -> Scores:
    """CIDEr, BLEU and ROUGE-L of captions."""
    accelerator = Accelerator()
    model = load_model(arguments, AutoModelForImageTextToText, accelerator)
    processor = load(arguments, AutoProcessor)
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


def load_seq2seq(
    arguments: PairsArguments, accelerator: Accelerator
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model that makes a text of a text, and its tokenizer. Languages that are not given become the model's."""
    model = load_model(arguments, AutoModelForSeq2SeqLM, accelerator)
    tokenizer = load(arguments, AutoTokenizer)
    read_at_most(tokenizer, source_positions(model))
    take_languages(arguments, config_of(arguments))
    return model, tokenizer


def translation(arguments: TranslationArguments) -> Scores:
    """BLEU and chrF of translations."""
    accelerator = Accelerator()
    model, tokenizer = load_seq2seq(arguments, accelerator)
    evaluate = TranslationEvaluator(
        arguments.load_pairs(),
        tokenizer,
        accelerator,
        arguments.eval_batch_size,
        tokenize=arguments.bleu_tokenizer,
        language=arguments.target_lang,
    )
    return evaluate(model), evaluate.signatures


def chat(arguments: ChatArguments) -> Scores:
    """The perplexity of replies, how varied those of the model are, and how many of them are copied."""
    accelerator = Accelerator()
    model, tokenizer = load_seq2seq(arguments, accelerator)
    pairs, training_answers = arguments.load_pairs_and_answers()
    evaluate = ChatEvaluator(
        pairs,
        tokenizer,
        accelerator,
        arguments.eval_batch_size,
        training_answers=training_answers,
        max_target_length=arguments.max_target_length,
    )
    return evaluate(model), {}


def answers(arguments: AnswersArguments) -> Scores:
    """Exact match and, with several annotators, the accuracy of the VQA data sets."""
    accelerator = Accelerator()
    model = load_model(arguments, AutoModelForVisualQuestionAnswering, accelerator)
    processor = load(arguments, AutoProcessor)
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
    "chat": Evaluation(ChatArguments, chat, "text2text-generation"),
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
