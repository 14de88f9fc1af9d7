"""Configuration of visual question answering."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from transformers import AutoConfig

from .configuration_attention import FEW, RNN_TYPES, SHARE, SIZE
from .configuration_image_memory import ImageMemoryConfig, part_config
from .ranges import check_fields
from .versions import PreTrainedConfig, strict


ATTENTION_FORMS = ("stacked", "glimpses", "bilinear", "top_down", None)
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification")


@strict
class AttentionVQAConfig(ImageMemoryConfig):
    r"""
    Configuration of [`AttentionVQAModel`]: a question guides where the image is looked at.

    [`~AttentionVQAConfig.stacked`], [`~AttentionVQAConfig.show_ask`] and [`~AttentionVQAConfig.top_down`] give the
    settings of three papers.

    The arguments of [`ImageMemoryConfig`], whose decoder's fields are those of the generating head, and

    Args:
        attention_form (`str`, *optional*, defaults to `"glimpses"`):
            How the question looks at the regions: `"stacked"`, in hops, each of which adds what it saw to the question
            (Yang et al. 2016); `"glimpses"`, several times at once (Kazemi & Elqursh 2017); `"bilinear"`, the same,
            and what is seen is multiplied with the question (Kim et al. 2017), which learns soonest whether the two
            agree; `"top_down"`, once, with gated layers (Anderson et al. 2018); or `None`: it meets the regions' mean
            (the CNN+LSTM of Antol et al. 2015). The decoder's own attention is `attention_type`, as in all models;
            both compare in `attention_size`.
        num_glimpses (`int`, *optional*):
            Number of hops or glimpses, each of which has a map. Defaults to 2; `"top_down"` has 1.
        joint_size (`int`, *optional*):
            Size of the vector that joins question and image. Defaults to the size of the question's; `"stacked"` adds
            the two, so there it is no other.
        normalize_regions (`bool`, *optional*, defaults to `False`):
            Whether each region's features are first scaled to length 1 (Kazemi & Elqursh 2017, section 3.1).
        question_encoder_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of any text encoder that `AutoModel` gives. `None`: a recurrent one, of the fields below.
        freeze_question_encoder (`bool`, *optional*, defaults to `False`):
            Whether an encoder of `question_encoder_config` starts frozen. As with `freeze_backbone`, the
            `requires_grad` that its parameters are given later stands.
        encoder_embedding_size (`int`, *optional*):
            Size of the question's word embeddings. Defaults to `embedding_size`.
        encoder_rnn_type (`str`, *optional*):
            `"lstm"` or `"gru"`. Defaults to `rnn_type`.
        encoder_hidden_size (`int`, *optional*, defaults to 512):
            Size of the question encoder's state, in each direction.
        encoder_num_hidden_layers (`int`, *optional*, defaults to 1):
            Number of its recurrent layers.
        encoder_bidirectional (`bool`, *optional*, defaults to `False`):
            Whether it reads in both directions.
        question_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the question's vector.
        joint_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on the joint vector before the answer, and inside the layers that make it.
        initial_state (`str`, *optional*, defaults to `"joint"`):
            What the generating head's decoder starts from: `"joint"`, a tanh layer of the joint vector; or, as in
            every decoder, `"memory_mean"` or `"zeros"`, with which that head makes no joint vector.
        problem_type (`str`, *optional*, defaults to `"multi_label_classification"`):
            `"multi_label_classification"`: labels are a score from 0 to 1 for each answer, and answers are scored by
            sigmoids. `"single_label_classification"`: one answer is right, or annotators' votes are shared out among
            several, and a softmax scores them.

    The answers are in `id2label`. `embedding_dropout` and `hidden_dropout` (between layers) hold for the question's
    encoder too; `label_smoothing` where a softmax scores the answers: with `"single_label_classification"` and in the
    generating head.

    Example:

    ```python
    >>> from hf_attention import AttentionVQAConfig, AttentionVQAForQuestionAnswering

    >>> config = AttentionVQAConfig(region_size=1280, num_labels=500)
    >>> model = AttentionVQAForQuestionAnswering(config)
    ```
    """

    model_type = "attention_vqa"
    sub_configs: ClassVar[dict[str, type]] = {
        **ImageMemoryConfig.sub_configs,
        "question_encoder_config": AutoConfig,
    }
    choices: ClassVar[dict[str, Sequence[str | None]]] = {
        **ImageMemoryConfig.choices,
        "attention_form": ATTENTION_FORMS,
        "initial_state": ("joint", *ImageMemoryConfig.choices["initial_state"]),
        "encoder_rnn_type": RNN_TYPES,
        "problem_type": PROBLEM_TYPES,
    }
    command_line_options: ClassVar[tuple[str, ...]] = (
        *ImageMemoryConfig.command_line_options,
        "attention_form",
        "num_glimpses",
        "joint_size",
        "normalize_regions",
        "memory_size",
        "project_regions",
        "initial_state",
        "encoder_embedding_size",
        "encoder_rnn_type",
        "encoder_hidden_size",
        "encoder_num_hidden_layers",
        "encoder_bidirectional",
        "freeze_question_encoder",
        "region_dropout",
        "question_dropout",
        "joint_dropout",
        "problem_type",
    )
    # Questions and generated answers have one vocabulary.
    source_vocab_size: ClassVar[None] = None
    # The encoder's states are the question's vector too, whose size they keep.
    encoder_skip_connection: ClassVar[bool] = False

    attention_form: str | None = "glimpses"
    num_glimpses: Annotated[int | None, FEW] = None
    joint_size: Annotated[int | None, SIZE] = None
    normalize_regions: bool = False
    question_encoder_config: PreTrainedConfig | dict | None = None
    freeze_question_encoder: bool = False
    encoder_embedding_size: Annotated[int | None, SIZE] = None
    encoder_rnn_type: str | None = None
    encoder_hidden_size: Annotated[int, SIZE] = 512
    encoder_num_hidden_layers: Annotated[int, FEW] = 1
    encoder_bidirectional: bool = False
    question_dropout: Annotated[float | int, SHARE] = 0.0
    joint_dropout: Annotated[float | int, SHARE] = 0.0
    initial_state: str = "joint"

    def __post_init__(self, **kwargs):
        if kwargs.pop("encoder_skip_connection", False):
            raise ValueError("`encoder_skip_connection` must be False: the question's vector is its encoder's state.")
        check_fields(self)  # before others follow from them
        self.question_encoder_config = part_config("question_encoder_config", self.question_encoder_config)
        if self.encoder_embedding_size is None:
            self.encoder_embedding_size = self.embedding_size
        if self.encoder_rnn_type is None:
            self.encoder_rnn_type = self.rnn_type
        if self.num_glimpses is None:
            self.num_glimpses = 1 if self.attention_form == "top_down" else 2
        if self.joint_size is None:
            self.joint_size = self.question_size
        if self.problem_type is None:
            self.problem_type = "multi_label_classification"
        if self.architectures is None:
            self.architectures = []  # an Auto class with two heads goes over it
        super().__post_init__(**kwargs)
        self._check_question()

    @property
    def question_size(self) -> int:
        """Size of the question's vector, and of the states of its words."""
        if self.question_encoder_config is not None:
            if not hasattr(self.question_encoder_config, "hidden_size"):
                raise ValueError(
                    "`question_encoder_config` must be a text encoder's, with a `hidden_size`, got "
                    f"{type(self.question_encoder_config).__name__}."
                )
            return self.question_encoder_config.hidden_size
        return self.encoder_hidden_size * (2 if self.encoder_bidirectional else 1)

    def _check_question(self):
        if self.attention_form == "top_down" and self.num_glimpses != 1:
            raise ValueError(f"`attention_form='top_down'` looks once: `num_glimpses` is 1, got {self.num_glimpses}.")
        if self.attention_form == "stacked" and self.joint_size != self.question_size:
            raise ValueError(
                "`attention_form='stacked'` adds what it saw to the question's vector: leave `joint_size` out, or say "
                f"{self.question_size}, got {self.joint_size}."
            )

    @classmethod
    def stacked(cls, **kwargs) -> "AttentionVQAConfig":
        """
        Stacked attention networks (Yang et al. 2016): an LSTM, two hops over the tanh of the regions, a softmax over
        the answers.

        Args:
            kwargs: Fields that differ. `memory_size` is the backbone's `region_size`.
        """
        settings = {
            "attention_form": "stacked",
            "num_glimpses": 2,
            "project_regions": False,
            "encoder_embedding_size": 500,
            "encoder_hidden_size": 1024,
            "attention_size": 512,
            "problem_type": "single_label_classification",
        }
        return cls(**{**settings, **kwargs})

    @classmethod
    def show_ask(cls, **kwargs) -> "AttentionVQAConfig":
        """
        Show, Ask, Attend, and Answer (Kazemi & Elqursh 2017): an LSTM, two glimpses of normalised features, a softmax
        against the shares of the annotators' votes.

        Args:
            kwargs: Fields that differ. `memory_size` is the backbone's `region_size`.
        """
        settings = {
            "attention_form": "glimpses",
            "num_glimpses": 2,
            "normalize_regions": True,
            "project_regions": False,
            "encoder_embedding_size": 300,
            "encoder_hidden_size": 1024,
            "attention_size": 512,
            "joint_size": 1024,
            "question_dropout": 0.5,
            "joint_dropout": 0.5,
            "problem_type": "single_label_classification",
        }
        return cls(**{**settings, **kwargs})

    @classmethod
    def top_down(cls, **kwargs) -> "AttentionVQAConfig":
        """
        The answering model of Bottom-Up and Top-Down Attention (Anderson et al. 2018): a GRU, gated tanh layers, one
        look at the regions or boxes, a sigmoid for each answer against soft scores.

        Args:
            kwargs: Fields that differ. `memory_size` is the features' `region_size`.
        """
        settings = {
            "attention_form": "top_down",
            "project_regions": False,
            "encoder_rnn_type": "gru",
            "encoder_embedding_size": 300,
            "encoder_hidden_size": 512,
            "attention_size": 512,
            "joint_size": 512,
            "problem_type": "multi_label_classification",
        }
        return cls(**{**settings, **kwargs})
