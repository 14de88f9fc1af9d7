"""Recurrent layers, their products in training summed over the steps."""

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from ..models.activation import tanh
from ..models.padding import take_steps
from ..models.recurrence import Masks, States, VariationalGRU, VariationalLSTM
from .lstm import lstm_layer
from .packing import PackedLinear, packed_linear
from .reasons import compute_dtype, may_replace, prefers_own_lstm, prefers_single_steps
from .steps import StepProduct


LAYERS = (nn.LSTM, nn.GRU, VariationalLSTM, VariationalGRU)


def layers_by_step(
    rnn: nn.LSTM | nn.GRU, inputs: torch.Tensor
) -> Callable[[torch.Tensor, torch.Tensor | None, States, States], tuple[States, States]]:
    """
    As [`~hf_attention.models.recurrence.layers_by_step`]. What is known of the inputs is multiplied before the first
    step.
    """
    if not may_replace(rnn, types=LAYERS):
        return NotImplemented
    dropouts, weights_hh = _dropouts_and_matrices(rnn, inputs)
    layers = [
        _PackedLayerSteps.of(rnn, layer, inputs)
        or _LayerSteps(rnn, layer, inputs.shape[:2], None if layer else inputs, weights_hh[layer])
        for layer in range(rnn.num_layers)
    ]

    def recurrence(known, fed, hidden, cell):
        new_hidden, new_cell = [], []
        for layer, step in enumerate(layers):
            if layer > 0:
                fed = dropouts[layer - 1](new_hidden[-1].unsqueeze(1)).squeeze(1)
            state, of_cell = step(fed, hidden[layer], cell[layer] if cell else None)
            new_hidden.append(state)
            new_cell.append(of_cell)
        return tuple(new_hidden), tuple(new_cell) if cell else ()

    return recurrence


def run_layers(
    rnn: nn.LSTM | nn.GRU, inputs: torch.Tensor, hidden: States, cell: States, *masks: Masks
) -> tuple[torch.Tensor, States, States]:
    """As [`~hf_attention.models.recurrence.run_layers`]: an LSTM in half precision, and single steps of generation."""
    if masks or not may_replace(rnn, types=LAYERS):
        return NotImplemented
    if prefers_single_steps(inputs):
        hidden, cell = layers_by_step(rnn, inputs)(None, None, hidden, cell)
        return hidden[-1].unsqueeze(1), hidden, cell
    if rnn.mode != "LSTM" or not prefers_own_lstm(inputs):
        return NotImplemented
    dropouts, weights_hh = _dropouts_and_matrices(rnn, inputs)
    hidden, cell = list(hidden), list(cell)
    for layer, (weight_ih, _, bias, bias_hh) in enumerate(rnn.all_weights):
        if layer > 0:
            inputs = dropouts[layer - 1](inputs)
        inputs, cell[layer] = lstm_layer(
            inputs, hidden[layer], cell[layer], weight_ih, weights_hh[layer], bias + bias_hh
        )
        hidden[layer] = inputs[:, -1].clone()  # a state that does not keep those before it
    return inputs, tuple(hidden), tuple(cell)


