"""The models that go through the suite. A new model joins with one factory."""

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import Seq2SeqLMOutput

from hf_attention.models.cache import RecurrentCache
from hf_attention.models.configuration_attention import AttentionDecoderConfig
from hf_attention.models.configuration_attention_captioner import AttentionCaptionerConfig
from hf_attention.models.configuration_attention_seq2seq import AttentionSeq2SeqConfig
from hf_attention.models.configuration_attention_vqa import AttentionVQAConfig
from hf_attention.models.configuration_recurrent_lm import RecurrentLMConfig
from hf_attention.models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration
from hf_attention.models.modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration
from hf_attention.models.modeling_attention_vqa import AttentionVQAForConditionalGeneration
from hf_attention.models.modeling_recurrent_lm import RecurrentLMForCausalLM

from .configurations import core, name_of, pairwise


PAD, UNKNOWN, START, END = range(4)
VOCABULARY = 13
POSITIONS = 5

SIZES = {
    "vocab_size": VOCABULARY,
    "embedding_size": 6,
    "hidden_size": 8,
    "attention_size": 4,
    "memory_size": 7,
    "unk_token_id": UNKNOWN,
    "bos_token_id": START,
}


@dataclass(frozen=True)
class ModelFactory:
    """
    How the suite makes a model and what it feeds it.

    Args:
        name: For the tests' names.
        model_class: The generating model; it has `model.decoder`, `lm_head` and, where there is one, `get_encoder()`.
        config_class: Its configuration.
        settings: What the configuration needs besides the decoder's fields.
        make_inputs: From a number of items, the arguments for `forward` and `generate`. Ragged: items differ in how
            many positions of their memory are real. Of a model without an encoder, a prompt that all else follows.
        content: The one among the inputs that the memory is made of: features, or tokens.
        mask: The one that masks its positions, or those of them that are made of `content`. A prompt has none.
        adapt: From the decoder's settings, those of the configuration.
        end_bias: What makes some of the sentences of `make_model()` end before others.
        seed: Of its weights.
        share: Of the configurations that every model's tests go over, every how many'th is not left to the slow tests.
    """

    name: str
    model_class: type[PreTrainedModel]
    config_class: type[AttentionDecoderConfig]
    settings: dict
    make_inputs: Callable[[int], dict[str, torch.Tensor]]
    content: str
    mask: str | None = None
    adapt: Callable[[dict], dict] = dict
    end_bias: float = 2.0
    seed: int = 7
    share: int = 1

    @property
    def has_encoder(self) -> bool:
        return self.config_class.is_encoder_decoder

    def make_config(self, **settings) -> AttentionDecoderConfig:
        settings = {**SIZES, **self.settings, **settings}
        if settings.get("attention_type") == "dot":
            settings["memory_size"] = settings["hidden_size"]
        return self.config_class(**self.adapt(settings))

    def make_model(self, **settings) -> PreTrainedModel:
        """A tiny model in evaluation mode, its weights large enough for decided attention and varied tokens."""
        model = self.model_class(self.make_config(**settings))
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 2.0 if "lm_head.weight" in name or "embed_tokens" in name or "query" in name else 0.9
                parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * scale)
        # So that sentences end neither at once nor all at the same step.
        set_bias(model, END, self.end_bias)
        return model.eval()

    def to_double(self, model: PreTrainedModel, inputs: dict) -> tuple[PreTrainedModel, dict]:
        """Both in float64."""
        return model.double(), to_dtype(inputs, torch.float64)


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


def make_sentences(items: int) -> dict[str, torch.Tensor]:
    """Sources with their padding on the right or on the left, and one with a hole."""
    generator = torch.Generator().manual_seed(300 + items)
    tokens = torch.randint(END + 1, VOCABULARY, (items, POSITIONS), generator=generator)
    mask = ragged_mask(items)
    mask[2::3] = mask[2::3].flip(1)
    return {"input_ids": tokens.masked_fill(mask == 0, PAD), "attention_mask": mask}


