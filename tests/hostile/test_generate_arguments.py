"""`generate()` with arguments of wrong types and shapes: never less clear than a model of transformers itself."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from common.every_model import Example, over_every_model
from hypothesis import strategies as st
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from hf_attention.models.arguments import TENSORS

from .cases import bounded, odd_values
from .verdict import Outcome, Verdict


SIZES = {"vocab_size": 30, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def bart() -> Example:
    names = ("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads")
    config = BartConfig(**SIZES, d_model=8, **dict.fromkeys(names, 1), encoder_ffn_dim=8, decoder_ffn_dim=8)
    return BartForConditionalGeneration(config).eval(), {"input_ids": torch.randint(4, 20, (3, 5))}


def gpt2() -> Example:
    return GPT2LMHeadModel(GPT2Config(**SIZES, n_embd=8, n_layer=1, n_head=1)).eval(), {
        "input_ids": torch.randint(4, 20, (3, 5))
    }


tensors = st.builds(
    lambda shape, dtype, value: torch.full(shape, value).to(dtype),
    st.lists(st.integers(0, 5), max_size=5),
    st.sampled_from([torch.int64, torch.int32, torch.float32, torch.bool, torch.float16, torch.complex64]),
    st.sampled_from([0, 1, 5, 29]),
)
odd_arguments = st.one_of(tensors, odd_values, st.just(np.ones((3, 5))), st.just((None,)), st.builds(object))
SETTINGS = (
    *("num_beams", "max_new_tokens", "min_new_tokens", "temperature", "top_k", "top_p", "length_penalty"),
    *("repetition_penalty", "no_repeat_ngram_size", "num_return_sequences", "eos_token_id", "pad_token_id"),
    *("suppress_tokens", "bad_words_ids", "stop_strings", "do_sample", "decoder_start_token_id", "early_stopping"),
    *("past_key_values", "generation_config", "logits_processor", "stopping_criteria", "use_cache", "synced_gpus"),
)


def clearness(model: PreTrainedModel, inputs: dict[str, Any], name: str) -> tuple[int, str]:
    """How clear it is what is wrong, 0 for nothing, and what is said."""
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            model.generate(**{"max_new_tokens": 2, "do_sample": False, **inputs})
    except (TypeError, ValueError) as error:
        return 1 if name in str(error) else 2, f"{type(error).__name__}: {error}"
    except Exception as error:
        return 3, f"{type(error).__name__}: {error}"
    return 0, ""


@over_every_model()
def test_generate(verdict: Verdict, make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    if not model.can_generate():
        pytest.skip("it does not generate")
    model.eval()
    theirs, their_inputs = (bart if model.config.is_encoder_decoder else gpt2)()

    @bounded(60)
    def try_one(name: str, value: Any) -> None:
        given = {**inputs, name: copy.deepcopy(value)}
        ours, message = clearness(model, given, name)
        their_name = name if name in SETTINGS or name in _known(theirs) else "inputs"
        other, _ = clearness(theirs, {**their_inputs, their_name: value}, their_name)
        case = f"{name}={' '.join(repr(value).split()):.60}"
        kind = f"generate: {type(model).__name__}"
        if ours == 0:
            verdict.add(kind, case, Outcome.FINE)
        elif ours == 1:
            verdict.add(kind, case, Outcome.CLEAR)
        elif ours <= max(other, 2):
            verdict.add(kind, case, Outcome.VAGUE, message)
        else:
            verdict.add(kind, case, Outcome.INSIDE, message)

    names = sorted({*TENSORS, "inputs", "encoder_outputs", *SETTINGS})
    try_one(name=st.sampled_from(names), value=odd_arguments)


def _known(model: PreTrainedModel) -> set[str]:
    return {"input_ids", "attention_mask", "inputs_embeds", "inputs"} | (
        {"encoder_outputs", "decoder_input_ids", "decoder_attention_mask", "decoder_inputs_embeds"}
        if model.config.is_encoder_decoder
        else set()
    )
