"""Configuration of the recurrent language model."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from .configuration_attention import SIZE, AttentionDecoderConfig
from .versions import strict


@strict
class RecurrentLMConfig(AttentionDecoderConfig):
    r"""
    Configuration of [`RecurrentLMModel`]: the decoder with nothing to look at, or with its own past.

    [`~RecurrentLMConfig.zaremba`] and [`~RecurrentLMConfig.awd_lstm`] give the settings of two papers.

    The arguments of [`AttentionDecoderConfig`], and

    Args:
        attention_type (`str`, *optional*):
            `None`: the model has only its state. Else each step attends to the `attention_window` states of the top
            layer before it, in one of the ways that [`AttentionDecoderConfig`] names.
        attention_window (`int`, *optional*, defaults to 32):
            How many of the last states are attended to.
        memory_size (`int`, *optional*):
            Is `hidden_size`: the memory is states.
        initial_state (`str`, *optional*, defaults to `"zeros"`):
            There is no other.
        readout_activation (`str`, *optional*):
            As for every decoder; defaults to `None`.
        readout_layer (`bool`, *optional*):
            As for every decoder. Defaults to whether anything asks for it: attention, `readout_embedding`,
            `readout_activation`, or a `readout_size` other than `hidden_size`.
        bos_token_id (`int`, *optional*, defaults to 3):
            What `generate()` starts from where it is given no text: as in a running text, the end of the sentence
            before.

    Example:

    ```python
    >>> from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM

    >>> config = RecurrentLMConfig(vocab_size=10000)
    >>> model = RecurrentLMForCausalLM(config)
    ```
    """

    model_type = "recurrent_lm"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["cache", "past_key_values"]
    choices: ClassVar[dict[str, Sequence[str | None]]] = {
        **AttentionDecoderConfig.choices,
        "initial_state": ("zeros",),
    }
    command_line_options: ClassVar[tuple[str, ...]] = (
        *AttentionDecoderConfig.command_line_options,
        "attention_window",
    )

    attention_type: str | None = None
    attention_window: Annotated[int, SIZE] = 32
    memory_size: Annotated[int | None, SIZE] = None
    initial_state: str = "zeros"
    readout_activation: str | None = None
    readout_layer: bool | None = None
    is_encoder_decoder: bool = False
    bos_token_id: int | None = 3

    def __post_init__(self, **kwargs):
        if self.memory_size not in (None, self.hidden_size):
            raise ValueError(
                f"`memory_size` is `hidden_size`: leave it out, or say {self.hidden_size}, got {self.memory_size}."
            )
        self.memory_size = self.hidden_size
        for name in ("coverage", "doubly_stochastic_penalty", "memory_dropout", "is_encoder_decoder"):
            if getattr(self, name):
                raise ValueError(f"`{name}` does not apply to a model without an encoder.")
        if self.readout_size is None:
            self.readout_size = self.embedding_size if self.tie_word_embeddings else self.hidden_size
        if self.readout_layer is None:
            self.readout_layer = (
                self.attention_type is not None
                or self.readout_embedding
                or self.readout_activation is not None
                or self.readout_size != self.hidden_size
            )
        super().__post_init__(**kwargs)

    @classmethod
    def zaremba(cls, **kwargs) -> "RecurrentLMConfig":
        """
        The medium LSTM of Zaremba et al. 2015 (section 4.1), with tied embeddings (Press and Wolf 2017; Inan et al.
        2017), which the paper did not have.

        Args:
            kwargs: Fields that differ.
        """
        settings = {
            "vocab_size": 10000,
            "embedding_size": 650,
            "hidden_size": 650,
            "num_hidden_layers": 2,
            "embedding_dropout": 0.5,
            "hidden_dropout": 0.5,
            "readout_dropout": 0.5,
            "tie_word_embeddings": True,
            "initializer_range": 0.05,
        }
        return cls(**{**settings, **kwargs})

    @classmethod
    def awd_lstm(cls, **kwargs) -> "RecurrentLMConfig":
        """
        AWD-LSTM of Merity et al. 2018 (section 5): variational dropout, weight drop, tied embeddings. Where the
        paper's last layer is as small as the embeddings, a linear readout layer brings its state to their size.

        Args:
            kwargs: Fields that differ.
        """
        settings = {
            "vocab_size": 10000,
            "embedding_size": 400,
            "hidden_size": 1150,
            "num_hidden_layers": 3,
            "embedding_dropout": 0.4,
            "hidden_dropout": 0.25,
            "readout_dropout": 0.4,
            "variational_dropout": True,
            "recurrent_weight_dropout": 0.5,
            "tie_word_embeddings": True,
        }
        return cls(**{**settings, **kwargs})
