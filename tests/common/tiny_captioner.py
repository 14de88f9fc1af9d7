"""A tiny captioner of this package, with its processor."""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    MobileNetV2Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessor,
)

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionCaptionerProcessor,
)


PAD, UNKNOWN, START, END = range(4)
WORDS = "a red blue green small large circle square star left of right".split()
IMAGE_SIZE = 32
TRANSFORMER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": IMAGE_SIZE,
    "patch_size": 8,
}


def make_backbone_config(name: str | None) -> PreTrainedConfig | None:
    if name == "resnet":  # batch norms, and their statistics
        return ResNetConfig(embedding_size=4, hidden_sizes=[4, 16], depths=[1, 1], layer_type="basic")
    if name == "clip_vision_model":  # a buffer that is in no file
        return CLIPVisionConfig(**TRANSFORMER)
    if name == "mobilenet_v2":  # of which transformers names no layers
        return MobileNetV2Config(image_size=IMAGE_SIZE, depth_multiplier=0.1)
    return None if name is None else ViTConfig(**TRANSFORMER)


def make_config(backbone: str | None = "vit", words: Iterable[str] = WORDS, **settings) -> AttentionCaptionerConfig:
    sizes = {"embedding_size": 6, "hidden_size": 8, "attention_size": 5, "memory_size": 7}
    return AttentionCaptionerConfig(
        vocab_size=4 + len(list(words)),
        backbone_config=make_backbone_config(backbone),
        **{"unk_token_id": UNKNOWN, "bos_token_id": START} | sizes | settings,
    )


def make_model(
    model_class: type[PreTrainedModel] = AttentionCaptionerForConditionalGeneration, **settings
) -> PreTrainedModel:
    """A captioner of the sizes above."""
    return with_odd_weights(model_class(make_config(**settings)))


def with_odd_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Its weights, and the statistics of its batch norms, are then none that any initialisation would give."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(-0.9, 0.9) if tensor.ndim > 1 else tensor.uniform_(0.2, 0.9)
    return model.eval()


def make_tokenizer(words: Iterable[str] = WORDS) -> PreTrainedTokenizerFast:
    tokens = ["<pad>", "<unk>", "<s>", "</s>", *words]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def make_processor(words: Iterable[str] = WORDS) -> AttentionCaptionerProcessor:
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return AttentionCaptionerProcessor(ViTImageProcessor(size=size), make_tokenizer(words))
