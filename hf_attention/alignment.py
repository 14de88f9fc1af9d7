"""Which positions of the memory each generated token looked at."""

import torch
from transformers.utils import ModelOutput


def attention_maps(outputs: ModelOutput, eos_token_id: int | list[int] | None = None) -> torch.Tensor:
    """
    The attention weights with which each generated token was chosen, exact under every strategy: they are gathered
    through the beams that a sequence came along.

    Args:
        outputs ([`~transformers.utils.ModelOutput`]):
            What `generate(..., output_attentions=True, return_dict_in_generate=True)` returned.
        eos_token_id (`int` or `list[int]`, *optional*):
            What ends a sequence. Only models of transformers need it, for greedy search and sampling: their outputs do
            not say where a sequence ends.

    Returns:
        `torch.FloatTensor` of shape `(sequences, generated tokens, positions)`: Heads are averaged. The rows of the
        padding after a sequence's end are zero. A decoder prefix is no generated token and has no row.

    Raises:
        ValueError: Where the outputs hold no attention weights.
    """
    steps = outputs.get("cross_attentions") if isinstance(outputs, dict) else None
    if steps is None:
        raise ValueError(
            "The outputs hold no attention weights: call `generate(..., output_attentions=True, "
            "return_dict_in_generate=True)`."
        )
    if not all(steps):
        raise ValueError("The model does not attend: its configuration says `attention_type=None`.")
    # Of a step that read several tokens (a prefix), the last predicts the generated one.
    maps = torch.stack([layers[-1][:, :, -1].mean(1) for layers in steps], 1)
    mask = outputs.get("generated_mask")
    beams = outputs.get("beam_indices")
    if beams is not None:
        num_tokens = beams.shape[1]
        maps = maps[beams.clamp(min=0), torch.arange(num_tokens, device=maps.device)]
        mask = beams >= 0
    elif mask is None and eos_token_id is not None:
        tokens = outputs.sequences[:, -maps.shape[1] :]
        is_end = torch.isin(tokens, torch.as_tensor(eos_token_id, device=tokens.device)).long()
        mask = is_end.cumsum(1) - is_end == 0
    if mask is not None:
        maps = maps * mask.unsqueeze(-1)
    return maps
