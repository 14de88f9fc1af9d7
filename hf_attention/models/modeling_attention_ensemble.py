"""Several models of one vocabulary that generate as one."""

import copy
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, AutoModelForSeq2SeqLM, GenerationMixin
from transformers.utils import can_return_tuple
from typing_extensions import Self

from .arguments import refuse_unknown
from .cache import RecurrentCache
from .configuration_attention import check_token_ids
from .configuration_attention_ensemble import AttentionEnsembleConfig
from .declaration import DECLARATIONS, declare
from .generation import AttentionGenerationMixin
from .linear import apply_linear
from .modeling_attention import AttentionConditionalGenerationModel
from .modeling_attention_captioner import AttentionCaptionerForConditionalGeneration
from .modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration
from .outputs import AttentionModelOutput, EnsembleEncoderOutput
from .versions import CACHE_NAME, LayeredCache, Seq2SeqLMOutput, takes_cache


Member = AttentionCaptionerForConditionalGeneration | AttentionSeq2SeqForConditionalGeneration


class EnsembleEncoder(nn.Module):
    """
    The members' encoders over one input.

    Args:
        encoders (`Sequence[nn.Module]`): The encoders.
    """

    def __init__(self, encoders: Sequence[nn.Module]):
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, inputs_embeds: torch.Tensor | None = None, **kwargs) -> EnsembleEncoderOutput:
        """
        Runs all encoders; `kwargs`, by which name generate() knows that any will do, are their arguments.

        Args:
            inputs_embeds (`torch.Tensor` of shape `(batch, source, sizes)`, *optional*):
                The members' embeddings side by side, as an [`EnsembleEmbedding`] gives them.
        """
        each = [kwargs] * len(self.encoders)
        if inputs_embeds is not None:
            parts = EnsembleEmbedding([encoder.embed_tokens for encoder in self.encoders]).split(inputs_embeds)
            each = [{**kwargs, "inputs_embeds": part} for part in parts]
        members = tuple(encoder(**own) for encoder, own in zip(self.encoders, each, strict=True))
        return EnsembleEncoderOutput(
            members,
            hidden_states=_in_turn(member.get("hidden_states") for member in members),
            attentions=_in_turn(member.get("attentions") for member in members),
        )


