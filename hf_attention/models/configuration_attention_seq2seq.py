"""Configuration of the sequence-to-sequence model."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from .configuration_attention import FEW, RNN_TYPES, SIZE, VOCABULARY, AttentionDecoderConfig
from .ranges import check_fields
from .versions import strict


@strict
class AttentionSeq2SeqConfig(AttentionDecoderConfig):
    r"""
    Configuration of [`AttentionSeq2SeqModel`]: the memory is the states of a recurrent encoder, one per source token.

    [`~AttentionSeq2SeqConfig.bahdanau`] and [`~AttentionSeq2SeqConfig.luong`] give the settings of the two papers.

    The arguments of [`AttentionDecoderConfig`], and

    Args:
        source_vocab_size (`int`, *optional*):
            Number of tokens of the source vocabulary. `None`: source and target share one vocabulary, of `vocab_size`.
        share_encoder_decoder_embeddings (`bool`, *optional*, defaults to `False`):
            Whether source and target tokens have one table of embeddings. It needs one vocabulary.
        encoder_embedding_size (`int`, *optional*):
            Size of the source embeddings. Defaults to `embedding_size`.
        encoder_rnn_type (`str`, *optional*):
            `"lstm"` or `"gru"`. Defaults to `rnn_type`.
        encoder_hidden_size (`int`, *optional*, defaults to 256):
            Size of the encoder's state, in each direction.
        encoder_num_hidden_layers (`int`, *optional*, defaults to 1):
            Number of recurrent layers of the encoder.
        encoder_bidirectional (`bool`, *optional*, defaults to `True`):
            Whether the encoder reads in both directions.
        encoder_skip_connection (`bool`, *optional*, defaults to `False`):
            Whether the memory of a token holds its embedding beside the encoder's states, which know its neighbours as
            well: the decoder then looks at the word that it translates rather than at one beside it.
        memory_size (`int`, *optional*):
            Follows from the encoder: `encoder_hidden_size` times its directions, and with a skip connection
            `encoder_embedding_size` more.
        initial_state (`str`, *optional*, defaults to `"final_states"`):
            What the decoder starts from. `"final_states"`: a tanh layer of the last states of the encoder's top layer,
            in all directions. `"final_backward_state"`: the same of the backward direction alone (Bahdanau et al.
            2015, section A.2.2). `"copied_states"`: each layer from the last state of the encoder's layer, directions
            joined (Sutskever et al. 2014; Luong et al. 2015); encoder and decoder are of the same type, depth and
            size. `"memory_mean"` and `"zeros"` as for every decoder.

    `embedding_dropout` and `hidden_dropout` (between layers) hold for the encoder too.

    Example:

    ```python
    >>> from hf_attention import AttentionSeq2SeqConfig, AttentionSeq2SeqForConditionalGeneration

    >>> config = AttentionSeq2SeqConfig(vocab_size=8000)
    >>> model = AttentionSeq2SeqForConditionalGeneration(config)
    ```
    """

    model_type = "attention_seq2seq"
    choices: ClassVar[dict[str, Sequence[str | None]]] = {
        **AttentionDecoderConfig.choices,
        "initial_state": (
            *AttentionDecoderConfig.choices["initial_state"],
            "final_states",
            "final_backward_state",
            "copied_states",
        ),
        "encoder_rnn_type": RNN_TYPES,
    }
    command_line_options: ClassVar[tuple[str, ...]] = (
        *AttentionDecoderConfig.command_line_options,
        "initial_state",
        "share_encoder_decoder_embeddings",
        "encoder_embedding_size",
        "encoder_rnn_type",
        "encoder_hidden_size",
        "encoder_num_hidden_layers",
        "encoder_bidirectional",
        "encoder_skip_connection",
    )

    source_vocab_size: Annotated[int | None, VOCABULARY] = None
    share_encoder_decoder_embeddings: bool = False
    encoder_embedding_size: Annotated[int | None, SIZE] = None
    encoder_rnn_type: str | None = None
    encoder_hidden_size: Annotated[int, SIZE] = 256
    encoder_num_hidden_layers: Annotated[int, FEW] = 1
    encoder_bidirectional: bool = True
    encoder_skip_connection: bool = False
    memory_size: Annotated[int | None, SIZE] = None
    initial_state: str = "final_states"

    def __post_init__(self, **kwargs):
        check_fields(self)  # before others follow from them
        states_size = memory_size = self.encoder_hidden_size * (2 if self.encoder_bidirectional else 1)
        if self.encoder_skip_connection:
            memory_size += self.embedding_size if self.encoder_embedding_size is None else self.encoder_embedding_size
        if self.memory_size not in (None, memory_size):
            raise ValueError(
                f"`memory_size` follows from the encoder: leave it out, or say {memory_size}, got {self.memory_size}."
            )
        self.memory_size = memory_size
        if self.encoder_embedding_size is None:
            self.encoder_embedding_size = self.embedding_size
        if self.encoder_rnn_type is None:
            self.encoder_rnn_type = self.rnn_type
        super().__post_init__(**kwargs)
        # What follows from the decoder's fields is checked behind them: an error names the field that was given.
        self._check_encoder(states_size)

    def _check_encoder(self, states_size: int):
        if self.share_encoder_decoder_embeddings:
            if self.source_vocab_size is not None:
                raise ValueError(
                    "`share_encoder_decoder_embeddings` needs one vocabulary: leave `source_vocab_size` out, "
                    f"got {self.source_vocab_size}."
                )
            if self.encoder_embedding_size != self.embedding_size:
                raise ValueError(
                    "`share_encoder_decoder_embeddings` needs equal sizes of embeddings, got "
                    f"`encoder_embedding_size={self.encoder_embedding_size}` and "
                    f"`embedding_size={self.embedding_size}`."
                )
        if None not in (self.source_vocab_size, self.pad_token_id) and self.source_vocab_size <= self.pad_token_id:
            raise ValueError(
                f"`source_vocab_size` must exceed `pad_token_id={self.pad_token_id}`, got {self.source_vocab_size}."
            )
        if self.initial_state == "final_backward_state" and not self.encoder_bidirectional:
            raise ValueError("`initial_state='final_backward_state'` needs `encoder_bidirectional=True`.")
        if self.initial_state == "copied_states":
            encoder = (self.encoder_rnn_type, self.encoder_num_hidden_layers, states_size)
            decoder = (self.rnn_type, self.num_hidden_layers, self.hidden_size)
            if encoder != decoder:
                raise ValueError(
                    "`initial_state='copied_states'` needs an encoder like the decoder in type, layers and size "
                    f"(directions joined), got {encoder} and {decoder}."
                )

    @classmethod
    def bahdanau(cls, **kwargs) -> "AttentionSeq2SeqConfig":
        r"""
        RNNsearch of Bahdanau et al. 2015 (sections 3 and A): with \\( m_j = [\overrightarrow{h}_j;
        \overleftarrow{h}_j] \\) of a bidirectional GRU,

        \\( s_0 = \tanh(W_s \overleftarrow{h}_1) \\),
        \\( e_{tj} = v^\top \tanh(W_a s_{t-1} + U_a m_j) \\), \\( \alpha_t = \mathrm{softmax}(e_t) \\),
        \\( c_t = \sum_j \alpha_{tj} m_j \\),
        \\( s_t = \mathrm{GRU}([E y_{t-1}; c_t], s_{t-1}) \\),
        \\( p(y_t) \propto \exp(W_o\, \mathrm{maxout}(U_o s_t + V_o E y_{t-1} + C_o c_t)) \\).

        The paper's readout takes \\( s_{t-1} \\) where this one takes \\( s_t \\), which already knows
        \\( y_{t-1} \\) and \\( c_t \\); and the GRU is PyTorch's, whose reset gate acts behind the matrix product.

        Args:
            kwargs: Fields that differ.
        """
        settings = {
            "vocab_size": 30000,
            "source_vocab_size": 30000,
            "rnn_type": "gru",
            "embedding_size": 620,
            "hidden_size": 1000,
            "encoder_hidden_size": 1000,
            "attention_type": "additive",
            "attention_size": 1000,
            "attention_order": "before_rnn",
            "initial_state": "final_backward_state",
            "readout_size": 500,
            "readout_activation": "maxout",
            "readout_embedding": True,
        }
        return cls(**{**settings, **kwargs})

    @classmethod
    def luong(cls, **kwargs) -> "AttentionSeq2SeqConfig":
        r"""
        Global attention with input feeding of Luong et al. 2015 (section 3): stacked LSTMs, the decoder's starting
        from the encoder's last states,

        \\( h_t = \mathrm{LSTM}([E y_{t-1}; \tilde{h}_{t-1}], h_{t-1}) \\),
        \\( e_{tj} = h_t^\top W_a \bar{h}_j \\) (general), \\( \alpha_t = \mathrm{softmax}(e_t) \\),
        \\( c_t = \sum_j \alpha_{tj} \bar{h}_j \\),
        \\( \tilde{h}_t = \tanh(W_c [h_t; c_t] + b_c) \\) (eq. 5),
        \\( p(y_t) = \mathrm{softmax}(W_s \tilde{h}_t) \\) (eq. 6).

        Args:
            kwargs: Fields that differ.
        """
        settings = {
            "vocab_size": 50000,
            "source_vocab_size": 50000,
            "rnn_type": "lstm",
            "embedding_size": 1000,
            "hidden_size": 1000,
            "num_hidden_layers": 4,
            "encoder_hidden_size": 1000,
            "encoder_num_hidden_layers": 4,
            "encoder_bidirectional": False,
            "attention_type": "general",
            "attention_order": "after_rnn",
            "input_feeding": True,
            "initial_state": "copied_states",
            "hidden_dropout": 0.2,
        }
        return cls(**{**settings, **kwargs})
