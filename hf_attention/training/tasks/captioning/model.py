"""The captioner that is trained, with its processor: a new one around a backbone, or one that was trained before."""

from collections.abc import Callable, Iterable

from transformers import BaseImageProcessor, PreTrainedTokenizerFast

from ....models.configuration_attention_captioner import AttentionCaptionerConfig
from ....models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration
from ....models.processing_attention_captioner import AttentionCaptionerProcessor
from ....models.special_tokens import special_token_ids
from ...data.arguments import TokenizerArguments
from ...data.images import make_image_processor, regions_of_blank
from ...data.tokenization import load_tokenizer
from ...loop.run import Run
from ...options import ConfigurationOptions, changed_options, refuse_options
from ..backbone import BackboneArguments
from .arguments import DEFAULTS, Arguments


def make_captioner(
    arguments: Arguments, run: Run, read_texts: Callable[[], Iterable[str]]
) -> tuple[AttentionCaptionerForConditionalGeneration, AttentionCaptionerProcessor]:
    """A captioner whose decoder is new, with its processor; `read_texts` gives what a tokenizer is trained on."""
    tokenizer = run.tokenizer(lambda: make_tokenizer(arguments.tokenizer, read_texts))
    image_processor = make_image_processor(arguments.model.backbone, arguments.data.image_size)
    processor = AttentionCaptionerProcessor(image_processor=image_processor, tokenizer=tokenizer)
    model = make_model(arguments.model, arguments.decoder, tokenizer, image_processor)
    arguments.word_vectors.load_into(model.get_input_embeddings(), tokenizer, read_texts)
    return model, processor


def make_tokenizer(arguments: TokenizerArguments, read_texts: Callable[[], Iterable[str]]) -> PreTrainedTokenizerFast:
    """The ready tokenizer, or one trained on captions."""
    if arguments.tokenizer_name is not None:
        refuse_options("tokenizer_name", changed_options(arguments, DEFAULTS) - {"tokenizer_name"})
        return load_tokenizer(arguments.tokenizer_name)
    return arguments.train(read_texts())


def make_model(
    arguments: BackboneArguments,
    decoder: ConfigurationOptions,
    tokenizer: PreTrainedTokenizerFast,
    image_processor: BaseImageProcessor,
) -> AttentionCaptionerForConditionalGeneration:
    """The captioner, its decoder new."""

    def make(num_regions: int | None) -> AttentionCaptionerForConditionalGeneration:
        config = AttentionCaptionerConfig(
            vocab_size=len(tokenizer),
            **special_token_ids(tokenizer),
            backbone_config=arguments.new_config(),
            backbone_layers=arguments.backbone_layers,
            num_regions=num_regions,
            **arguments.freezing(),
            **decoder.config_kwargs(),
        )
        if arguments.backbone is not None:
            return AttentionCaptionerForConditionalGeneration.from_backbone_pretrained(arguments.backbone, config)
        return AttentionCaptionerForConditionalGeneration(config)

    model = make(None)
    if not arguments.learned_positions:
        return model
    regions = regions_of_blank(model.eval().get_encoder(), image_processor)
    return make(regions["region_features"].shape[1])


def load_captioner(
    arguments: Arguments,
) -> tuple[AttentionCaptionerForConditionalGeneration, AttentionCaptionerProcessor]:
    """A trained captioner with its processor."""
    given = changed_options(arguments.decoder) | changed_options(arguments.tokenizer, DEFAULTS)
    given |= changed_options(arguments.data) & {"image_size"}
    given |= changed_options(arguments.model) & {"learned_positions", "backbone_layers"}
    given |= changed_options(arguments.word_vectors)
    refuse_options("model_name_or_path", given)
    return arguments.model.load(
        AttentionCaptionerForConditionalGeneration, AttentionCaptionerProcessor, **arguments.model.freezing()
    )
