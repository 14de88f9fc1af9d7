"""Unknown words of a translation, replaced by the words that the model looked at."""

from collections.abc import Sequence

import torch


def replace_unknown_words(
    tokens: Sequence[str], maps: torch.Tensor, source_words: Sequence[str], unknown: str = "<unk>"
) -> list[str]:
    """
    Puts in place of each unknown word the source word that its step looked at most (Luong et al. 2015, section 4.2;
    without their dictionary the word is copied).

    Args:
        tokens (`Sequence[str]`): The generated words.
        maps (`torch.Tensor` of shape `(generated words, source words)`): See [`attention_maps`].
        source_words (`Sequence[str]`): The source as it was written, word by word; "" is never taken.
        unknown (`str`, *optional*, defaults to `"<unk>"`): How an unknown word reads.

    Returns:
        `list[str]`: The generated words, as many as before.

    Raises:
        ValueError: Where the shape of the maps is another.
    """
    if maps.shape != (len(tokens), len(source_words)):
        raise ValueError(
            f"`maps` must have a row a token and a column a source word, ({len(tokens)}, {len(source_words)}), got "
            f"{tuple(maps.shape)}."
        )
    is_word = torch.tensor([bool(word) for word in source_words], device=maps.device)
    if not is_word.any():
        raise ValueError("`source_words` holds no word.")
    looked_at = maps.masked_fill(~is_word, -1).argmax(-1).tolist()
    return [
        source_words[position] if token == unknown else token
        for token, position in zip(tokens, looked_at, strict=True)
    ]
