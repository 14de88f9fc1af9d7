"""A sentence as the memory that a decoder attends to: a recurrent encoder."""

import torch
from torch import nn

from .dropout import Dropout
from .outputs import EncoderOutput
from .padding import take_steps
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

        Returns:
            [`EncoderOutput`]

        Raises:
            ValueError: Where not exactly one of `input_ids` and `inputs_embeds` is given, or a source is empty, or all
                padding.
        """
        memory, states = self.read(input_ids, attention_mask, inputs_embeds)
        outputs = (memory, attention_mask, self._start_decoder(states))
        # A plain tuple keeps its None: the third is not to be taken for the second.
        return EncoderOutput(*outputs) if return_dict else outputs

    def read(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """
        The states, of every token and the last ones. The arguments are those of `forward`.

        Returns:
            `tuple`: the top layer's states, of shape `(batch, source, directions * encoder_hidden_size)`, the
            embeddings behind them where there is a skip connection; and the last states of all layers, of shape
            `(batch, layers, directions, encoder_hidden_size)`; for an LSTM whose states the decoder takes over
            (`initial_state="copied_states"`) a second such tensor, the cells.
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
            memory, final = self.rnn(inputs_embeds)
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
            memory, final = read_padded(self.rnn, take_steps(inputs_embeds, order), lengths, with_cells)
            memory = take_steps(memory, order.argsort(1))
        if self.config.encoder_skip_connection:
            if attention_mask is not None:
                inputs_embeds = inputs_embeds.masked_fill(~is_token.unsqueeze(-1), 0)
            memory = torch.cat([memory, inputs_embeds], -1)
        kinds = final if isinstance(final, tuple) else (final,)
        kinds = kinds if with_cells else kinds[:1]
        # (layers * directions, batch, size) -> (batch, layers, directions, size)
        layers = self.config.encoder_num_hidden_layers
        return memory, [kind.unflatten(0, (layers, -1)).permute(2, 0, 1, 3) for kind in kinds]

    def _start_decoder(self, states: list[torch.Tensor]) -> torch.Tensor | None:
        if self.config.initial_state == "copied_states":
            return torch.cat([kind.flatten(2) for kind in states], 1)
        if self.bridge is None:
            return None
        top = states[0][:, -1]
        start = top.flatten(1) if self.config.initial_state == "final_states" else top[:, 1]
        return self.bridge(start).tanh().unflatten(1, (self.num_decoder_states, -1))
