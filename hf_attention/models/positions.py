"""How many tokens of a text a model has positions for."""

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel


# In place of transformers' warning, which foresees an error that a model without a table does not make.
READ_WHOLE = (
    "{} has more tokens than the tokenizer's `model_max_length`, {}, and is read whole: `truncation=True` cuts it."
)


def source_positions(model: PreTrainedModel) -> int | None:
    """
    Of a source that the encoder of a sequence-to-sequence model reads.

    Args:
        model (`PreTrainedModel`): The model.
    """
    encoder = model.get_encoder() if model.config.is_encoder_decoder else None
    positions = getattr(encoder, "embed_positions", None)
    if isinstance(positions, nn.Embedding):
        return positions.num_embeddings - getattr(positions, "offset", 0)
    # BERT's, and what is like it, where it is the encoder of an `EncoderDecoderModel`.
    positions = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    if not isinstance(positions, nn.Embedding):
        return None
    return positions.num_embeddings - (0 if positions.padding_idx is None else positions.padding_idx + 1)


def question_positions(config: PreTrainedConfig) -> int | None:
    """
    Of a question about a picture.

    Args:
        config (`PreTrainedConfig`): The configuration of a model that answers questions.
    """
    config = getattr(config, "question_encoder_config", None) or config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and ("roberta" in config.model_type or config.model_type in ("camembert", "mpnet")):
        limit -= config.pad_token_id + 1  # their positions begin behind that of the padding
    return limit