class EnsembleEmbedding(nn.Module):
    """
    The members' tables side by side: a token has all its embeddings, one behind the other.

    Args:
        tables (`Sequence[nn.Embedding]`): The tables.
    """

    def __init__(self, tables: Sequence[nn.Embedding]):
        super().__init__()
        self.tables = nn.ModuleList(tables)

    @property
    def weight(self) -> torch.Tensor:
        """A copy of the tables as one, of shape `(num_embeddings, embedding_dim)`."""
        return torch.cat([table.weight for table in self.tables], 1)

    @property
    def num_embeddings(self) -> int:
        return self.tables[0].num_embeddings

    @property
    def embedding_dim(self) -> int:
        return sum(table.embedding_dim for table in self.tables)

    def split(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Each member's part.

        Args:
            embeddings (`torch.Tensor` of shape `(..., embedding_dim)`): What `forward` has given.

        Raises:
            ValueError: Where they are of another size.
        """
        if embeddings.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"Embeddings for an ensemble are those of all members side by side, of {self.embedding_dim} numbers, "
                f"got {embeddings.shape[-1]}: `get_input_embeddings()` gives them."
            )
        return embeddings.split([table.embedding_dim for table in self.tables], -1)

    def forward(self, tokens: torch.LongTensor) -> torch.Tensor:
        """
        Args:
            tokens (`torch.LongTensor`): The tokens.

        Returns:
            `torch.Tensor` of shape `(*tokens.shape, embedding_dim)`.
        """
        return torch.cat([table(tokens) for table in self.tables], -1)


class EnsembleHead(nn.Module):
    r"""
    \\( \log \frac{1}{n} \sum_i p_i \\) of the members' probabilities.

    Args:
        heads (`Sequence[nn.Linear]`): The members' output embeddings.
        sizes (`Sequence[int]`): The sizes of what they project.
    """

    def __init__(self, heads: Sequence[nn.Linear], sizes: Sequence[int]):
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.sizes = list(sizes)

    @property
    def weight(self) -> torch.Tensor:
        """A copy of their matrices as one, of shape `(vocab_size, sum of sizes)`."""
        return torch.cat([head.weight for head in self.heads], 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(..., sum of sizes)`): The members' readouts, side by side.

        Returns:
            `torch.Tensor` of shape `(..., vocab_size)`, at least float32.
        """
        parts = hidden_states.split(self.sizes, -1)
        logits = [apply_linear(head, part) for head, part in zip(self.heads, parts, strict=True)]
        dtype = torch.promote_types(logits[0].dtype, torch.float32)
        log_probs = torch.stack([each.to(logits[0].device, dtype).log_softmax(-1) for each in logits])
        return log_probs.logsumexp(0) - math.log(len(logits))


class EnsembleCache(LayeredCache):
    """
    A [`RecurrentCache`] a member.

    Args:
        num_members (`int`): The number of members.
        static (`bool`, *optional*, defaults to `False`): As of [`RecurrentCache`].
    """

    def __init__(self, num_members: int, static: bool = False):
        self.members = [RecurrentCache(static) for _ in range(num_members)]
        super().__init__(layers=[layer for member in self.members for layer in member.layers])
        self.is_callers = True

    @property
    def record_past(self) -> bool:
        """Whether the state after every token is asked for."""
        return self.members[0].record_past

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        for member in self.members:
            member.batch_select_indices(indices)

    def reset(self) -> None:
        for member in self.members:
            member.reset()


class AttentionEnsembleForConditionalGeneration(
    AttentionConditionalGenerationModel, AttentionGenerationMixin, GenerationMixin
):
    r"""
    Models of one vocabulary that generate as one: at each step the next token has the mean of the probabilities that
    the members give it, \\( p(y) = \frac{1}{n} \sum_i p_i(y) \\). Captioners or sequence-to-sequence models; they may
    differ in every size and option of encoder and decoder. `from_members` makes one.

    Members are best trained one by one. Trained as it is, an ensemble lowers the loss of the mean; smoothing and
    penalty are the first member's.

    Args:
        config ([`AttentionEnsembleConfig`]): The configuration.
    """

    config_class = AttentionEnsembleConfig
    base_model_prefix = ""
    # Each member has its own.
    _tied_weights_keys = None

    @property
    def _takes_attn_implementation(self) -> bool:
        """As a member's; which it takes, each says itself."""
        parts = (getattr(member, name, None) for member in self.config.member_configs() for name in member.sub_configs)
        return self.config._attn_implementation is not None and any(part is not None for part in parts)

    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _takes_attn_implementation

    def __init__(self, config: AttentionEnsembleConfig):
        attn_implementation = config._attn_implementation
        super().__init__(config)
        configs = config.member_configs()
        for each in configs if attn_implementation is not None else ():
            each._attn_implementation = attn_implementation
        members = [DECLARATIONS[each.model_type].generating_class()(each) for each in configs]
        self.members = nn.ModuleList(members)
        self.main_input_name = members[0].main_input_name
        self.input_modalities = members[0].input_modalities
        self.post_init()
        self.set_generation_defaults(members[0].generation_config.max_length)

    @classmethod
    def from_members(cls, models: Sequence[Member]) -> Self:
        """
        An ensemble of copies of models. `save_pretrained` puts it into a folder that Auto classes and pipelines load;
        the tokenizer or processor of the members belongs beside it.

        Args:
            models (`Sequence` of captioners or of sequence-to-sequence models):
                The members. The settings of generation are the first's.

        Raises:
            TypeError: Where one is no such model.
            ValueError: Where there is none, or they differ in kind, vocabulary size, special tokens or dtype.
        """
        for model in models:
            if not isinstance(model, Member):
                raise TypeError(
                    "`models` must be captioners or sequence-to-sequence models of this package, got "
                    f"{type(model).__name__}: `from_pretrained` loads one."
                )
        dtypes = {model.dtype for model in models}
        if len(dtypes) > 1:
            raise ValueError(f"The members must have one dtype, got {', '.join(sorted(map(str, dtypes)))}.")
        ensemble = cls(AttentionEnsembleConfig(members=[model.config.to_dict() for model in models]))
        for member, model in zip(ensemble.members, models, strict=True):
            member.to(model.dtype).load_state_dict(model.state_dict())
        ensemble.generation_config = copy.deepcopy(models[0].generation_config)
        return ensemble.eval()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        return {
            f"members.{number}.{target}": f"members.{number}.{source}"
            for number, member in enumerate(self.members)
            for target, source in member.get_expanded_tied_weights_keys(all_submodels=True).items()
        }

    def get_encoder(self, modality: str | None = None) -> EnsembleEncoder:
        return EnsembleEncoder([member.get_encoder(modality) for member in self.members])

    def get_input_embeddings(self) -> EnsembleEmbedding:
        return EnsembleEmbedding([member.get_input_embeddings() for member in self.members])

    def set_input_embeddings(self, value: nn.Module) -> None:
        """
        Gives each member its part of a table.

        Args:
            value (`nn.Embedding` or [`EnsembleEmbedding`]): The members' embeddings side by side.
        """
        parts = self.get_input_embeddings().split(value.weight.detach())
        for member, part in zip(self.members, parts, strict=True):
            table = nn.Embedding.from_pretrained(part.clone(), freeze=not value.weight.requires_grad)
            member.set_input_embeddings(table)
        self.tie_weights()

    def get_output_embeddings(self) -> EnsembleHead:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Refused: what comes out is no product with one matrix."""
        raise NotImplementedError("Set the output embeddings of `members`, one by one.")

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args, **kwargs) -> EnsembleEmbedding:
        """As [`~transformers.PreTrainedModel.resize_token_embeddings`], of every member."""
        if new_num_tokens is not None:
            check_token_ids(self.config, new_num_tokens)
        return self._resize("resize_token_embeddings", new_num_tokens, *args, **kwargs)

    def resize_source_token_embeddings(self, *args, **kwargs) -> EnsembleEmbedding:
        """As [`AttentionSeq2SeqForConditionalGeneration.resize_source_token_embeddings`], of every member."""
        return self._resize("resize_source_token_embeddings", *args, **kwargs)

    def _resize(self, method: str, *args, **kwargs) -> EnsembleEmbedding:
        tables = EnsembleEmbedding([getattr(member, method)(*args, **kwargs) for member in self.members])
        self.config.take_members([member.config.to_dict() for member in self.members])
        return tables

    def make_cache(self, static: bool = False) -> EnsembleCache:
        return EnsembleCache(len(self.members), static)

    # What generate() may be given, and which of it is the input, is told by a member.
    def _validate_model_kwargs(self, model_kwargs):
        self.members[0]._validate_model_kwargs(model_kwargs)

    def _prepare_model_inputs(self, inputs, bos_token_id, model_kwargs):
        return self.members[0]._prepare_model_inputs(inputs, bos_token_id, model_kwargs)

    @property
    def lm_head(self) -> EnsembleHead:
        """The members' output embeddings as one."""
        sizes = [member.config.readout_size for member in self.members]
        return EnsembleHead([member.lm_head for member in self.members], sizes)

    @can_return_tuple
    def model(
        self,
        encoder_outputs: EnsembleEncoderOutput | None = None,
        cache: EnsembleCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **inputs: Any,
    ) -> AttentionModelOutput:
        """
        The members without their output embeddings as one. The arguments are those of their `forward`.

        Returns:
            [`AttentionModelOutput`]: `last_hidden_state` is their readouts, side by side; `cross_attentions`, a tuple
            of one tensor of shape `(rows, 1, target, positions)`, is the mean over heads and members; hidden states
            are those of all members in turn.
        """
        if encoder_outputs is not None and not isinstance(encoder_outputs, EnsembleEncoderOutput):
            raise ValueError(
                "`encoder_outputs` of an ensemble must be what its encoder gives, an EnsembleEncoderOutput, got "
                f"{type(encoder_outputs).__name__}."
            )
        if cache is not None and len(getattr(cache, "members", ())) != len(self.members):
            raise ValueError(
                f"`cache` (`past_key_values`) must be an `EnsembleCache` of {len(self.members)} members, as "
                f"`make_cache()` gives it, got {type(cache).__name__}."
            )
        use_cache = (self.config.use_cache and not self.training) if use_cache is None else use_cache
        if use_cache and cache is None:
            cache = self.make_cache()
        each = [{} for _ in self.members]
        if encoder_outputs is not None:
            _hand_out(each, "encoder_outputs", encoder_outputs.members)
        if cache is not None:
            _hand_out(each, "cache", cache.members)
        if inputs_embeds is not None:
            _hand_out(each, "inputs_embeds", self.get_input_embeddings().split(inputs_embeds))
        if decoder_inputs_embeds is not None:
            tables = EnsembleEmbedding([member.model.decoder.embed_tokens for member in self.members])
            _hand_out(each, "decoder_inputs_embeds", tables.split(decoder_inputs_embeds))
        outputs = [
            member.model(**inputs, **own, use_cache=use_cache, return_dict=True)
            for member, own in zip(self.members, each, strict=True)
        ]
        return AttentionModelOutput(
            last_hidden_state=torch.cat([output.last_hidden_state for output in outputs], -1),
            **{CACHE_NAME: cache},
            decoder_hidden_states=_in_turn(output.decoder_hidden_states for output in outputs),
            decoder_attentions=outputs[0].decoder_attentions,
            cross_attentions=None if outputs[0].cross_attentions is None else _mean_maps(outputs),
            encoder_last_hidden_state=outputs[0].encoder_last_hidden_state,
            encoder_hidden_states=_in_turn(output.encoder_hidden_states for output in outputs),
            encoder_attentions=_in_turn(output.encoder_attentions for output in outputs),
            memory_mask=outputs[0].memory_mask,
        )

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: EnsembleEncoderOutput | None = None,
        cache: EnsembleCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | torch.LongTensor = 0,
        num_items_in_batch: int | torch.Tensor | None = None,
        token_weights: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput | tuple:
        """
        The arguments of the members' forward: of captioners, the image's, of sequence-to-sequence models, the
        source's. Embeddings, `inputs_embeds` and `decoder_inputs_embeds`, are those of all members side by side.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)` are the
            log-probabilities of the mean; `cross_attentions`, a tuple of one tensor of shape `(rows, 1, target,
            positions)`, is the mean over heads and members; hidden states are those of all members in turn.

        Raises:
            TypeError: Where an argument is unknown.
            ValueError:
                Where neither decoder inputs nor labels are given, or maps are asked for and the members' have not the
                same positions.
        """
        refuse_unknown(kwargs)
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "inputs_embeds": inputs_embeds,
            "pixel_values": pixel_values,
            "region_features": region_features,
            "region_mask": region_mask,
            "region_boxes": region_boxes,
        }
        return self.run(
            labels,
            logits_to_keep,
            num_items_in_batch,
            decoder_input_ids,
            decoder_inputs_embeds,
            use_cache,
            output_attentions,
            token_weights,
            output_hidden_states,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
            **{name: value for name, value in inputs.items() if value is not None},
        )


def _hand_out(arguments: list[dict[str, Any]], name: str, values: Sequence[Any]) -> None:
    """Puts each member's value among its arguments."""
    for own, value in zip(arguments, values, strict=True):
        own[name] = value


def _in_turn(each: Iterable[tuple | None]) -> tuple | None:
    """What the members return, one behind the other, where all return it."""
    each = list(each)
    return None if None in each else tuple(itertools.chain(*each))


def _mean_maps(outputs: list[AttentionModelOutput]) -> tuple[torch.Tensor, ...]:
    maps = [output.cross_attentions[0].mean(1, keepdim=True) for output in outputs if output.cross_attentions]
    if len({weights.shape for weights in maps}) > 1:
        raise ValueError(
            "The members attend to different numbers of positions "
            f"({[weights.shape[-1] for weights in maps]}): their maps have no mean."
        )
    return (torch.stack(maps).mean(0),) if maps else ()


declare(
    AttentionEnsembleConfig,
    classes={
        AutoModelForImageTextToText: AttentionEnsembleForConditionalGeneration,
        AutoModelForSeq2SeqLM: AttentionEnsembleForConditionalGeneration,
    },
)
