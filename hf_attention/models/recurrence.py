"""The recurrent layers: over whole sequences, over padded ones, and step by step."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .door import replaceable
from .dropout import Dropout
from .padding import read_around_padding
from .recording import is_exporting


# Of each layer, of shape `(rows, hidden_size)`. A GRU has no cells: then there are none.
States = tuple[torch.Tensor, ...]
Masks = tuple[list[Callable[[torch.Tensor], torch.Tensor]], list[torch.Tensor]]


def make_layers(
    rnn_type: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    dropout: float = 0.0,
    variational: bool = False,
    weight_dropout: float = 0.0,
) -> nn.LSTM | nn.GRU:
    """
    Recurrent layers, of PyTorch's own where these have the dropout that is asked for.

    Args:
        rnn_type (`str`): `"lstm"` or `"gru"`.
        input_size (`int`): Size of what is read at each step.
        hidden_size (`int`): Size of the state.
        num_layers (`int`): Number of layers.
        dropout (`float`, *optional*, defaults to 0.0): Dropout between the layers.
        variational (`bool`, *optional*, defaults to `False`): Whether it has one mask for all steps.
        weight_dropout (`float`, *optional*, defaults to 0.0): Dropout on the recurrent matrices.
    """
    is_lstm, sizes = rnn_type == "lstm", (input_size, hidden_size, num_layers)
    dropout = dropout if num_layers > 1 else 0.0
    if weight_dropout or (variational and dropout):
        return (VariationalLSTM if is_lstm else VariationalGRU)(*sizes, dropout, variational, weight_dropout)
    return (nn.LSTM if is_lstm else nn.GRU)(*sizes, batch_first=True, dropout=dropout)


@replaceable
def run_layers(
    rnn: nn.LSTM | nn.GRU, inputs: torch.Tensor, hidden: States, cell: States, *masks: Masks
) -> tuple[torch.Tensor, States, States]:
    """
    All layers over a sequence.

    Args:
        rnn (`nn.LSTM` or `nn.GRU`): The layers.
        inputs (`torch.Tensor` of shape `(rows, steps, input_size)`): What they read.
        hidden (`tuple` of `torch.Tensor` of shape `(rows, hidden_size)`): The state of each layer before it.
        cell (`tuple` of `torch.Tensor` of shape `(rows, hidden_size)`): The cell of each layer of an LSTM.
        masks: Those of a [`VariationalLSTM`] or [`VariationalGRU`], where they are drawn already.

    Returns:
        `tuple`: the states of the top layer, of shape `(rows, steps, hidden_size)`, and hidden states and cells after
        the last step.
    """
    before = torch.stack(hidden).to(inputs.dtype)
    if not cell:
        outputs, after = rnn(inputs, before, *masks)
        return outputs, after.unbind(0), ()
    outputs, (after, cell) = rnn(inputs, (before, torch.stack(cell).to(inputs.dtype)), *masks)
    return outputs, after.unbind(0), cell.unbind(0)


@replaceable
def layers_by_step(
    rnn: nn.LSTM | nn.GRU, inputs: torch.Tensor
) -> Callable[[torch.Tensor, torch.Tensor | None, States, States], tuple[States, States]]:
    """
    All layers, a step at a time.

    Args:
        rnn (`nn.LSTM` or `nn.GRU`): The layers.
        inputs (`torch.Tensor` of shape `(rows, steps, size)`):
            What is known before the first step of what they read at each step.

    Returns:
        `Callable`: the recurrence. Of the next step it takes what was known of its inputs, of shape `(rows, size)`,
        what else is fed to it, of shape `(rows, fed_size)`, or `None`, and the hidden states and cells before it; it
        gives those after it.
    """
    # Of what is within, where the layers are wrapped: one draw for all steps.
    masks = [part.draw_masks(inputs) for part in rnn.modules() if isinstance(part, VariationalLSTM | VariationalGRU)]

    def recurrence(known, fed, hidden, cell):
        step = known if fed is None else torch.cat([known, fed], -1)
        outputs, hidden, cell = run_layers(rnn, step.unsqueeze(1), hidden, cell, *masks)
        return (*hidden[:-1], outputs.squeeze(1)), cell  # the output itself: hooks go back through it

    return recurrence


@replaceable
def read_padded(
    rnn: nn.LSTM | nn.GRU, words: torch.Tensor, lengths: torch.Tensor, with_cells: bool
) -> tuple[torch.Tensor, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
    """
    All layers, in all directions, over sequences of different lengths.

    Args:
        rnn (`nn.LSTM` or `nn.GRU`): The layers.
        words (`torch.Tensor` of shape `(batch, steps, size)`): The sequences, with padding behind them.
        lengths (`torch.LongTensor` of shape `(batch,)`): How many steps of each are not padding; at least one.
        with_cells (`bool`): Whether the last cells of an LSTM are asked for.

    Returns:
        `tuple`: the states of the top layer, zero on padding, of shape `(batch, steps, directions * hidden_size)`, and
        what the last steps leave: the hidden states of shape `(layers * directions, batch, hidden_size)`, or a tuple
        of these and the cells.
    """
    if is_exporting() and type(rnn) in (nn.LSTM, nn.GRU):  # not a quantised one
        all_states, final = read_around_padding(rnn, words, lengths.to(words.device))
        return all_states[-1], final
    packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, final = rnn(packed)
    return pad_packed_sequence(states, batch_first=True, total_length=words.shape[1])[0], final


class _VariationalLayers:
    """
    Recurrent layers whose recurrent matrices have dropout, one mask for a whole sequence (Merity et al. 2018, section
    2), and whose dropout between the layers is `variational` or not (Gal and Ghahramani 2016).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        variational: bool,
        weight_dropout: float,
    ):
        super().__init__(input_size, hidden_size, num_layers, batch_first=True)
        self.between_layers = Dropout(dropout, variational)
        self.on_weights = Dropout(weight_dropout)

    def draw_masks(self, inputs: torch.Tensor) -> Masks:
        """
        The masks of one sequence.

        Args:
            inputs (`torch.Tensor` of shape `(rows, steps, size)`): The sequence.
        """
        like = inputs.new_empty(()).expand(inputs.shape[0], 1, self.hidden_size)
        between = [self.between_layers.by_step(like) for _ in range(self.num_layers - 1)]
        return between, [self.on_weights(torch.ones_like(weight_hh)) for _, weight_hh, *_ in self.all_weights]

    def forward(self, inputs: torch.Tensor, states: torch.Tensor | tuple[torch.Tensor, ...], masks: Masks = None):
        """As `nn.LSTM` or `nn.GRU`. The masks are drawn where they are not given."""
        if not (self.between_layers.is_active or self.on_weights.is_active):
            return super().forward(inputs, states)
        between, on_weights = self.draw_masks(inputs) if masks is None else masks
        kinds = states if isinstance(states, tuple) else (states,)
        run, after = (torch.lstm if self.mode == "LSTM" else torch.gru), []
        for layer, (weight_ih, weight_hh, *biases) in enumerate(self.all_weights):
            if layer > 0:
                inputs = between[layer - 1](inputs)
            before = tuple(kind[layer : layer + 1] for kind in kinds)
            inputs, *of_layer = run(
                inputs,
                before if len(kinds) > 1 else before[0],
                [weight_ih, weight_hh * on_weights[layer], *biases],
                has_biases=True,
                num_layers=1,
                dropout=0.0,
                train=True,
                bidirectional=False,
                batch_first=True,
            )
            after.append(of_layer)
        after = tuple(torch.cat(kind) for kind in zip(*after, strict=True))
        return inputs, after if len(kinds) > 1 else after[0]


class VariationalLSTM(_VariationalLayers, nn.LSTM):
    __doc__ = _VariationalLayers.__doc__


class VariationalGRU(_VariationalLayers, nn.GRU):
    __doc__ = _VariationalLayers.__doc__