def read_padded(
    rnn: nn.LSTM | nn.GRU, words: torch.Tensor, lengths: torch.Tensor, with_cells: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    As [`~hf_attention.models.recurrence.read_padded`], on processors. What is packed goes step by step there, where a
    padded sequence goes through fused kernels: each direction by itself, from the first word or the last.
    """
    if with_cells or words.device.type != "cpu" or not may_replace(rnn, types=LAYERS):
        return NotImplemented
    steps = torch.arange(words.shape[1], device=words.device)
    is_word = steps < lengths.unsqueeze(1)
    backwards = torch.where(is_word, lengths.unsqueeze(1) - 1 - steps, steps)
    words = words.masked_fill(~is_word.unsqueeze(-1), 0)  # what is not finite would reach the gradients
    run = _run_own_lstm if rnn.mode == "LSTM" and prefers_own_lstm(words) else _run_direction
    final = []
    for layer in range(rnn.num_layers):
        if layer > 0:
            words = F.dropout(words, rnn.dropout, rnn.training)
        outputs = []
        for is_backward in (False, True) if rnn.bidirectional else (False,):
            output = run(rnn, len(final), take_steps(words, backwards) if is_backward else words)
            final.append(output[torch.arange(len(words), device=words.device), lengths - 1])
            outputs.append(take_steps(output, backwards) if is_backward else output)
        words = torch.cat(outputs, -1)
    return words.masked_fill(~is_word.unsqueeze(-1), 0), torch.stack(final)


def _run_direction(rnn: nn.LSTM | nn.GRU, number: int, words: torch.Tensor) -> torch.Tensor:
    """The states of one layer in one direction, from zeros on."""
    zeros = words.new_zeros(1, len(words), rnn.hidden_size)
    is_lstm = rnn.mode == "LSTM"
    outputs, *_ = (torch.lstm if is_lstm else torch.gru)(
        words,
        (zeros, zeros) if is_lstm else zeros,
        rnn.all_weights[number],
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=rnn.training,
        bidirectional=False,
        batch_first=True,
    )
    return outputs


def _run_own_lstm(rnn: nn.LSTM, number: int, words: torch.Tensor) -> torch.Tensor:
    weight_ih, weight_hh, bias, bias_hh = rnn.all_weights[number]
    zeros = words.new_zeros(len(words), rnn.hidden_size)
    return lstm_layer(words, zeros, zeros, weight_ih, weight_hh, bias + bias_hh)[0]


def _dropouts_and_matrices(
    rnn: nn.LSTM | nn.GRU, inputs: torch.Tensor
) -> tuple[list[Callable[[torch.Tensor], torch.Tensor]], list[torch.Tensor]]:
    """What acts between the layers, on sequences or steps of them, and the recurrent matrix of each layer."""
    weights_hh = [weight_hh for _, weight_hh, *_ in rnn.all_weights]
    if isinstance(rnn, VariationalLSTM | VariationalGRU):
        dropouts, on_weights = rnn.draw_masks(inputs)
        return dropouts, [weight * mask for weight, mask in zip(weights_hh, on_weights, strict=True)]
    return [lambda states: F.dropout(states, rnn.dropout, rnn.training)] * (rnn.num_layers - 1), weights_hh


class _LayerSteps:
    """
    One layer of an `nn.LSTM` or `nn.GRU`, step by step.

    Args:
        rnn (`nn.LSTM` or `nn.GRU`): All the layers.
        layer (`int`): Which of them.
        shape (`tuple[int, int]`): Rows and steps.
        known (`torch.Tensor` of shape `(rows, steps, size)`, *optional*):
            What is known of the layer's input before the first step, its first features; the rest is fed at each step.
        weight_hh (`torch.Tensor`): The recurrent matrix.
    """

    def __init__(
        self,
        rnn: nn.LSTM | nn.GRU,
        layer: int,
        shape: tuple[int, int],
        known: torch.Tensor | None,
        weight_hh: torch.Tensor,
    ):
        self.is_lstm = rnn.mode == "LSTM"
        # Autocast caches the casts of whole parameters only; a slice would be cast again at every step.
        weight_ih, _, bias, bias_hh = rnn.all_weights[layer]
        dtype = compute_dtype(weight_ih)
        weight_ih, weight_hh, bias, bias_hh = (tensor.to(dtype) for tensor in (weight_ih, weight_hh, bias, bias_hh))
        if self.is_lstm:  # both biases are only added; the GRU's reset gate comes between
            bias = bias + bias_hh
        if known is None:
            bases = bias.expand(*shape, -1)
        else:
            known_weight, weight_ih = weight_ih.split([known.shape[2], weight_ih.shape[1] - known.shape[2]], 1)
            bases = F.linear(known, known_weight, bias)
        fed = [weight_ih.t()] if weight_ih.shape[1] else []
        if self.is_lstm:
            self.gates = StepProduct(bases, *fed, weight_hh.t())
        else:
            self.input_gates = StepProduct(bases, *fed)
            self.hidden_gates = StepProduct(bias_hh.expand(*shape, -1), weight_hh.t())

    def __call__(
        self, fed: torch.Tensor | None, hidden: torch.Tensor, cell: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """From what is fed at this step, and the state before it, to the state after it."""
        inputs = [] if fed is None else [fed]
        if self.is_lstm:
            return _lstm_step(self.gates(*inputs, hidden), cell)
        return _gru_step(self.input_gates(*inputs), self.hidden_gates(hidden), hidden), None


class _PackedLayerSteps:
    """
    As [`_LayerSteps`], with matrices that are packed: all that an LSTM reads at a step goes through one product.

    Args:
        is_lstm (`bool`): Whether the layer is of an `nn.LSTM`, or of an `nn.GRU`.
        products (`list[PackedLinear]`): That of an LSTM, or those of a GRU's inputs and of its state.
        known (`torch.Tensor` of shape `(rows, steps, size)`, *optional*): As of [`_LayerSteps`].
    """

    def __init__(self, is_lstm: bool, products: list[PackedLinear], known: torch.Tensor | None):
        self.is_lstm, self.products = is_lstm, products
        self.known = itertools.repeat(None) if known is None else iter(known.unbind(1))

    @classmethod
    def of(cls, rnn: nn.LSTM | nn.GRU, layer: int, inputs: torch.Tensor) -> "_PackedLayerSteps | None":
        """The steps of a layer over these inputs, or `None` where nothing is packed."""
        if rnn.training:  # dropout on the matrices draws them anew
            return None
        is_lstm = rnn.mode == "LSTM"

        def of_lstm():
            weight_ih, weight_hh, bias, bias_hh = rnn.all_weights[layer]
            return torch.cat([weight_ih, weight_hh], 1), bias + bias_hh

        makers = [of_lstm] if is_lstm else [lambda: rnn.all_weights[layer][::2], lambda: rnn.all_weights[layer][1::2]]
        products = [packed_linear(rnn, inputs[:, 0], make, (layer, number)) for number, make in enumerate(makers)]
        return None if None in products else cls(is_lstm, products, None if layer else inputs)

    def __call__(
        self, fed: torch.Tensor | None, hidden: torch.Tensor, cell: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As of [`_LayerSteps`]."""
        inputs = [part for part in (next(self.known), fed) if part is not None]
        if self.is_lstm:
            return _lstm_step(self.products[0](torch.cat([*inputs, hidden], -1)), cell)
        of_input, of_hidden = self.products
        return _gru_step(of_input(torch.cat(inputs, -1)), of_hidden(hidden), hidden), None


def _lstm_step(gates: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, -1)
    cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * tanh(candidate)
    return (output_gate.sigmoid() * tanh(cell)).to(gates.dtype), cell  # the cell may be the more exact


def _gru_step(of_input: torch.Tensor, of_hidden: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    input_reset, input_update, input_new = of_input.chunk(3, -1)
    hidden_reset, hidden_update, hidden_new = of_hidden.chunk(3, -1)
    reset = (input_reset + hidden_reset).sigmoid()
    update = (input_update + hidden_update).sigmoid()
    new = tanh(input_new + reset * hidden_new)
    return new + update * (hidden - new)