def make_questions(items: int) -> dict[str, torch.Tensor]:
    """Ragged regions, and questions about them; every other one has no padding."""
    generator = torch.Generator().manual_seed(1200 + items)
    tokens = torch.randint(END + 1, 7, (items, 3), generator=generator)  # the smallest vocabulary of the suite
    mask = torch.ones_like(tokens)
    mask[1::2, 2:] = 0
    return {**make_regions(items), "input_ids": tokens.masked_fill(mask == 0, PAD), "attention_mask": mask}


def make_prompts(items: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(70 + items)
    return {"input_ids": torch.randint(END + 1, 7, (items, 2), generator=generator)}


def size_encoder(settings: dict) -> dict:
    """An encoder that makes a memory of the size asked for."""
    settings = dict(settings)
    size = settings.pop("memory_size")
    if settings.get("encoder_skip_connection"):
        size -= settings["encoder_embedding_size"]
    directions = 1 if size % 2 else 2
    return {**settings, "encoder_hidden_size": size // directions, "encoder_bidirectional": directions == 2}


def without_encoder(settings: dict) -> dict:
    """What is left where there is no memory but the model's own states."""
    return {k: v for k, v in settings.items() if k not in ("memory_size", "initial_state", "coverage")}


SEQ2SEQ = ModelFactory(
    name="seq2seq",
    model_class=AttentionSeq2SeqForConditionalGeneration,
    config_class=AttentionSeq2SeqConfig,
    settings={"memory_size": 6, "source_vocab_size": VOCABULARY},
    make_inputs=make_sentences,
    content="input_ids",
    mask="attention_mask",
    adapt=size_encoder,
    end_bias=4.0,
    share=3,
)
FACTORIES = [
    ModelFactory(
        name="captioner",
        model_class=AttentionCaptionerForConditionalGeneration,
        config_class=AttentionCaptionerConfig,
        settings={"region_size": 9},
        make_inputs=make_regions,
        content="region_features",
        mask="region_mask",
    ),
    SEQ2SEQ,
    replace(
        SEQ2SEQ,
        name="seq2seq_deep",
        settings={
            **SEQ2SEQ.settings,
            "encoder_rnn_type": "gru",
            "encoder_num_hidden_layers": 2,
            "encoder_embedding_size": 2,
            "encoder_skip_connection": True,
        },
        share=9,
    ),
    ModelFactory(
        name="vqa",
        model_class=AttentionVQAForConditionalGeneration,
        config_class=AttentionVQAConfig,
        settings={"region_size": 9, "encoder_hidden_size": 6},
        make_inputs=make_questions,
        content="region_features",
        mask="region_mask",
        end_bias=2.5,
        share=3,
    ),
    ModelFactory(
        name="recurrent_lm",
        model_class=RecurrentLMForCausalLM,
        config_class=RecurrentLMConfig,
        settings={"attention_type": "additive", "attention_window": 3},
        make_inputs=make_prompts,
        content="input_ids",
        adapt=without_encoder,
        end_bias=1.5,
        share=3,
    ),
]


# A test that is marked so goes over the models above; over those of them that look at a memory; over each in each of
# many configurations. A module of tests may put others in their place, by the names OVER_MODELS (factories) and
# OVER_CONFIGURATIONS (settings).
over_models = pytest.mark.over_models
over_encoder_decoders = pytest.mark.over_encoder_decoders
over_configurations = pytest.mark.over_configurations
OVER = (over_models, over_encoder_decoders, over_configurations)


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Gives a test that is marked so its models and configurations."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    factories = getattr(metafunc.module, "OVER_MODELS", FACTORIES)
    if over_encoder_decoders.name in marks:
        factories = [factory for factory in factories if factory.has_encoder]
    if over_configurations.name in marks:
        chosen = getattr(metafunc.module, "OVER_CONFIGURATIONS", None)
        params = [param for factory in factories for param in _params(factory, chosen)]
        metafunc.parametrize(("factory", "settings"), params)
    elif marks & {over_models.name, over_encoder_decoders.name}:
        metafunc.parametrize("factory", factories, ids=lambda factory: factory.name)


def suite_of(*modules: types.ModuleType) -> dict[str, Callable]:
    """The tests of modules that go over models, by their names: for a module that has other models."""
    names = {mark.name for mark in OVER}
    return {
        name: test
        for module in modules
        for name, test in vars(module).items()
        if name.startswith("test_") and names & {mark.name for mark in getattr(test, "pytestmark", ())}
    }


@functools.cache
def _configurations() -> tuple[list[dict], list[dict]]:
    """Those of the quick tests, and those that are left to the slow ones."""
    few = pairwise()
    return few, [settings for settings in core() if settings not in few]


def _params(factory: ModelFactory, chosen: list[dict] | None) -> list:
    few, rest = _configurations() if chosen is None else (chosen, [])
    return [
        pytest.param(
            factory,
            settings,
            id=f"{factory.name}-{name_of(settings)}",
            marks=pytest.mark.slow if number >= len(few) or number % factory.share else (),
        )
        for number, settings in enumerate([*few, *rest])
    ]


@torch.no_grad()
def set_bias(model: PreTrainedModel, tokens: int | list[int], value: float) -> None:
    """Makes tokens likely or unlikely, in every output embedding of a model."""
    for name, parameter in model.named_parameters():
        if name.endswith("lm_head.bias"):
            parameter[tokens] = value


def to_dtype(inputs: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The inputs with the floating-point ones among them in another precision."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


@torch.no_grad()
def memory_mask(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The mask of all that the decoder attends to."""
    return model.get_encoder()(**inputs).memory_mask


def prompt_length(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> int:
    """How many tokens the inputs themselves are, in front of those that the suite speaks of."""
    return 0 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]


def generation_inputs(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    tokens: torch.LongTensor | None = None,
    mask: torch.LongTensor | None = None,
) -> dict[str, torch.Tensor]:
    """What `generate()` takes, to go on behind `tokens`: by default, the start token."""
    if model.config.is_encoder_decoder:
        given = {"decoder_input_ids": tokens, "decoder_attention_mask": mask}
        return {**inputs, **{name: value for name, value in given.items() if value is not None}}
    prompt = inputs["input_ids"]
    tokens = make_tokens(prompt.shape[0], 1).to(prompt.device) if tokens is None else tokens
    given = {"input_ids": torch.cat([prompt.repeat_interleave(tokens.shape[0] // prompt.shape[0], 0), tokens], 1)}
    if mask is not None:
        given["attention_mask"] = F.pad(mask, (prompt.shape[1], 0), value=1)
    return given


def read(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    tokens: torch.LongTensor,
    mask: torch.LongTensor | None = None,
    past_key_values: RecurrentCache | None = None,
    **kwargs,
) -> Seq2SeqLMOutput:
    """
    Runs a model over tokens: a decoder's, or those behind the prompt, which is read with the first of them.

    Args:
        mask: Of the tokens, or of those before them, too.
    """
    if model.config.is_encoder_decoder:
        given = {"decoder_input_ids": tokens, "decoder_attention_mask": mask}
        return model(**inputs, **given, past_key_values=past_key_values, **kwargs)
    given = generation_inputs(model, inputs, tokens, mask)
    if past_key_values is not None and past_key_values.get_seq_length() > 0:
        given["input_ids"] = tokens
    outputs = model(**given, past_key_values=past_key_values, **kwargs)
    new = slice(-tokens.shape[1], None)
    attentions = outputs.attentions
    return Seq2SeqLMOutput(
        logits=outputs.logits[:, new],
        past_key_values=outputs.past_key_values,
        cross_attentions=None if attentions is None else tuple(weights[:, :, new] for weights in attentions),
    )


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
