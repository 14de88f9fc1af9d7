"""Several models of one vocabulary that generate as one."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, AutoModelForSeq2SeqLM, GenerationMixin
from transformers.utils import can_return_tuple
from typing_extensions import Self

from .cache import RecurrentCache
from .configuration_attention_ensemble import AttentionEnsembleConfig
from .declaration import DECLARATIONS, declare
from .generation import AttentionGenerationMixin
from .modeling_attention import AttentionPreTrainedModel
from .modeling_attention_captioner import AttentionCaptionerForConditionalGeneration
from .modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration
from .outputs import EnsembleEncoderOutput
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

    def forward(self, **kwargs) -> EnsembleEncoderOutput:
        """Runs all encoders; `kwargs`, by which name generate() knows that any will do, are their arguments."""
        return EnsembleEncoderOutput(tuple(encoder(**kwargs) for encoder in self.encoders))


class EnsembleCache(LayeredCache):
    """
    A [`RecurrentCache`] a member.

    Args:
        num_members (`int`): The number of members.
    """

    def __init__(self, num_members: int):
        self.members = [RecurrentCache() for _ in range(num_members)]
        super().__init__(layers=[layer for member in self.members for layer in member.layers])

    @property
    def record_past(self) -> bool:
        """Whether the state after every token is asked for."""
        return self.members[0].record_past

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        for member in self.members:
            member.batch_select_indices(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        for member in self.members:
            member.batch_repeat_interleave(repeats)

    def reset(self) -> None:
        for member in self.members:
            member.reset()


class AttentionEnsembleForConditionalGeneration(AttentionPreTrainedModel, AttentionGenerationMixin, GenerationMixin):
    r"""
    Models of one vocabulary that generate as one: at each step the next token has the mean of the probabilities that
    the members give it, \\( p(y) = \frac{1}{n} \sum_i p_i(y) \\). Captioners or sequence-to-sequence models; they may
    differ in every size and option of encoder and decoder. `from_members` makes one.

    Args:
        config ([`AttentionEnsembleConfig`]): The configuration.
    """

    config_class = AttentionEnsembleConfig
    base_model_prefix = ""

    def __init__(self, config: AttentionEnsembleConfig):
        super().__init__(config)
        members = [DECLARATIONS[each.model_type].generating_class()(each) for each in config.member_configs()]
        self.members = nn.ModuleList(members)
        self.main_input_name = members[0].main_input_name
        self.input_modalities = members[0].input_modalities
        self.post_init()

    @classmethod
    def from_members(cls, models: Sequence[Member]) -> Self:
        """
        An ensemble of copies of models. `save_pretrained` puts it into a folder that Auto classes and pipelines load;
        the tokenizer or processor of the members belongs beside it.

        Args:
            models (`Sequence` of captioners or of sequence-to-sequence models):
                The members. The settings of generation are the first's.

        Raises:
            ValueError: Where there is none, or they differ in kind, vocabulary size or special tokens.
        """
        ensemble = cls(AttentionEnsembleConfig(members=[model.config.to_dict() for model in models]))
        for member, model in zip(ensemble.members, models, strict=True):
            member.load_state_dict(model.state_dict())
        ensemble.generation_config = copy.deepcopy(models[0].generation_config)
        return ensemble.eval()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        return {
            f"members.{number}.{target}": f"members.{number}.{source}"
            for number, member in enumerate(self.members)
            for target, source in member.get_expanded_tied_weights_keys(all_submodels=True).items()
        }

    def get_encoder(self, modality: str | None = None) -> EnsembleEncoder:
        return EnsembleEncoder([member.get_encoder() for member in self.members])

    def get_input_embeddings(self) -> nn.Embedding:
        return self.members[0].get_input_embeddings()

    def get_output_embeddings(self) -> nn.Linear:
        return self.members[0].get_output_embeddings()

    def make_cache(self) -> EnsembleCache:
        return EnsembleCache(len(self.members))

    # What generate() may be given, and which of it is the input, is told by a member.
    def _validate_model_kwargs(self, model_kwargs):
        self.members[0]._validate_model_kwargs(model_kwargs)

    def _prepare_model_inputs(self, inputs, bos_token_id, model_kwargs):
        return self.members[0]._prepare_model_inputs(inputs, bos_token_id, model_kwargs)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: EnsembleEncoderOutput | None = None,
        cache: EnsembleCache | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        logits_to_keep: int | torch.LongTensor = 0,
        **inputs,
    ) -> Seq2SeqLMOutput | tuple:
        """
        The arguments of the members' forward.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)` are the
            log-probabilities of the mean; `cross_attentions`, a tuple of one tensor of shape `(rows, 1, target,
            positions)`, is the mean over heads and members.

        Raises:
            RuntimeError: In training mode: train the members.
            ValueError:
                Where neither decoder inputs nor labels are given, or maps are asked for and the members' have not the
                same positions.
        """
        if self.training:
            raise RuntimeError(
                "An ensemble does not train: train its members one by one. `eval()` leaves training mode."
            )
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        use_cache = (self.config.use_cache and labels is None) if use_cache is None else use_cache
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("Pass `decoder_input_ids` or `labels`: the decoder has no words to go on from.")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if use_cache and cache is None:
            cache = self.make_cache()
        num_members = len(self.members)
        outputs = [
            member(
                **inputs,
                decoder_input_ids=decoder_input_ids,
                decoder_attention_mask=decoder_attention_mask,
                encoder_outputs=memory,
                cache=member_cache,
                use_cache=use_cache,
                output_attentions=output_attentions,
                return_dict=True,
                logits_to_keep=logits_to_keep,
            )
            for member, memory, member_cache in zip(
                self.members,
                [None] * num_members if encoder_outputs is None else encoder_outputs.members,
                [None] * num_members if cache is None else cache.members,
                strict=True,
            )
        ]
        log_probs = torch.stack([output.logits.float().log_softmax(-1) for output in outputs])
        logits = log_probs.logsumexp(0) - math.log(num_members)
        loss = None
        if labels is not None:
            loss = F.nll_loss(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            **{CACHE_NAME: cache},
            decoder_attentions=() if output_attentions else None,
            cross_attentions=_mean_maps(outputs) if output_attentions else None,
        )


def _mean_maps(outputs: list[Seq2SeqLMOutput]) -> tuple[torch.Tensor, ...]:
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
