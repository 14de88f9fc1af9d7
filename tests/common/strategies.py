"""The ways to generate that the suite goes over, and the teacher-forced pass that they are held against."""

import torch
from packaging.version import Version
from transformers import PreTrainedModel

from .factories import END, ModelFactory, generation_inputs, left_padded, make_tokens, prompt_length, read, repeat
from .versions import INSTALLED


NEW_TOKENS = 7
# What generate() is asked for. "alone" marks those that take one sequence at a time.
STRATEGIES = {
    "greedy": {},
    "greedy uncached": {"use_cache": False},
    "sample": {"do_sample": True, "top_k": 0},
    "sample several": {"do_sample": True, "top_k": 0, "num_return_sequences": 3},
    "beam": {"num_beams": 3},
    "beam uncached": {"num_beams": 3, "use_cache": False},
    "beam several": {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5},
    "beam sample": {"num_beams": 3, "num_return_sequences": 2, "do_sample": True, "top_k": 0},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    "assisted": {"assistant_model": "another"},
    "assisted by itself": {"assistant_model": "itself"},
}
if Version("5.15") <= INSTALLED < Version("5.16"):
    # There an assistant's cache is cropped by a number of tokens that does not ask where the cache stands.
    STRATEGIES = {name: asked for name, asked in STRATEGIES.items() if "assistant_model" not in asked}
ONE_SEQUENCE = tuple(name for name in ("prompt lookup", "assisted", "assisted by itself") if name in STRATEGIES)


def make_prefix(rows: int, length: int = 4, ragged: bool = True) -> dict[str, torch.LongTensor]:
    """The start token and words that repeat, behind padding of several lengths."""
    tokens = make_tokens(rows, length)
    if not ragged:
        return {"decoder_input_ids": tokens, "decoder_attention_mask": torch.ones_like(tokens)}
    tokens, mask = left_padded(tokens)
    return {"decoder_input_ids": tokens, "decoder_attention_mask": mask}


@torch.no_grad()
def generate(factory: ModelFactory, model: PreTrainedModel, inputs: dict, strategy: str, **kwargs):
    """A strategy's outputs, with scores and attention weights; the sequences without a prompt that the inputs are."""
    settings = dict(STRATEGIES[strategy])
    if settings.get("assistant_model") == "itself":
        settings["assistant_model"] = model
    elif "assistant_model" in settings:
        assistant = factory.make_model(rnn_type="gru", attention_type="general")
        # Near enough to the model to be right at times.
        biases = {name: value for name, value in model.state_dict().items() if name.endswith("lm_head.bias")}
        assistant.load_state_dict(biases, strict=False)
        settings["assistant_model"] = assistant
    kwargs = {"max_new_tokens": NEW_TOKENS, "output_attentions": True, "output_scores": True, **settings, **kwargs}
    words = (kwargs.pop(name, None) for name in ("decoder_input_ids", "decoder_attention_mask"))
    given = generation_inputs(model, inputs, *words)
    outputs = model.generate(**given, return_dict_in_generate=True, **kwargs)
    outputs.sequences = outputs.sequences[:, prompt_length(model, inputs) :]
    return outputs


@torch.no_grad()
def teacher_forced(
    model: PreTrainedModel, inputs: dict, sequences: torch.LongTensor, prefix: dict | None = None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """
    One pass over what was generated.

    Returns:
        The logits `(sequences, new tokens, vocabulary)` and the attention weights, averaged over heads, `(sequences,
        new tokens, positions)` of each generated token, and which of them are real: up to the first end.
    """
    items = next(iter(inputs.values())).shape[0]
    times = sequences.shape[0] // items
    start = 1 if prefix is None else prefix["decoder_input_ids"].shape[1]
    mask = None
    if prefix is not None:
        mask = torch.ones_like(sequences[:, :-1])
        mask[:, :start] = prefix["decoder_attention_mask"].repeat_interleave(times, 0)
    outputs = read(model, repeat(inputs, times), sequences[:, :-1], mask, use_cache=False, output_attentions=True)
    tokens = sequences[:, start:]
    ended_before = ((tokens == END).cumsum(1) - (tokens == END).long()) > 0
    maps = outputs.cross_attentions[0].mean(1)[:, start - 1 :] if outputs.cross_attentions else None
    return outputs.logits[:, start - 1 :], maps, ~ended_before


def log_probabilities(logits: torch.Tensor, sequences: torch.LongTensor) -> torch.Tensor:
    """Of each generated token."""
    tokens = sequences[:, sequences.shape[1] - logits.shape[1] :]
    return logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
