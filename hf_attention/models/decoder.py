"""The recurrent decoder that looks at a memory before each word."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from .attention import ATTENTION_CLASSES, AttentionSteps, ProjectedMemory, compute_dtype
from .cache import DecoderState, RecurrentCache, check_cache
from .dropout import Dropout
from .lstm import lstm_layer, prefers_own_layer
from .outputs import AttentionDecoderOutput
from .steps import StepProduct
from .versions import takes_cache


class AttentionDecoder(nn.Module):
    r"""
    The decoder that every model of this package shares. At each step, with \\( x_t \\) the embedding of the previous
    token,

    - `attention_order="before_rnn"` (Bahdanau et al. 2015; Xu et al. 2015):
      \\( c_t = \mathrm{attend}(h_{t-1}) \\), gated by \\( \sigma(W_\beta h_{t-1} + b_\beta) \\) with `context_gate`;
      \\( h_t = \mathrm{RNN}([x_t; c_t], h_{t-1}) \\)
    - `attention_order="after_rnn"` (Luong et al. 2015):
      \\( h_t = \mathrm{RNN}([x_t; r_{t-1}], h_{t-1}) \\), \\( r_{t-1} \\) with `input_feeding` only;
      \\( c_t = \mathrm{attend}(h_t) \\)
    - the readout \\( r_t = f(W_r [h_t; c_t; x_t] + b_r) \\), \\( x_t \\) with `readout_embedding` only.

    The query is the state of the top layer; without attention there is no \\( c_t \\). Without an encoder, what is
    attended to are the last `attention_window` states before this step, from the first one on, which is zero. With
    `readout_layer=False` the readout is the state itself. What does not wait for the previous step is computed for the
    whole sequence at once.

    In training, `recurrent_weight_dropout` drops elements of the recurrent matrices, anew for each call (Merity et al.
    2018, section 2), and with `variational_dropout` each dropout has one mask for all steps of a call.

    Args:
        config ([`AttentionDecoderConfig`]): The configuration.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        is_lstm = config.rnn_type == "lstm"
        self.attention = None if config.attention_type is None else ATTENTION_CLASSES[config.attention_type](config)
        self.attends_before = self.attention is not None and config.attention_order == "before_rnn"
        self.attends_after = self.attention is not None and config.attention_order == "after_rnn"
        self.attends_to_past = self.attention is not None and not config.is_encoder_decoder
        context_size = 0 if self.attention is None else config.memory_size
        recurrent_input_size = context_size if self.attends_before else config.readout_size * config.input_feeding

        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.rnn = (nn.LSTM if is_lstm else nn.GRU)(
            config.embedding_size + recurrent_input_size,
            config.hidden_size,
            config.num_hidden_layers,
            batch_first=True,
            dropout=config.hidden_dropout if config.num_hidden_layers > 1 else 0.0,
        )
        self.initial_state = None
        if config.initial_state == "memory_mean":
            num_states = config.num_hidden_layers * (2 if is_lstm else 1)
            self.initial_state = nn.Linear(config.memory_size, num_states * config.hidden_size)
        self.context_gate = nn.Linear(config.hidden_size, config.memory_size) if config.context_gate else None
        self.readout = None
        if config.readout_layer:
            self.readout = nn.Linear(
                config.hidden_size + context_size + (config.embedding_size if config.readout_embedding else 0),
                config.readout_size * (2 if config.readout_activation == "maxout" else 1),
            )
        self.embedding_dropout = Dropout(config.embedding_dropout, config.variational_dropout)
        self.hidden_dropout = Dropout(config.hidden_dropout, config.variational_dropout)
        self.readout_dropout = Dropout(config.readout_dropout, config.variational_dropout)
        self.memory_dropout = Dropout(config.memory_dropout)
        self.recurrent_weight_dropout = Dropout(config.recurrent_weight_dropout)

    def get_initial_state(
        self,
        inputs_embeds: torch.Tensor,
        memory: torch.Tensor | None,
        memory_mask: torch.Tensor | None,
        initial_states: torch.Tensor | None = None,
    ) -> DecoderState:
        """
        The state before the first token.

        Args:
            inputs_embeds (`torch.Tensor` of shape `(rows, target, embedding_size)`): The first tokens.
            memory (`torch.Tensor` of shape `(batch, positions, memory_size)`, *optional*):
                What will be attended to; `rows` is a multiple of `batch`.
            memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*): 1 where attention is allowed.
            initial_states (`torch.Tensor` of shape `(batch, states, hidden_size)`, *optional*):
                The states that the encoder gives: of all layers, then for an LSTM the cells of all layers.

        Returns:
            [`DecoderState`]

        Raises:
            ValueError: Where the configuration's `initial_state` comes from the encoder and is not given.
        """
        config = self.config
        rows, layers = inputs_embeds.shape[0], config.num_hidden_layers
        num_states = layers * (2 if config.rnn_type == "lstm" else 1)
        if initial_states is not None:
            states = initial_states.repeat_interleave(rows // memory.shape[0], 0).unbind(1)
        elif config.initial_state not in ("memory_mean", "zeros"):
            raise ValueError(
                f"`initial_state={config.initial_state!r}` needs the encoder's `initial_states`: pass "
                "`encoder_outputs` as the encoder returned them."
            )
        elif self.initial_state is None:
            states = inputs_embeds.new_zeros(num_states, rows, config.hidden_size).unbind(0)
        else:
            if memory_mask is None:
                mean = memory.mean(1)
            else:
                weights = memory_mask.to(memory.dtype).unsqueeze(-1)
                mean = (memory * weights).sum(1) / weights.sum(1)
            states = (
                self.initial_state(mean).tanh().repeat_interleave(rows // memory.shape[0], 0).chunk(num_states, -1)
            )
        return DecoderState(
            hidden=states[:layers],
            cell=states[layers:],
            readout=states[0].new_zeros(rows, config.readout_size) if config.input_feeding else None,
            coverage=memory.new_zeros(rows, memory.shape[1]) if config.coverage else None,
            past=self._as_past(states[layers - 1].unsqueeze(1)).last(config.attention_window)
            if self.attends_to_past
            else None,
        )

    def _as_past(self, hidden: torch.Tensor) -> ProjectedMemory:
        """States of the top layer, as they are attended to afterwards."""
        return self.attention.project(hidden, hidden.new_ones(hidden.shape[:2], dtype=torch.bool))

    @takes_cache
    def forward(
        self,
        memory: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
        input_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cache: RecurrentCache | None = None,
        output_attentions: bool = False,
        initial_states: torch.Tensor | None = None,
    ) -> AttentionDecoderOutput:
        """
        Runs over new target tokens, one or many.

        Args:
            memory (`torch.Tensor` of shape `(batch, positions, memory_size)`, *optional*):
                What the encoder gives. `None` where there is no encoder.
            memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*):
                1 where attention is allowed.
            input_ids (`torch.LongTensor` of shape `(rows, target)`, *optional*):
                The tokens. `rows` is a multiple of `batch`: rows `i * rows // batch` to `(i + 1) * rows // batch - 1`
                look at memory `i`, whose keys are computed once.
            inputs_embeds (`torch.Tensor` of shape `(rows, target, embedding_size)`, *optional*):
                Their embeddings in place of `input_ids`.
            attention_mask (`torch.Tensor` of shape `(rows, past + target)` or `(rows, target)`, *optional*):
                0 where a token is padding, on which the state does not move.
            cache ([`RecurrentCache`], *optional*):
                Where to go on from; updated in place. `past_key_values` is another name of it.
            output_attentions (`bool`, *optional*, defaults to `False`):
                Whether to return the attention weights.
            initial_states (`torch.Tensor` of shape `(batch, states, hidden_size)`, *optional*):
                The states to start from, where the encoder gives them.

        Returns:
            [`AttentionDecoderOutput`]

        Raises:
            ValueError: Where not exactly one of `input_ids` and `inputs_embeds` is given, `rows` is no multiple of
                `batch`, a mask is of another shape, or the cache of another kind.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of `input_ids` and `inputs_embeds` to the decoder.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        rows, length = inputs_embeds.shape[:2]
        if memory is not None and rows % memory.shape[0]:
            raise ValueError(
                f"The number of target sequences ({rows}) must be a multiple of the number of memories "
                f"({memory.shape[0]})."
            )
        if memory_mask is not None and memory is not None and memory_mask.shape != memory.shape[:2]:
            raise ValueError(
                f"`memory_mask` must be of shape {tuple(memory.shape[:2])}, got {tuple(memory_mask.shape)}."
            )
        if attention_mask is not None and (attention_mask.shape[0] != rows or attention_mask.shape[1] < length):
            raise ValueError(
                f"The target's `attention_mask` must have shape ({rows}, {length}), or more columns for the past, got "
                f"{tuple(attention_mask.shape)}."
            )
        check_cache(cache)
        inputs_embeds = self.embedding_dropout(inputs_embeds)
        if cache is None or cache.state is None:
            memory = None if memory is None else self.memory_dropout(memory)
            state = self.get_initial_state(inputs_embeds, memory, memory_mask, initial_states)
            attends_to_memory = self.attention is not None and not self.attends_to_past
            projected = self.attention.project(memory, memory_mask) if attends_to_memory else None
            if cache is not None:
                cache.memory = projected
        else:
            state, projected = cache.state, cache.memory
        if attention_mask is not None:
            attention_mask = attention_mask[:, -length:].bool()

        record_past = cache is not None and cache.record_past
        recurs_on_attention = self.attends_before or self.config.input_feeding or self.config.coverage
        if recurs_on_attention or attention_mask is not None or record_past:
            readout, weights, states = self._run_steps(inputs_embeds, state, projected, attention_mask, record_past)
        else:
            readout, weights, states = self._run_at_once(inputs_embeds, state, projected)
        if cache is not None:
            cache.update(states, length)
        return AttentionDecoderOutput(
            last_hidden_state=self.readout_dropout(readout),
            cross_attentions=(weights,) if output_attentions and weights is not None else None,
        )

    def _attend(
        self,
        query: torch.Tensor,
        memory: ProjectedMemory,
        coverage: torch.Tensor | None = None,
        shared: AttentionSteps | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # (rows, hidden) -> (batch, rows a memory, hidden): rows of one memory share its keys.
        batch = memory.keys.shape[0]
        if coverage is not None:
            coverage = coverage.unflatten(0, (batch, -1))
        context, weights = self.attention(query.unflatten(0, (batch, -1)), memory, coverage, shared)
        return context.flatten(0, 1), weights.transpose(1, 2).flatten(0, 1)

    def _activate(self, readout: torch.Tensor) -> torch.Tensor:
        if self.config.readout_activation == "tanh":
            return readout.tanh()
        if self.config.readout_activation == "maxout":
            return readout.unflatten(-1, (-1, 2)).amax(-1)
        return readout

    def _read_out(
        self,
        hidden: torch.Tensor,
        context: torch.Tensor | None,
        inputs_embeds: torch.Tensor,
        dropout: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        if self.readout is None:
            return hidden
        parts = [dropout(hidden)]
        if context is not None:
            parts.append(context)
        if self.config.readout_embedding:
            parts.append(inputs_embeds)
        return self._activate(self.readout(torch.cat(parts, -1)))

    def _run_at_once(
        self, inputs_embeds: torch.Tensor, state: DecoderState, memory: ProjectedMemory | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[DecoderState]]:
        """Nothing waits for the attention: the fused RNN, then all queries together."""
        rows, length = inputs_embeds.shape[:2]
        output, state = self._run_rnn(inputs_embeds, state)
        context = weights = None
        if self.attention is not None:
            if self.attends_to_past:
                past = state.past.followed_by(self._as_past(output))
                memory = past.windows(self.config.attention_window)
                state = state._replace(past=past.last(self.config.attention_window))
            context, weights = self._attend(output.flatten(0, 1), memory)
            context = context.unflatten(0, (rows, length))
            weights = weights.unflatten(0, (rows, length)).transpose(1, 2)
        return self._read_out(output, context, inputs_embeds, self.hidden_dropout), weights, [state]

    def _run_rnn(self, inputs: torch.Tensor, state: DecoderState) -> tuple[torch.Tensor, DecoderState]:
        """The states of the top layer `(rows, target, hidden_size)`, and the state after the last step."""
        between_layers = self.hidden_dropout.variational and self.hidden_dropout.is_active and self.rnn.num_layers > 1
        runs_own_lstm = bool(state.cell) and prefers_own_layer(inputs)
        if not (runs_own_lstm or between_layers or self.recurrent_weight_dropout.is_active):
            hidden = torch.stack(state.hidden)
            if state.cell:
                output, (hidden, cell) = self.rnn(inputs, (hidden, torch.stack(state.cell)))
                return output, state._replace(hidden=hidden.unbind(0), cell=cell.unbind(0))
            output, hidden = self.rnn(inputs, hidden)
            return output, state._replace(hidden=hidden.unbind(0))
        # A layer at a time: by our own LSTM, or with other masks than `nn.LSTM` and `nn.GRU` have.
        hidden, cell = list(state.hidden), list(state.cell)
        run_layer = self._run_own_layer if runs_own_lstm else self._run_layer
        for layer in range(self.rnn.num_layers):
            if layer > 0:
                inputs = self.hidden_dropout(inputs)
            inputs, hidden[layer], new_cell = run_layer(layer, inputs, hidden[layer], cell[layer] if cell else None)
            if cell:
                cell[layer] = new_cell
        return inputs, state._replace(hidden=tuple(hidden), cell=tuple(cell))

    def _run_layer(
        self, layer: int, inputs: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The states of one layer at all steps, and hidden state and cell after the last."""
        weight_ih, weight_hh, *biases = self.rnn.all_weights[layer]
        weights = [weight_ih, self.recurrent_weight_dropout(weight_hh), *biases]
        settings = {
            "has_biases": True,
            "num_layers": 1,
            "dropout": 0.0,
            "train": self.training,
            "bidirectional": False,
            "batch_first": True,
        }
        before = hidden.unsqueeze(0)
        if cell is None:
            outputs, after = torch.gru(inputs, before, weights, **settings)
            return outputs, after.squeeze(0), None
        outputs, after, cell = torch.lstm(inputs, (before, cell.unsqueeze(0)), weights, **settings)
        return outputs, after.squeeze(0), cell.squeeze(0)

    def _run_own_layer(
        self, layer: int, inputs: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same by [`lstm_layer`], of an LSTM."""
        weight_ih, weight_hh, bias, bias_hh = self.rnn.all_weights[layer]
        weight_hh = self.recurrent_weight_dropout(weight_hh)
        outputs, cell = lstm_layer(inputs, hidden, cell, weight_ih, weight_hh, bias + bias_hh)
        return outputs, outputs[:, -1].clone(), cell  # a state that does not keep those before it

    def _run_steps(
        self,
        inputs_embeds: torch.Tensor,
        state: DecoderState,
        memory: ProjectedMemory | None,
        attention_mask: torch.Tensor | None,
        record_past: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[DecoderState]]:
        """Step by step; only what waits for the state is left inside the loop."""
        config = self.config
        rows, length = inputs_embeds.shape[:2]
        cells = [
            _RecurrentSteps(
                self.rnn,
                layer,
                (rows, length),
                inputs_embeds if layer == 0 else None,
                self.recurrent_weight_dropout,
            )
            for layer in range(config.num_hidden_layers)
        ]
        shared = None
        if torch.is_grad_enabled() and memory is not None:
            shared = self.attention.over_steps(memory, rows // memory.keys.shape[0], length)
        # The dropout in front of each layer but the first, and in front of the readout.
        *before_layers, before_readout = [self.hidden_dropout.over_steps(hidden) for hidden in state.hidden]
        # Tensors are unbound before the loop: slicing x[:, t] would build a full zero gradient at each step.
        steps = zip(
            inputs_embeds.unbind(1),
            [None] * length if attention_mask is None else attention_mask.unbind(1),
            strict=True,
        )
        all_hidden, all_contexts, all_weights, all_readouts, states = [], [], [], [], []
        for embeds, is_token in steps:
            hidden, cell = list(state.hidden), list(state.cell)
            readout, coverage, past = state.readout, state.coverage, state.past
            memory = past if self.attends_to_past else memory
            context = weights = fed = None
            if self.attends_before:
                context, weights = self._attend(hidden[-1], memory, coverage, shared)
                if self.context_gate is not None:
                    context = self.context_gate(hidden[-1]).sigmoid() * context
                fed = context
            elif config.input_feeding:
                fed = readout
            for layer, step in enumerate(cells):
                if layer > 0:
                    fed = before_layers[layer - 1](hidden[layer - 1])
                hidden[layer], new_cell = step(fed, hidden[layer], cell[layer] if cell else None)
                if cell:
                    cell[layer] = new_cell
            if self.attends_after:
                context, weights = self._attend(hidden[-1], memory, coverage, shared)
            if config.input_feeding:
                readout = self._read_out(hidden[-1], context, embeds, before_readout)
                all_readouts.append(readout)
            if config.coverage:
                coverage = coverage + weights.squeeze(1)
            if past is not None:
                past = past.followed_by(self._as_past(hidden[-1].unsqueeze(1))).last(config.attention_window)
            new_state = DecoderState(tuple(hidden), tuple(cell), readout, coverage, past)
            state = new_state if is_token is None else new_state.where(is_token, state)
            all_hidden.append(hidden[-1])
            all_contexts.append(context)
            all_weights.append(weights)
            if record_past:
                states.append(state)
        weights = None if memory is None else torch.stack(all_weights, 2)
        if config.input_feeding:
            readout = torch.stack(all_readouts, 1)
        else:
            context = None if memory is None else torch.stack(all_contexts, 1)
            readout = self._read_out(torch.stack(all_hidden, 1), context, inputs_embeds, self.hidden_dropout)
        return readout, weights, states or [state]


class _RecurrentSteps:
    """
    One layer of an `nn.LSTM` or `nn.GRU`, step by step.

    Args:
        rnn (`nn.LSTM` or `nn.GRU`): All the layers.
        layer (`int`): Which of them.
        shape (`tuple[int, int]`): Rows and steps.
        known (`torch.Tensor` of shape `(rows, steps, size)`, *optional*):
            What is known of the layer's input before the first step, its first features; the rest is fed at each step.
        weight_dropout ([`Dropout`]): Acts on the recurrent matrix.
    """

    def __init__(
        self,
        rnn: nn.LSTM | nn.GRU,
        layer: int,
        shape: tuple[int, int],
        known: torch.Tensor | None,
        weight_dropout: Dropout,
    ):
        self.is_lstm = rnn.mode == "LSTM"
        # Autocast caches the casts of whole parameters only; a slice would be cast again at every step.
        weight_ih, weight_hh, bias, bias_hh = rnn.all_weights[layer]
        dtype = compute_dtype(weight_ih)
        weight_ih, bias, bias_hh = weight_ih.to(dtype), bias.to(dtype), bias_hh.to(dtype)
        weight_hh = weight_dropout(weight_hh).to(dtype)
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
            gates = self.gates(*inputs, hidden)
            input_gate, forget_gate, candidate, output_gate = gates.chunk(4, -1)
            cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
            return (output_gate.sigmoid() * cell.tanh()).to(gates.dtype), cell  # the cell may be the more exact
        input_reset, input_update, input_new = self.input_gates(*inputs).chunk(3, -1)
        hidden_reset, hidden_update, hidden_new = self.hidden_gates(hidden).chunk(3, -1)
        reset = (input_reset + hidden_reset).sigmoid()
        update = (input_update + hidden_update).sigmoid()
        new = (input_new + reset * hidden_new).tanh()
        return new + update * (hidden - new), None
