"""The arguments of `forward` that have no use here, and those that nobody knows."""

from typing import Any


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
    if positions is not None and (positions[:, :1].eq(0) & positions.diff().lt(0)).any():
        raise ValueError(
            "`position_ids` begin anew within a row: several texts are packed into it, and the state of one would go "
            "on into the next. Give each text a row of its own (`packing=False`)."
        )
    unknown = [name for name, value in arguments.items() if value is not None and name not in OF_TRANSFORMERS]
    if unknown:
        raise TypeError(f"`forward` got unknown arguments: {', '.join(f'`{name}`' for name in unknown)}.")
