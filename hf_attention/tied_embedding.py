"""One matrix from which tokens are read and with which they are predicted."""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .plain import is_plain


def embed_tied(
    input_ids: torch.LongTensor | None, embedding: nn.Module, output_embedding: nn.Module
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """
    For a loss whose tokens are read from and predicted with one matrix, on a processor: the gradient of the embeddings
    is added to the rows of that of the output. Autograd would write it into a matrix of zeros and add the two, which
    takes longer than an optimizer's step. Second derivatives and `torch.func` are refused.

    Args:
        input_ids (`torch.LongTensor` of shape `(rows, target)`, *optional*): The tokens.
        embedding (`nn.Module`): Reads them.
        output_embedding (`nn.Module`): Predicts those that follow.

    Returns:
        `tuple`: the embeddings, of shape `(rows, target, embedding_size)`, and the matrix, of shape `(vocab_size,
        embedding_size)`, which the loss is to use in place of the output embedding's; `None` and `None` where the two
        have no matrix in common, are wrapped or have hooks, or there is nothing to train.
    """
    is_possible = (
        input_ids is not None
        and is_plain(embedding, nn.Embedding)
        and is_plain(output_embedding, nn.Linear)
        and embedding.weight is output_embedding.weight
        and embedding.weight.requires_grad
        and embedding.weight.device.type == "cpu"
        and not (embedding.max_norm or embedding.scale_grad_by_freq or embedding.sparse)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )
    return _TiedEmbedding.apply(embedding.weight, input_ids, embedding.padding_idx) if is_possible else (None, None)


class _TiedEmbedding(torch.autograd.Function):
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
