"""The models that go through the suite. A new model joins with one factory."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from transformers import PreTrainedModel

from hf_attention.configuration_attention import AttentionDecoderConfig
from hf_attention.configuration_attention_captioner import AttentionCaptionerConfig
from hf_attention.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration


PAD, UNKNOWN, START, END = range(4)
VOCABULARY = 13
POSITIONS = 5

SIZES = {"vocab_size": VOCABULARY, "embedding_size": 6, "hidden_size": 8, "attention_size": 4, "memory_size": 7}


@dataclass(frozen=True)
class ModelFactory:
    """
    How the suite makes a model and what it feeds it.

    Args:
        name: For the tests' names.
        model_class: The generating model; it has `model.decoder`, `lm_head` and `get_encoder()`.
        config_class: Its configuration.
        settings: What the configuration needs besides the decoder's fields.
        make_inputs: From a number of items, the arguments for `forward` and `generate`. Ragged: items differ in how
            many positions of their memory are real.
        features: The floating-point one among the inputs.
        mask: The one that masks memory positions.
    """

    name: str
    model_class: type[PreTrainedModel]
    config_class: type[AttentionDecoderConfig]
    settings: dict
    make_inputs: Callable[[int], dict[str, torch.Tensor]]
    features: str
    mask: str

    def make_config(self, **settings) -> AttentionDecoderConfig:
        settings = {**SIZES, **self.settings, **settings}
        if settings.get("attention_type") == "dot":
            settings["memory_size"] = settings["hidden_size"]
        return self.config_class(**settings)

    def make_model(self, **settings) -> PreTrainedModel:
        """A tiny model in evaluation mode, its weights large enough for decided attention and varied tokens."""
        model = self.model_class(self.make_config(**settings))
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 2.0 if "lm_head.weight" in name or "embed_tokens" in name or "query" in name else 0.9
                parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * scale)
            # So that sentences end neither at once nor all at the same step.
            model.lm_head.bias[END] = 2.0
        return model.eval()

    def to_double(self, model: PreTrainedModel, inputs: dict) -> tuple[PreTrainedModel, dict]:
        """Both in float64."""
        return model.double(), {**inputs, self.features: inputs[self.features].double()}


def ragged_mask(items: int) -> torch.Tensor:
    """A mask of memory positions with other lengths, and in the second item a hole."""
    mask = torch.ones(items, POSITIONS, dtype=torch.long)
    for item in range(items):
        mask[item, POSITIONS - item % 3 :] = 0
    if items > 1:
        mask[1, 1] = 0
    return mask


def make_regions(items: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(items)
    features = 2 * torch.randn(items, POSITIONS, 9, generator=generator)
    return {"region_features": features, "region_mask": ragged_mask(items)}


FACTORIES = [
    ModelFactory(
        name="captioner",
        model_class=AttentionCaptionerForConditionalGeneration,
        config_class=AttentionCaptionerConfig,
        settings={"region_size": 9},
        make_inputs=make_regions,
        features="region_features",
        mask="region_mask",
    )
]

over_models = pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.name)


def take(inputs: dict[str, torch.Tensor], *items: int) -> dict[str, torch.Tensor]:
    """Some items of a batch."""
    return {name: value[list(items)] for name, value in inputs.items()}


def repeat(inputs: dict[str, torch.Tensor], times: int) -> dict[str, torch.Tensor]:
    """Every item of a batch several times in turn."""
    return {name: value.repeat_interleave(times, 0) for name, value in inputs.items()}


def make_tokens(rows: int, length: int) -> torch.LongTensor:
    """Decoder inputs: the start token, then words."""
    generator = torch.Generator().manual_seed(rows * length)
    tokens = torch.randint(END + 1, VOCABULARY, (rows, length), generator=generator)
    tokens[:, 0] = START
    return tokens


def left_padded(tokens: torch.LongTensor) -> tuple[torch.LongTensor, torch.LongTensor]:
    """Rows moved to the right by zero, one or two steps behind padding, and their mask."""
    tokens, mask = tokens.clone(), torch.ones_like(tokens)
    for row in range(tokens.shape[0]):
        padding = row % 3
        tokens[row, padding:] = tokens[row, : tokens.shape[1] - padding].clone()
        tokens[row, :padding], mask[row, :padding] = PAD, 0
    return tokens, mask
