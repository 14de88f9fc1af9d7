"""Which positions each generated token looked at."""

import re
from collections.abc import Sequence

import torch
from tokenizers import decoders
from transformers.utils import ModelOutput


_SPECIAL_TOKEN = re.compile(r"<[^<>\s]+>|\[[A-Z]+\]")


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
        padding after a sequence's end are zero. A decoder prefix, or a prompt, is not generated and has no row.
        Positions are those of the memory. Of a [`RecurrentLMForCausalLM`] they are the `attention_window` states of
        the top layer before the step that chose the token, the last position being the one just before it: read as
        token `i` of a text, `0` the first, that step has looked at the state after token `i - attention_window + p`
        at position `p`, at the zero state where that is `-1`, and at nothing, with weight zero, before it.

    Raises:
        ValueError: Where the outputs hold no attention weights, or weights over a text that grows: the self-attention
            of other causal language models.
    """
    steps = None
    if isinstance(outputs, dict):
        steps = outputs.get("cross_attentions")
        if steps is None:
            steps = outputs.get("attentions")
    # Where a kernel keeps the weights to itself, there may be a `None` for each layer.
    if steps is None or any(weights is None for layers in steps for weights in layers):
        raise ValueError(
            "The outputs hold no attention weights: call `generate(..., output_attentions=True, "
            "return_dict_in_generate=True)`."
        )
    if not all(steps):
        raise ValueError(
            "The model gave no attention weights: its configuration says `attention_type=None`, or, of one of "
            "transformers' own, its implementation keeps them to itself (`attn_implementation='eager'` gives them)."
        )
    if len({layers[-1].shape[-1] for layers in steps}) > 1:
        raise ValueError(
            "The outputs hold self-attention over the text itself, which grows: its tokens share no positions that a "
            "map could have."
        )
    # Of a step that read several tokens (a prefix, a prompt), the last predicts the generated one.
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


def merge_words(
    tokens: Sequence[str], attentions: torch.Tensor, source_tokens: Sequence[str] | None = None
) -> tuple[list[str], torch.Tensor, list[str] | None]:
    """
    Makes words of sub-words, and their attention: summed over the tokens of a source word, averaged over those of a
    generated word, so that each row still sums to what it did.

    A word is what spaces separate, with its punctuation. Where it begins is read off the tokens: by "Ġ" (byte-level
    BPE), "▁" (metaspace), or by the "##" of those that go on with a word (WordPiece), whichever a sequence has; where
    it has none, each token is a word. Special tokens, such as `</s>` or `[SEP]`, are words of their own.

    Args:
        tokens (`Sequence[str]`):
            The generated tokens, as a pipeline's answer has them.
        attentions (`torch.Tensor` of shape `(len(tokens), positions)`):
            Their maps.
        source_tokens (`Sequence[str]`, *optional*):
            The tokens that the positions belong to. Without them the positions stay as they are: regions.

    Returns:
        `tuple`: the generated words, the maps of shape `(words, source words or positions)`, and the source's words,
        or `None`.

    Raises:
        ValueError: Where the shape of the maps is another.
    """
    columns = attentions.shape[-1] if source_tokens is None else len(source_tokens)
    if attentions.shape != (len(tokens), columns):
        raise ValueError(
            f"`attentions` must have a row a token and a column a source token, ({len(tokens)}, {columns}), got "
            f"{tuple(attentions.shape)}."
        )
    words, word_of_token = _find_words(tokens)
    counts = torch.bincount(word_of_token, minlength=len(words)).to(attentions)
    summed = attentions.new_zeros(len(words), columns).index_add_(0, word_of_token.to(attentions.device), attentions)
    attentions = summed / counts.unsqueeze(1)
    if source_tokens is None:
        return words, attentions, None
    source_words, word_of_token = _find_words(source_tokens)
    merged = attentions.new_zeros(len(words), len(source_words))
    return words, merged.index_add_(1, word_of_token.to(attentions.device), attentions), source_words


def _find_words(tokens: Sequence[str]) -> tuple[list[str], torch.LongTensor]:
    """The words that tokens make up, and the number of each token's word."""
    mark = next((m for m in ("Ġ", "▁", "##") if any(token.startswith(m) for token in tokens)), None)
    groups: list[list[str]] = []
    word_of_token = []
    is_open = False  # whether the last word may go on
    for token in tokens:
        is_special = _SPECIAL_TOKEN.fullmatch(token) is not None
        goes_on = token.startswith("##") if mark == "##" else mark is not None and not token.startswith(mark)
        if not (is_open and goes_on) or is_special:
            groups.append([])
        groups[-1].append(token)
        word_of_token.append(len(groups) - 1)
        is_open = not is_special
    return [_spell(group, mark) for group in groups], torch.tensor(word_of_token, dtype=torch.long)


def _spell(group: list[str], mark: str | None) -> str:
    if len(group) == 1 and (mark is None or _SPECIAL_TOKEN.fullmatch(group[0])):
        return group[0]
    if mark == "Ġ":
        return decoders.ByteLevel().decode(group).strip() or group[0]
    if mark == "##":
        return "".join([group[0], *(token.removeprefix(mark) for token in group[1:])])
    return "".join(group).removeprefix(mark or "") or group[0]
