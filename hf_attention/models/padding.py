"""Sequences of different lengths, where they cannot be packed."""

import torch
from torch import nn
from torch.nn import functional as F


# Added to what a gate is the sigmoid of, it opens the gate, or subtracted shuts it, whatever else is added; a float16.
OPENS = 1e4


def take_steps(sequences: torch.Tensor, order: torch.LongTensor) -> torch.Tensor:
    """
    The steps of each sequence in another order.

    Args:
        sequences (`torch.Tensor` of shape `(batch, steps, size)`): The sequences.
        order (`torch.LongTensor` of shape `(batch, taken)`): Which of its steps comes where.
    """
    # Whole rows at a time, where `gather` would go element by element.
    batch, steps = sequences.shape[:2]
    rows = order + torch.arange(batch, device=order.device).unsqueeze(1) * steps
    return sequences.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, order.shape)


def read_around_padding(
    rnn: nn.LSTM | nn.GRU, words: torch.Tensor, lengths: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
    """
    As [`~hf_attention.models.recurrence.read_padded`], with the states of every layer, and without packed sequences,
    which cannot be exported. Whether a step is padding is one more feature of what a layer reads, which keeps cells,
    and the states of a GRU, as they are: it shuts an LSTM's input gate and opens its forget gate, or opens a GRU's
    update gate.
    """
    is_lstm, size, dtype = rnn.mode == "LSTM", rnn.hidden_size, words.dtype
    directions = 2 if rnn.bidirectional else 1
    is_padding = (torch.arange(words.shape[1], device=words.device) >= lengths.unsqueeze(1)).unsqueeze(-1)
    of_gates = torch.tensor([-OPENS, OPENS, 0, 0] if is_lstm else [0, OPENS, 0], dtype=dtype, device=words.device)
    column = of_gates.repeat_interleave(size).unsqueeze(1)
    zeros = words.new_zeros(directions, words.shape[0], size)
    all_states, finals = [], []
    for layer in range(rnn.num_layers):
        if layer > 0:
            words = F.dropout(words, rnn.dropout, rnn.training)
        weights = [
            torch.cat([weight, column.to(weight)], 1) if number == 0 else weight
            for of_direction in rnn.all_weights[layer * directions : (layer + 1) * directions]
            for number, weight in enumerate(of_direction)
        ]
        states, *final = (torch.lstm if is_lstm else torch.gru)(
            torch.cat([words, is_padding.to(dtype)], -1),
            (zeros, zeros) if is_lstm else zeros,
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=rnn.training,
            bidirectional=rnn.bidirectional,
            batch_first=True,
        )
        if is_lstm:  # its output gate goes on over the padding, forwards
            last = take_steps(states, (lengths - 1).unsqueeze(1))[:, 0, :size]
            final[0] = torch.cat([last.unsqueeze(0), final[0][1:]])
        finals.append(final)
        words = states.masked_fill(is_padding, 0)
        all_states.append(words)
    final = tuple(torch.cat(kind) for kind in zip(*finals, strict=True))
    return all_states, final if is_lstm else final[0]
