"""The recurrent decoder that looks at a memory before each word."""

from collections.abc import Callable

import torch
from torch import nn

from .activation import tanh
from .attention import ATTENTION_CLASSES
from .cache import DecoderState, RecurrentCache, check_cache
from .dropout import Dropout
from .linear import apply_linear
from .memory import ProjectedMemory
from .outputs import AttentionDecoderOutput
from .recording import is_exporting
from .recurrence import layers_by_step, make_layers, run_layers
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

        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.rnn = make_layers(
            config.rnn_type,
            config.embedding_size + recurrent_input_size,
            config.hidden_size,
            config.num_hidden_layers,
            config.hidden_dropout,
            config.variational_dropout,
            config.recurrent_weight_dropout,
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
        output_hidden_states: bool = False,
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
                Whether to return the attention weights. A loss has a gradient with respect to them where all steps run
                at once over a memory a row; those of a loop are gathered behind it.
            initial_states (`torch.Tensor` of shape `(batch, states, hidden_size)`, *optional*):
                The states to start from, where the encoder gives them.
            output_hidden_states (`bool`, *optional*, defaults to `False`):
                Whether to return the embeddings and the states of every layer. Those of several layers come step by
                step, which takes longer.

        Returns:
            [`AttentionDecoderOutput`]

        Raises:
            ValueError: Where not exactly one of `input_ids` and `inputs_embeds` is given, `rows` is no multiple of
                `batch`, a mask is of another shape, or the cache of another kind or number of rows.
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
        check_cache(cache, None if is_exporting() else rows)  # what is exported takes any number of rows
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
        # What runs at once keeps the states of lower layers to itself.
        needs_lower_layers = output_hidden_states and self.config.num_hidden_layers > 1
        if recurs_on_attention or attention_mask is not None or record_past or needs_lower_layers:
            readout, weights, states, layers = self._run_steps(
                inputs_embeds, state, projected, attention_mask, record_past, output_hidden_states
            )
        else:
            readout, weights, states, layers = self._run_at_once(inputs_embeds, state, projected)
        if cache is not None:
            cache.update(states, length)
        return AttentionDecoderOutput(
            last_hidden_state=self.readout_dropout(readout),
            cross_attentions=(weights,) if output_attentions and weights is not None else None,
            hidden_states=(inputs_embeds, *layers) if output_hidden_states else None,
        )

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
        readout = apply_linear(self.readout, torch.cat(parts, -1))
        if self.config.readout_activation == "tanh":
            return tanh(readout)
        if self.config.readout_activation == "maxout":
            return readout.unflatten(-1, (-1, 2)).amax(-1)
        return readout

    def _run_at_once(
        self, inputs_embeds: torch.Tensor, state: DecoderState, projected: ProjectedMemory | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[DecoderState], list[torch.Tensor]]:
        """
        Nothing waits for the attention: all steps of the RNN, then all queries together. The last that is returned is
        the states of the top layer.
        """
        rows, length = inputs_embeds.shape[:2]
        output, hidden, cell = run_layers(self.rnn, inputs_embeds, state.hidden, state.cell)
        state = state._replace(hidden=hidden, cell=cell)
        context = weights = None
        if self.attention is not None:
            if self.attends_to_past:
                past = state.past.followed_by(self._as_past(output))
                projected = past.windows(self.config.attention_window)
                state = state._replace(past=past.last(self.config.attention_window))
            if not is_exporting() and len(projected.keys) == rows:  # what is exported takes any number of rows
                # The weights as they are used, so that they have a gradient.
                context, weights = self.attention(output, projected)
            else:
                context, weights = self.attention.look(output.flatten(0, 1), projected)
                context = context.unflatten(0, (rows, length))
                weights = weights.unflatten(0, (rows, length)).transpose(1, 2)
        return self._read_out(output, context, inputs_embeds, self.hidden_dropout), weights, [state], [output]

    def _run_steps(
        self,
        inputs_embeds: torch.Tensor,
        state: DecoderState,
        projected: ProjectedMemory | None,
        attention_mask: torch.Tensor | None,
        record_past: bool,
        output_hidden_states: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[DecoderState], list[torch.Tensor]]:
        """
        Step by step, as the papers write it. The last that is returned is the states of each layer, where they are
        asked for.
        """
        config = self.config
        rows, length = inputs_embeds.shape[:2]
        recurrence = layers_by_step(self.rnn, inputs_embeds)
        look = None if self.attention is None else self.attention.look
        dropout = self.hidden_dropout.by_step(state.hidden[-1])
        # Tensors are unbound before the loop: slicing x[:, t] would build a full zero gradient at each step.
        tokens = [None] * length if attention_mask is None else attention_mask.unbind(1)
        outputs, states = [], []
        for embeds, is_token in zip(inputs_embeds.unbind(1), tokens, strict=True):
            readout, coverage, past = state.readout, state.coverage, state.past
            projected = past if self.attends_to_past else projected
            context = weights = None
            if self.attends_before:
                context, weights = look(state.hidden[-1], projected, coverage)
                if self.context_gate is not None:
                    context = apply_linear(self.context_gate, state.hidden[-1]).sigmoid() * context
            fed = context if self.attends_before else readout
            hidden, cell = recurrence(embeds, fed, state.hidden, state.cell)
            if self.attends_after:
                context, weights = look(hidden[-1], projected, coverage)
            if config.input_feeding:
                readout = self._read_out(hidden[-1], context, embeds, dropout)
            if config.coverage:
                coverage = coverage + weights.squeeze(1)
            if self.attends_to_past:
                past = past.followed_by(self._as_past(hidden[-1].unsqueeze(1))).last(config.attention_window)
            new_state = DecoderState(hidden, cell, readout, coverage, past)
            state = new_state if is_token is None else new_state.where(is_token, state)
            outputs.append((hidden, context, weights, readout))
            if record_past:
                states.append(state)
        all_hidden, contexts, weights, readouts = zip(*outputs, strict=True)
        weights = None if self.attention is None else torch.stack(weights, 2)
        by_layer = zip(*all_hidden, strict=True) if output_hidden_states else [[hidden[-1] for hidden in all_hidden]]
        layers = [torch.stack(hidden, 1) for hidden in by_layer]
        if config.input_feeding:
            return torch.stack(readouts, 1), weights, states or [state], layers
        context = None if self.attention is None else torch.stack(contexts, 1)
        readout = self._read_out(layers[-1], context, inputs_embeds, self.hidden_dropout)
        return readout, weights, states or [state], layers
