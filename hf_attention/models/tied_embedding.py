"""One matrix from which tokens are read and with which they are predicted."""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .decoder import AttentionDecoder
from .plain import is_plain


def embed_tied(
    decoder: nn.Module,
    output_embedding: nn.Module,
    input_ids: torch.LongTensor | None,
    inputs_embeds: torch.Tensor | None,
) -> tuple[torch.LongTensor | None, torch.Tensor | None, torch.Tensor | None]:
    """
    Embeds the tokens of a decoder whose loss predicts others with the same matrix, on a processor, so that the
    embeddings' gradient is added to the rows of the output's. Autograd would write it into a matrix of zeros and add
    the two matrices. Second derivatives and `torch.func` are refused.

    Args:
        decoder (`nn.Module`): What is about to be called.
        output_embedding (`nn.Module`): Predicts the tokens that follow.
        input_ids (`torch.LongTensor` of shape `(rows, target)`, *optional*): The tokens.
        inputs_embeds (`torch.Tensor` of shape `(rows, target, embedding_size)`, *optional*): Their embeddings.

    Returns:
        `tuple`: what the decoder is to be given as `input_ids` and as `inputs_embeds`, and the matrix, of shape
        `(vocab_size, embedding_size)`, for the loss to use, one that makes a new tensor of its gradient: it is written
        to. `None` for a matrix, and the arguments as they are, where there is none in common or nothing to train,
        where a module is wrapped, compiled, has hooks or does more than to look up rows, and on other devices.
    """
    is_possible = (
        input_ids is not None
        and inputs_embeds is None
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and is_plain(decoder, AttentionDecoder)
        and is_plain(decoder.embed_tokens, nn.Embedding)
        and is_plain(output_embedding, nn.Linear)
        and _is_trained_in_common(decoder.embed_tokens, output_embedding)
    )
    if not is_possible:
        return input_ids, inputs_embeds, None
    embedding = decoder.embed_tokens
    return None, *_TiedEmbedding.apply(embedding.weight, input_ids, embedding.padding_idx)


def _is_trained_in_common(embedding: nn.Embedding, output_embedding: nn.Linear) -> bool:
    weight = embedding.weight
    only_looks_up = embedding.max_norm is None and not embedding.scale_grad_by_freq and not embedding.sparse
    return weight is output_embedding.weight and weight.requires_grad and weight.device.type == "cpu" and only_looks_up


class _TiedEmbedding(torch.autograd.Function):
    """Rows of the matrix, and the matrix, whose gradient comes when what was made of the rows has had its own."""

    @staticmethod
    def forward(ctx, weight, input_ids, padding_idx):
        ctx.padding_idx = padding_idx
        ctx.save_for_backward(input_ids)
        return F.embedding(input_ids, weight), weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, of_embeddings, of_weight):
        [input_ids] = ctx.saved_tensors
        of_padding = None if ctx.padding_idx is None else of_weight[ctx.padding_idx].clone()
        of_weight.index_add_(0, input_ids.flatten(), of_embeddings.flatten(0, -2))
        if of_padding is not None:  # nn.Embedding gives its row no gradient
            of_weight[ctx.padding_idx] = of_padding
        return of_weight, None, None
