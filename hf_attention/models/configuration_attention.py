"""The fields that every attentive recurrent decoder has."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from .attention import ATTENTION_CLASSES, ATTENTION_TYPES
from .configuration_remote_code import RemoteCodeConfig
from .ranges import Range, check_fields
from .versions import PreTrainedConfig, strict


RNN_TYPES = ("lstm", "gru")
ATTENTION_ORDERS = ("before_rnn", "after_rnn")
READOUT_ACTIVATIONS = ("tanh", "maxout", None)
# What the numbers may be. There are bounds above, too, as a slip of some zeros would ask for days or for all memory.
SIZE = Range(1, 10**6, "[]")
VOCABULARY = Range(1, 10**9, "[]")
FEW = Range(1, 1000, "[]")  # layers, heads, glimpses
SHARE = Range(0, 1)
NOT_NEGATIVE = Range(0)
SPECIAL_TOKEN_IDS = ("pad_token_id", "unk_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")


def check_token_ids(config: PreTrainedConfig, vocab_size: int) -> None:
    """
    Refuses special tokens that lie outside a vocabulary.

    Args:
        config ([`~transformers.PreTrainedConfig`]): Has the special tokens.
        vocab_size (`int`): The size of the vocabulary.

    Raises:
        ValueError: Where one lies outside.
    """
    for name in SPECIAL_TOKEN_IDS:
        tokens = getattr(config, name, None)
        for token in tokens if isinstance(tokens, list) else [tokens]:
            if token is not None and not 0 <= token < vocab_size:
                raise ValueError(f"`{name}` must lie in [0, vocab_size={vocab_size}), got {token}.")


def start_token_id(tokens: Mapping[str, Any]) -> int | None:
    """
    The token that a decoder is started with: `decoder_start_token_id`, else `bos_token_id`, else the padding.

    Args:
        tokens (`Mapping`): The special tokens, by the names that a configuration has for them.
    """
    names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
    return next((tokens[name] for name in names if tokens[name] is not None), None)


@strict
class AttentionDecoderConfig(RemoteCodeConfig):
    r"""
    Base configuration of the models of this package: the decoder that looks again at a memory before each word.

    Args:
        vocab_size (`int`, *optional*, defaults to 8000):
            Number of tokens of the output vocabulary.
        embedding_size (`int`, *optional*, defaults to 256):
            Size of the token embeddings.
        hidden_size (`int`, *optional*, defaults to 512):
            Size of the recurrent state.
        num_hidden_layers (`int`, *optional*, defaults to 1):
            Number of recurrent layers of the decoder.
        rnn_type (`str`, *optional*, defaults to `"lstm"`):
            `"lstm"` or `"gru"`.
        memory_size (`int`, *optional*, defaults to 512):
            Size of one position of the memory.
        attention_type (`str`, *optional*, defaults to `"additive"`):
            How a query scores a position: `"additive"` (Bahdanau et al. 2015, section A.1.2; Xu et al. 2015, eq. 4),
            `"dot"` or `"general"` (Luong et al. 2015, eq. 8), `"scaled_dot"` (Vaswani et al. 2017, section 3.2), or
            `None`: the memory only starts the state (Vinyals et al. 2015). Or the name of a subclass of [`Attention`]
            of your own.
        attention_size (`int`, *optional*, defaults to 512):
            Size of the space in which `"additive"` and `"scaled_dot"` compare query and memory.
        num_attention_heads (`int`, *optional*, defaults to 1):
            Number of heads of `"scaled_dot"`.
        attention_order (`str`, *optional*, defaults to `"before_rnn"`):
            `"before_rnn"`: the previous state attends, and the context is an input of the recurrent step (Bahdanau;
            Xu). `"after_rnn"`: the current state attends (Luong).
        input_feeding (`bool`, *optional*, defaults to `False`):
            With `"after_rnn"`, whether the previous readout (Luong's attentional vector) is an input of the recurrent
            step (Luong et al. 2015, section 3.3).
        context_gate (`bool`, *optional*, defaults to `False`):
            With `"before_rnn"`, whether the context is multiplied by a gate that the previous state sets. The gate
            has one value for each unit of the context, where Xu et al. 2015, section 4.2.1, have a scalar beta.
        coverage (`bool`, *optional*, defaults to `False`):
            With `"additive"`, whether the attention already spent on a position enters its score (See et al. 2017,
            eq. 11).
        doubly_stochastic_penalty (`float`, *optional*, defaults to 0.0):
            Weight of the penalty that pulls the attention a position gets over the whole sentence towards one: added
            to the loss of each sentence in training (Xu et al. 2015, eq. 14).
        initial_state (`str`, *optional*, defaults to `"memory_mean"`):
            `"memory_mean"`: a tanh layer of the memory's mean (Xu et al. 2015, section 3.1.2). `"zeros"`.
        readout_size (`int`, *optional*):
            Size of the vector from which the token is predicted. Defaults to `embedding_size` where the output
            embedding is tied to the input's, else to `hidden_size`.
        readout_activation (`str`, *optional*, defaults to `"tanh"`):
            `"tanh"` (Luong et al. 2015, eq. 5), `"maxout"` over pairs (Bahdanau et al. 2015, section A.2.2), or
            `None`.
        readout_embedding (`bool`, *optional*, defaults to `False`):
            Whether the previous token's embedding enters the readout (deep output; Xu et al. 2015, eq. 7).
        readout_layer (`bool`, *optional*, defaults to `True`):
            Whether there is a layer between the state and the output embedding. Without, the state itself is the
            readout: then there is no attention, `readout_activation` is `None` and `readout_size` is `hidden_size`.
        embedding_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the token embeddings.
        hidden_dropout (`float`, *optional*, defaults to 0.0):
            Dropout between the recurrent layers and on the state that enters the readout layer.
        readout_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the readout before the output embedding.
        memory_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the memory.
        variational_dropout (`bool`, *optional*, defaults to `False`):
            Whether the dropouts on embeddings, states and readout have one mask for all steps of a sequence (Gal and
            Ghahramani 2016).
        recurrent_weight_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the elements of the decoder's recurrent matrices, one mask for all steps of a batch (weight
            drop; Merity et al. 2018, section 2).
        label_smoothing (`float`, *optional*, defaults to 0.0):
            Share of the target distribution spread evenly over the vocabulary, in the training loss only.
        tie_word_embeddings (`bool`, *optional*, defaults to `False`):
            Whether the output embedding is the input embedding.
        initializer_range (`float`, *optional*, defaults to 0.1):
            Weights are drawn uniformly from `[-initializer_range, initializer_range]`.
        pad_token_id (`int`, *optional*, defaults to 0):
            Padding; never generated.
        unk_token_id (`int`, *optional*):
            Unknown token; never generated. It has no default, as `Trainer` brings only padding, beginning and end into
            line with a tokenizer.
        bos_token_id (`int`, *optional*):
            Beginning of the sentence.
        eos_token_id (`int` or `list[int]`, *optional*, defaults to 3):
            End of the sentence. `None`: nothing ends one but its length.
        decoder_start_token_id (`int`, *optional*):
            The token that the decoder is started with. `None`: `bos_token_id`, or where that is `None` the padding, as
            T5 and Marian start; whatever these are by then.
    """

    keys_to_ignore_at_inference: ClassVar[list[str]] = ["cache", "past_key_values", "encoder_last_hidden_state"]
    # What a field may be, where it is one of a few.
    choices: ClassVar[dict[str, Sequence[str | None]]] = {
        "rnn_type": RNN_TYPES,
        "attention_type": ATTENTION_TYPES,
        "attention_order": ATTENTION_ORDERS,
        "initial_state": ("memory_mean", "zeros"),
        "readout_activation": READOUT_ACTIVATIONS,
    }
    # The fields that whoever trains a model from a command line may set there.
    command_line_options: ClassVar[tuple[str, ...]] = (
        "attention_type",
        "attention_size",
        "num_attention_heads",
        "attention_order",
        "input_feeding",
        "context_gate",
        "coverage",
        "doubly_stochastic_penalty",
        "rnn_type",
        "embedding_size",
        "hidden_size",
        "num_hidden_layers",
        "readout_size",
        "readout_activation",
        "readout_embedding",
        "embedding_dropout",
        "hidden_dropout",
        "readout_dropout",
        "memory_dropout",
        "variational_dropout",
        "recurrent_weight_dropout",
        "label_smoothing",
        "tie_word_embeddings",
    )

    vocab_size: Annotated[int, VOCABULARY] = 8000
    embedding_size: Annotated[int, SIZE] = 256
    hidden_size: Annotated[int, SIZE] = 512
    num_hidden_layers: Annotated[int, FEW] = 1
    rnn_type: str = "lstm"
    memory_size: Annotated[int, SIZE] = 512
    attention_type: str | None = "additive"
    attention_size: Annotated[int, SIZE] = 512
    num_attention_heads: Annotated[int, FEW] = 1
    attention_order: str = "before_rnn"
    input_feeding: bool = False
    context_gate: bool = False
    coverage: bool = False
    doubly_stochastic_penalty: Annotated[float | int, NOT_NEGATIVE] = 0.0
    initial_state: str = "memory_mean"
    readout_size: Annotated[int | None, SIZE] = None
    readout_activation: str | None = "tanh"
    readout_embedding: bool = False
    readout_layer: bool = True
    embedding_dropout: Annotated[float | int, SHARE] = 0.0
    hidden_dropout: Annotated[float | int, SHARE] = 0.0
    readout_dropout: Annotated[float | int, SHARE] = 0.0
    memory_dropout: Annotated[float | int, SHARE] = 0.0
    variational_dropout: bool = False
    recurrent_weight_dropout: Annotated[float | int, SHARE] = 0.0
    label_smoothing: Annotated[float | int, SHARE] = 0.0
    tie_word_embeddings: bool = False
    initializer_range: Annotated[float | int, NOT_NEGATIVE] = 0.1
    use_cache: bool = True
    is_encoder_decoder: bool = True
    pad_token_id: int | None = 0
    unk_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = 3
    decoder_start_token_id: int | None = None

    def __post_init__(self, **kwargs):
        check_fields(self)
        if self.readout_size is None:
            self.readout_size = self.embedding_size if self.tie_word_embeddings else self.hidden_size
        self._check_choices()
        self._check_combinations()
        super().__post_init__(**kwargs)

    def named_classes(self) -> list[type]:
        """The class of its attention."""
        return [] if self.attention_type is None else [ATTENTION_CLASSES[self.attention_type]]

    def _check_choices(self):
        for name, allowed in self.choices.items():
            if getattr(self, name) not in allowed:
                message = f"`{name}` must be one of {list(allowed)}, got {getattr(self, name)!r}."
                if name == "attention_type":
                    message += (
                        " An attention of somebody's own is known once the module has been imported whose class "
                        "statement says `attention_type=`; the copy in a checkpoint is for those without hf_attention."
                    )
                raise ValueError(message)
        check_token_ids(self, self.vocab_size)

    def _check_combinations(self):
        kind = self.attention_type
        if kind is None:
            wanting_attention = {
                "input_feeding": self.input_feeding,
                "context_gate": self.context_gate,
                "coverage": self.coverage,
                "doubly_stochastic_penalty": self.doubly_stochastic_penalty > 0,
            }
            for name, wanted in wanting_attention.items():
                if wanted:
                    raise ValueError(f"`{name}` needs attention, but `attention_type` is None.")
            if self.initial_state == "zeros" and self.is_encoder_decoder:
                raise ValueError(
                    "`attention_type=None` with `initial_state='zeros'` would never see the memory: "
                    "choose `initial_state='memory_mean'` or an `attention_type`."
                )
        if not self.readout_layer:
            wanting_readout_layer = {
                "attention_type": kind is not None,
                "readout_embedding": self.readout_embedding,
                "readout_activation": self.readout_activation is not None,
                "readout_size": self.readout_size != self.hidden_size,
            }
            for name, wanted in wanting_readout_layer.items():
                if wanted:
                    raise ValueError(
                        f"`{name}={getattr(self, name)!r}` needs `readout_layer=True`: without that layer, the state "
                        f"itself, of `hidden_size={self.hidden_size}`, is the readout."
                    )
        if self.input_feeding and self.attention_order != "after_rnn":
            raise ValueError(
                "`input_feeding` feeds the readout made after attention back into the RNN: it needs "
                f"`attention_order='after_rnn'`, got {self.attention_order!r}."
            )
        if self.context_gate and self.attention_order != "before_rnn":
            raise ValueError(
                f"`context_gate` needs `attention_order='before_rnn'`, got {self.attention_order!r}: after the RNN, "
                "the readout weighs state and context already."
            )
        if kind is not None:
            attention_class = ATTENTION_CLASSES[kind]
            if self.coverage and not attention_class.takes_coverage:
                raise ValueError(
                    f"`coverage` is a term of the additive score: it needs `attention_type='additive'`, got {kind!r}."
                )
            attention_class.check(self)
        if self.num_attention_heads > 1 and (kind is None or not ATTENTION_CLASSES[kind].takes_heads):
            raise ValueError(f"`num_attention_heads` > 1 needs `attention_type='scaled_dot'`, got {kind!r}.")
        if self.tie_word_embeddings and self.readout_size != self.embedding_size:
            raise ValueError(
                "`tie_word_embeddings` needs `readout_size` equal to `embedding_size`, "
                f"got {self.readout_size} and {self.embedding_size}."
            )
