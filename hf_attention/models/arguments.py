"""The arguments of `forward` that have no use here, those that nobody knows, and what the others must be."""

from typing import Any

import torch
from transformers.utils import ModelOutput


# What transformers' own machinery (`generate()` its tokenizers), or a library that trains its models, may hand to any.
OF_TRANSFORMERS = {
    "assistant_tokenizer",
    "cache",
    "cache_position",
    "is_causal",
    "logits_to_keep",
    "num_items_in_batch",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "past_key_values",
    "position_ids",
    "return_dict",
    "return_loss",
    "token_type_ids",
    "tokenizer",
    "use_cache",
}


def refuse_unknown(arguments: dict[str, Any]) -> None:
    """
    Args:
        arguments (`dict`): What is left in the `**kwargs` of a `forward`. `None` asks for nothing.

    Raises:
        TypeError: Where one is not among those that transformers hands to every model: a misspelt name, say, or the
            bounds of packed texts, between which a recurrent state would go on.
        ValueError: Where `position_ids` begin anew within a row, which is how packed texts are told apart, too.
    """
    positions = arguments.get("position_ids")
    # Of one token there is nothing to see, and a look would wait for the device at every step of generation.
    is_long = positions is not None and positions.shape[1] > 1
    if is_long and (positions[:, :1].eq(0) & positions.diff().lt(0)).any():
        raise ValueError(
            "`position_ids` begin anew within a row: several texts are packed into it, and the state of one would go "
            "on into the next. Give each text a row of its own (`packing=False`)."
        )
    unknown = [name for name, value in arguments.items() if value is not None and name not in OF_TRANSFORMERS]
    if unknown:
        raise TypeError(f"`forward` got unknown arguments: {', '.join(f'`{name}`' for name in unknown)}.")


INTEGERS = (torch.int64, torch.int32)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# The shapes of tensors, and their dtypes where they matter.
TENSORS: dict[str, tuple[str, tuple[torch.dtype, ...] | None]] = {
    "input_ids": ("(batch, tokens)", INTEGERS),
    "attention_mask": ("(batch, tokens)", None),
    "inputs_embeds": ("(batch, tokens, embedding_size)", FLOATS),
    "pixel_values": ("(batch, channels, height, width)", FLOATS),
    "region_features": ("(batch, regions, region_size)", FLOATS),
    "region_mask": ("(batch, regions)", None),
    "region_boxes": ("(batch, regions, 4)", None),
    "decoder_input_ids": ("(batch, tokens)", INTEGERS),
    "decoder_attention_mask": ("(batch, tokens)", None),
    "decoder_inputs_embeds": ("(batch, tokens, embedding_size)", FLOATS),
}


def check_tensors(arguments: dict[str, Any], main_input_name: str) -> None:
    """
    Args:
        arguments (`dict`): Those of `generate()`. Names that are not in `TENSORS` and `None` are passed over.
        main_input_name (`str`): What `inputs` are.

    Raises:
        TypeError: Where one is no tensor, or not of the numbers that it must be.
        ValueError: Where it has another number of dimensions.
    """
    for name, value in arguments.items():
        if value is None:
            continue
        if name == "encoder_outputs":
            _check_encoder_outputs(value)
            continue
        shape, dtypes = TENSORS.get(main_input_name if name == "inputs" else name, (None, None))
        if shape is None:
            continue
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"`{name}` must be a tensor of shape {shape}, got {type(value).__name__}.")
        if value.ndim != shape.count(",") + 1 or (shape.endswith(", 4)") and value.shape[-1] != 4):
            raise ValueError(f"`{name}` must have the shape {shape}, got {tuple(value.shape)}.")
        if dtypes is not None and value.dtype not in dtypes:
            kind = "whole numbers" if dtypes is INTEGERS else "floating-point numbers"
            raise TypeError(f"`{name}` must be a tensor of {kind}, {dtypes[0]} for one, got {value.dtype}.")


def _check_encoder_outputs(value: Any) -> None:
    if not isinstance(value, ModelOutput) or not ({"last_hidden_state", "members"} & value.keys()):
        raise TypeError(
            "`encoder_outputs` must be what the encoder returns (with `return_dict=True`), got "
            f"{type(value).__name__}."
        )
    memory = value.get("last_hidden_state")
    if memory is not None and getattr(memory, "ndim", None) != 3:
        raise ValueError(
            "`last_hidden_state` of `encoder_outputs` must be a tensor of shape (batch, positions, memory_size), got "
            f"{tuple(memory.shape) if isinstance(memory, torch.Tensor) else type(memory).__name__}."
        )
