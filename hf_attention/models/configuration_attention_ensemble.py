"""Configuration of several models that generate as one."""

from typing import Any, ClassVar

from transformers import Pipeline

from .configuration_attention import SPECIAL_TOKEN_IDS, AttentionDecoderConfig, check_token_ids
from .configuration_attention_captioner import AttentionCaptionerConfig
from .configuration_attention_seq2seq import AttentionSeq2SeqConfig
from .configuration_remote_code import RemoteCodeConfig
from .versions import strict


MEMBER_CONFIGS = {config.model_type: config for config in (AttentionCaptionerConfig, AttentionSeq2SeqConfig)}
# What the members must agree on: they read the same inputs and predict the same tokens.
SHARED = ("model_type", "vocab_size", "source_vocab_size", *SPECIAL_TOKEN_IDS)


@strict
class AttentionEnsembleConfig(RemoteCodeConfig):
    """
    Configuration of [`AttentionEnsembleForConditionalGeneration`]. The vocabulary is the members', and so are the
    special tokens unless they are given.

    Args:
        members (`list[dict]`, *optional*):
            The members' configurations, as [`~transformers.PreTrainedConfig.to_dict`] gives them: captioners or
            sequence-to-sequence models, of any sizes, with one vocabulary.
    """

    model_type = "attention_ensemble"
    has_no_defaults_at_init = True
    keys_to_ignore_at_inference: ClassVar[list[str]] = AttentionDecoderConfig.keys_to_ignore_at_inference

    members: list[dict[str, Any]] | None = None
    is_encoder_decoder: bool = True
    use_cache: bool = True

    def __post_init__(self, **kwargs):
        if not self.members:
            raise ValueError("`members` names no model: an ensemble needs at least one.")
        first = self.members[0]
        if first.get("model_type") not in MEMBER_CONFIGS:
            raise ValueError(
                f"The model type of a member must be one of {sorted(MEMBER_CONFIGS)}, got {first.get('model_type')!r}."
            )
        for number, member in enumerate(self.members):
            for name in SHARED:
                if member.get(name) != first.get(name):
                    raise ValueError(
                        f"The members must have one vocabulary: `{name}` is {first.get(name)!r} in the first and "
                        f"{member.get(name)!r} in member {number}."
                    )
        saved_by = {name: kwargs[name] for name in ("hf_attention_version",) if name in kwargs}
        for member in self.members:
            # Each refuses what it may not be, and what it does not know, where a newer version has saved it.
            MEMBER_CONFIGS[member["model_type"]](**{**member, **saved_by})
        for name in SHARED[1:]:
            # Special tokens may have been changed since, by `Trainer` for one.
            setattr(self, name, kwargs.pop(name, first.get(name)))
        self.check_vocabularies()
        check_token_ids(self, self.vocab_size)
        super().__post_init__(**kwargs)

    @property
    def label_smoothing(self) -> float:
        """The first member's."""
        return self.members[0]["label_smoothing"]

    @property
    def doubly_stochastic_penalty(self) -> float:
        """The first member's."""
        return self.members[0]["doubly_stochastic_penalty"]

    def check_vocabularies(self) -> None:
        """
        Raises:
            ValueError: Where the vocabulary is said to have another size than the members'.
        """
        for name in ("vocab_size", "source_vocab_size"):
            value, of_members = getattr(self, name), self.members[0].get(name)
            if value != of_members:
                raise ValueError(f"`{name}` of an ensemble is its members', {of_members!r}, got {value!r}.")

    def take_members(self, members: list[dict[str, Any]]) -> None:
        """
        Puts others in the members' place, with whose vocabulary they go on.

        Args:
            members (`list[dict]`): Their configurations.
        """
        self.members = members
        self.vocab_size, self.source_vocab_size = members[0]["vocab_size"], members[0].get("source_vocab_size")

    def pipeline_classes(self) -> tuple[type[Pipeline], ...]:
        """The members' pipelines."""
        return self.member_configs()[0].pipeline_classes()

    def named_classes(self) -> list[type]:
        """The classes that the members' fields name."""
        return [each for member in self.member_configs() for each in member.named_classes()]

    def member_configs(self) -> list[AttentionDecoderConfig]:
        """The members' configurations as objects."""
        self.check_vocabularies()
        return [MEMBER_CONFIGS[member["model_type"]].from_dict(member) for member in self.members]
