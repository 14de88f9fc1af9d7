"""A sentence as the memory that a decoder attends to: a recurrent encoder."""

import torch
from torch import nn

from .arguments import refuse_unknown
from .dropout import Dropout
from .outputs import EncoderOutput
from .padding import read_around_padding, take_steps
from .recording import is_recording
from .recurrence import read_padded


class TextEncoder(nn.Module):
    r"""
    An LSTM or GRU over the source, in one direction or both: the memory's position j is
    \\( m_j = [\overrightarrow{h}_j; \overleftarrow{h}_j] \\) (Bahdanau et al. 2015, section 3.2). Padding, wherever it
    lies, is not read: a sentence alone and in a batch have the same memory. With a skip connection
    \\( m_j = [\overrightarrow{h}_j; \overleftarrow{h}_j; E x_j] \\), so that a position tells its own word from its
    neighbours', which its states also know (as in Gehring et al. 2017, section 3.3, who add the two).

    Its last states start the decoder, as the configuration's `initial_state` says.

    Args:
        config ([`AttentionSeq2SeqConfig`]): The configuration.
    """

    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__()
        self.config = config
        is_lstm = config.encoder_rnn_type == "lstm"
        self.embed_tokens = nn.Embedding(
            config.vocab_size if config.source_vocab_size is None else config.source_vocab_size,
            config.encoder_embedding_size,
        )
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.rnn = (nn.LSTM if is_lstm else nn.GRU)(
            config.encoder_embedding_size,
            config.encoder_hidden_size,
            config.encoder_num_hidden_layers,
            batch_first=True,
            bidirectional=config.encoder_bidirectional,
            dropout=config.hidden_dropout if config.encoder_num_hidden_layers > 1 else 0.0,
        )
        self.num_decoder_states = config.num_hidden_layers * (2 if config.rnn_type == "lstm" else 1)
        self.bridge = None
        if config.initial_state in ("final_states", "final_backward_state"):
            directions = 2 if config.encoder_bidirectional and config.initial_state == "final_states" else 1
            self.bridge = nn.Linear(
                directions * config.encoder_hidden_size, self.num_decoder_states * config.hidden_size
            )

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs,
    ) -> EncoderOutput | tuple:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, source)`, *optional*):
                The source tokens.
            attention_mask (`torch.Tensor` of shape `(batch, source)`, *optional*):
                0 where a token is padding.
            inputs_embeds (`torch.Tensor` of shape `(batch, source, encoder_embedding_size)`, *optional*):
                Their embeddings in place of `input_ids`.
            output_hidden_states (`bool`, *optional*, defaults to `False`):
                Whether to return the embeddings and the states of every layer.

        Returns:
            [`EncoderOutput`]

        Raises:
            ValueError: Where not exactly one of `input_ids` and `inputs_embeds` is given, or a source is empty, or all
                padding, or the states of every layer are asked for and its weights are not at hand.
        """
        refuse_unknown(kwargs)
        memory, states, hidden_states = self.read(input_ids, attention_mask, inputs_embeds, output_hidden_states)
        output = EncoderOutput(memory, attention_mask, self._start_decoder(states), hidden_states)
        return output if return_dict else output.all_fields()

    def read(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> tuple[torch.Tensor, list[torch.Tensor], tuple[torch.Tensor, ...] | None]:
        """
        The states, of every token and the last ones. The arguments are those of `forward`.

        Returns:
            `tuple`: the top layer's states, of shape `(batch, source, directions * encoder_hidden_size)`, the
            embeddings behind them where there is a skip connection; and the last states of all layers, of shape
            `(batch, layers, directions, encoder_hidden_size)`; for an LSTM whose states the decoder takes over
            (`initial_state="copied_states"`) a second such tensor, the cells; and where they are asked for, the
            embeddings and the states of every layer.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of `input_ids` and `inputs_embeds` to the encoder.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        batch, length = inputs_embeds.shape[:2]
        if length == 0:
            raise ValueError("The source is empty: it has no tokens, not even the closing one.")
        inputs_embeds = self.embedding_dropout(inputs_embeds)
        with_cells = self.config.initial_state == "copied_states"
        if attention_mask is None:
            all_states, final = self._run(inputs_embeds, None, with_cells, output_hidden_states)
        else:
            if attention_mask.shape != (batch, length):
                raise ValueError(
                    f"`attention_mask` must have shape {(batch, length)}, got {tuple(attention_mask.shape)}."
                )
            is_token = attention_mask.bool()
            lengths = is_token.sum(1).cpu()
            if not is_recording() and not lengths.all():
                rows = (lengths == 0).nonzero().flatten().tolist()
                raise ValueError(f"The sources {rows} of the batch are padding as a whole: there is nothing to read.")
            steps = torch.arange(length, device=is_token.device)
            order = torch.where(is_token, steps, steps + length).argsort(1)  # tokens first, wherever the padding lies
            if self.config.encoder_skip_connection:
                inputs_embeds = inputs_embeds.masked_fill(~is_token.unsqueeze(-1), 0)
            words = take_steps(inputs_embeds, order)
            all_states, final = self._run(words, lengths, with_cells, output_hidden_states)
            all_states = [take_steps(states, order.argsort(1)) for states in all_states]
        memory = all_states[-1]
        if self.config.encoder_skip_connection:
            memory = torch.cat([memory, inputs_embeds], -1)
        kinds = final if isinstance(final, tuple) else (final,)
        kinds = kinds if with_cells else kinds[:1]
        # (layers * directions, batch, size) -> (batch, layers, directions, size)
        final = [kind.unflatten(0, (self.config.encoder_num_hidden_layers, -1)).permute(2, 0, 1, 3) for kind in kinds]
        return memory, final, (inputs_embeds, *all_states) if output_hidden_states else None

    def _run(
        self, words: torch.Tensor, lengths: torch.Tensor | None, with_cells: bool, every_layer: bool
    ) -> tuple[list[torch.Tensor], torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """
        What the last steps leave, behind the states of the top layer, or of every layer. Words before `lengths` count.
        """
        if not every_layer or self.config.encoder_num_hidden_layers == 1:
            states, final = self.rnn(words) if lengths is None else read_padded(self.rnn, words, lengths, with_cells)
            return [states], final
        if type(self.rnn) not in (nn.LSTM, nn.GRU) or any(weight.is_meta for weight in self.rnn.all_weights[0]):
            raise ValueError(
                "`output_hidden_states` of an encoder of several layers reads their weights: it does not work where "
                "these are quantised, offloaded or wrapped, as PEFT does."
            )
        if lengths is None:
            lengths = torch.full(words.shape[:1], words.shape[1])
        return read_around_padding(self.rnn, words, lengths.to(words.device))

    def _start_decoder(self, states: list[torch.Tensor]) -> torch.Tensor | None:
        if self.config.initial_state == "copied_states":
            return torch.cat([kind.flatten(2) for kind in states], 1)
        if self.bridge is None:
            return None
        top = states[0][:, -1]
        start = top.flatten(1) if self.config.initial_state == "final_states" else top[:, 1]
        return self.bridge(start).tanh().unflatten(1, (self.num_decoder_states, -1))
