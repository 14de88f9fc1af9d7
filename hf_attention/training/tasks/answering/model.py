"""The answering model that is trained, with its processor: a new one, or one that was trained before."""

from transformers import (
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ....metrics.vqa_accuracy.vqa_accuracy import most_common
from ....models.configuration_attention_vqa import AttentionVQAConfig
from ....models.modeling_attention_vqa import AttentionVQAForConditionalGeneration, AttentionVQAForQuestionAnswering
from ....models.processing_attention_vqa import AttentionVQAProcessor
from ....models.special_tokens import special_token_ids
from ...data.arguments import TokenizerArguments
from ...data.images import make_image_processor, regions_of_blank
from ...data.tokenization import load_tokenizer
from ...loop.run import Run
from ...options import ConfigurationOptions, changed_options, refuse_options
from .arguments import DEFAULTS, AnsweringModelArguments, Arguments
from .questions import Questions


AnsweringModel = AttentionVQAForQuestionAnswering | AttentionVQAForConditionalGeneration

HEADS = {"answering": AttentionVQAForQuestionAnswering, "generating": AttentionVQAForConditionalGeneration}


def make_answering_model(
    arguments: Arguments, run: Run, questions: Questions, answers: list[str]
) -> tuple[AnsweringModel, AttentionVQAProcessor]:
    """A new model with its processor, for the questions of training and the answers that are known."""
    tokenizer = run.tokenizer(lambda: make_tokenizer(arguments.tokenizer, arguments.model, questions))
    image_processor = make_image_processor(arguments.model.backbone, arguments.data.image_size)
    processor = AttentionVQAProcessor(image_processor=image_processor, tokenizer=tokenizer)
    if arguments.model.question_encoder is not None:
        refuse_options("question_encoder", changed_options(arguments.word_vectors))
    model = make_model(arguments.model, arguments.fields, tokenizer, image_processor, answers)
    table = model.get_input_embeddings()
    arguments.word_vectors.load_into(table, tokenizer, lambda: questions.texts, "encoder_embedding_size")
    return model, processor


def make_tokenizer(
    arguments: TokenizerArguments, model: AnsweringModelArguments, questions: Questions
) -> PreTrainedTokenizerFast:
    """The ready tokenizer, that of the pretrained text encoder, or one trained on the questions, and the answers."""
    generating = model.head == "generating"
    name = arguments.tokenizer_name or model.question_encoder
    if name is not None:
        argument = "tokenizer_name" if arguments.tokenizer_name is not None else "question_encoder"
        refuse_options(argument, changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        return load_tokenizer(name) if generating else load_tokenizer(name, ("pad_token",))
    answers = [most_common(given) for given in questions.answers] if generating else []
    return arguments.train([*questions.texts, *answers])


def make_model(
    arguments: AnsweringModelArguments,
    options: ConfigurationOptions,
    tokenizer: PreTrainedTokenizerFast,
    image_processor: BaseImageProcessor,
    answers: list[str],
) -> AnsweringModel:
    """A new model around a backbone."""
    settings = {
        "vocab_size": len(tokenizer),
        **special_token_ids(tokenizer),
        "backbone_layers": arguments.backbone_layers,
        **arguments.freezing(),
        **options.config_kwargs(),
    }
    if arguments.head != "generating":
        if len(answers) < 2:
            raise ValueError(f"There is one known answer, {answers[0]!r}: nothing is left to choose.")
        settings |= {"id2label": dict(enumerate(answers)), "label2id": {a: i for i, a in enumerate(answers)}}

    def make(num_regions: int | None) -> PreTrainedModel:
        config = AttentionVQAConfig(backbone_config=arguments.new_config(), num_regions=num_regions, **settings)
        return HEADS[arguments.head].from_parts_pretrained(arguments.backbone, arguments.question_encoder, config)

    model = make(None)
    if not arguments.learned_positions:
        return model
    regions = regions_of_blank(model.eval().get_encoder().image_encoder, image_processor)
    return make(regions["region_features"].shape[1])


def load_answering_model(arguments: Arguments) -> tuple[AnsweringModel, AttentionVQAProcessor]:
    """A trained model, with the head that it has, and its processor."""
    given = changed_options(arguments.fields) | changed_options(arguments.tokenizer, DEFAULTS)
    given |= changed_options(arguments.data) & {"image_size", "max_answers", "min_answer_count"}
    given |= changed_options(arguments.model) & {"head", "question_encoder", "learned_positions", "backbone_layers"}
    given |= changed_options(arguments.word_vectors)
    refuse_options("model_name_or_path", given)
    return arguments.model.load(AutoModelForVisualQuestionAnswering, AutoProcessor, **arguments.model.freezing())
