"""Visual question answering: a question guides where the image is looked at."""

import os
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForVisualQuestionAnswering,
    GenerationMixin,
    PreTrainedConfig,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple
from typing_extensions import Self

from .answer_loss import summed_answer_loss
from .arguments import refuse_unknown
from .backbones import load_encoder
from .cache import RecurrentCache
from .configuration_attention_vqa import AttentionVQAConfig
from .declaration import declare
from .decoder import AttentionDecoder
from .dropout import Dropout
from .generation import AttentionGenerationMixin
from .image_question_encoder import AttentionVQAEncoder
from .modeling_attention import (
    AttentionConditionalGenerationModel,
    AttentionEncoderDecoderModel,
    AttentionEncoderModel,
    AttentionPreTrainedModel,
)
from .outputs import AttentionModelOutput, AttentionVQAModelOutput
from .pipeline_visual_question_answering import VisualQuestionAnsweringPipeline
from .processing_attention_vqa import AttentionVQAProcessor
from .versions import Seq2SeqLMOutput, explained, takes_cache


# The classes of whole models, by the part that is their own.
HEADS = {"classifier": "AttentionVQAForQuestionAnswering", "lm_head": "AttentionVQAForConditionalGeneration"}


class AttentionVQAPreTrainedModel(AttentionPreTrainedModel):
    config_class = AttentionVQAConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args,
        output_loading_info: bool = False,
        **kwargs,
    ) -> Self:
        """
        As [`~transformers.PreTrainedModel.from_pretrained`].

        Raises:
            ValueError: Where the checkpoint is of the other head: this one would be left with random weights.
        """
        name = str(pretrained_model_name_or_path)
        if cls.__name__ in HEADS.values():  # before the weights are read, where the configuration tells
            _check_head(cls, name, {*HEADS.values()} & _architectures(pretrained_model_name_or_path, **kwargs))
        model, info = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        if info["missing_keys"]:
            parts = {key.split(".")[0] for key in info["unexpected_keys"]}
            _check_head(cls, name, {HEADS[part] for part in HEADS.keys() & parts})
        return (model, info) if output_loading_info else model

    @classmethod
    def from_parts_pretrained(
        cls,
        backbone_name_or_path: str | os.PathLike | None = None,
        question_encoder_name_or_path: str | os.PathLike | None = None,
        config: AttentionVQAConfig | None = None,
        backbone_kwargs: dict | None = None,
        question_encoder_kwargs: dict | None = None,
        **config_kwargs,
    ) -> Self:
        """
        A model around a pretrained vision model, a pretrained text encoder, or both. The rest is new.

        Args:
            backbone_name_or_path (`str` or `os.PathLike`, *optional*):
                What `AutoModel.from_pretrained` takes: a vision model, or one with a vision tower (CLIP, SigLIP).
            question_encoder_name_or_path (`str` or `os.PathLike`, *optional*):
                The same of a text encoder, or of a model with a text tower.
            config ([`AttentionVQAConfig`], *optional*):
                The configuration; its backbone, region and question encoder fields are filled in.
            backbone_kwargs, question_encoder_kwargs (`dict`, *optional*):
                Arguments for `AutoModel.from_pretrained`.
            config_kwargs:
                Fields of [`AttentionVQAConfig`], in place of `config`.
        """
        if config is not None and config_kwargs:
            raise ValueError(f"Pass either `config` or its fields, got both: {sorted(config_kwargs)}.")
        fields = config_kwargs if config is None else config.to_dict()
        parts = {}
        if backbone_name_or_path is not None:
            backbone = load_encoder(backbone_name_or_path, "vision_config", **(backbone_kwargs or {}))
            parts["image_encoder.backbone"] = backbone
            fields |= {"backbone_config": backbone.config, "region_size": None}  # read off the backbone
        if question_encoder_name_or_path is not None:
            encoder = load_encoder(question_encoder_name_or_path, "text_config", **(question_encoder_kwargs or {}))
            parts["question_encoder.encoder"] = encoder
            fields |= {"question_encoder_config": encoder.config}
        model = cls(AttentionVQAConfig(**fields))
        for name, part in parts.items():
            model.get_encoder().get_submodule(name).load_state_dict(part.state_dict())
        return model


class _ReadsQuestions(AttentionVQAPreTrainedModel):
    """The parts of `encoder`, as transformers asks for them."""

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder.question_encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.question_encoder.set_input_embeddings(value)

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.encoder.image_encoder if modality == "image" else super().get_encoder(modality)


class AttentionVQAModel(_ReadsQuestions, AttentionEncoderModel):
    """
    The encoders of image and question, and the attention between them.

    Args:
        config ([`AttentionVQAConfig`]): The configuration.
    """

    def __init__(self, config: AttentionVQAConfig):
        super().__init__(config)
        self.encoder = AttentionVQAEncoder(config, generating=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args, **kwargs) -> Self:
        """
        As [`~transformers.PreTrainedModel.from_pretrained`]; of a checkpoint of a generating model, which has a
        decoder and another memory, an [`AttentionVQAGeneratingModel`]: `AutoModel` knows one class of a model type.
        """
        generating = {AttentionVQAGeneratingModel.__name__, AttentionVQAForConditionalGeneration.__name__}
        if generating & _architectures(pretrained_model_name_or_path, **kwargs):
            return AttentionVQAGeneratingModel.from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    @explained
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> AttentionVQAModelOutput | tuple:
        """
        The arguments of [`AttentionVQAEncoder.forward`]; `output_attentions` and `output_hidden_states` default to the
        configuration's.

        Returns:
            [`AttentionVQAModelOutput`]
        """
        refuse_unknown(kwargs)
        return self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            region_features=region_features,
            region_mask=region_mask,
            region_boxes=region_boxes,
            output_attentions=self.config.output_attentions if output_attentions is None else output_attentions,
            output_hidden_states=(
                self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
            ),
        )


class AttentionVQAForQuestionAnswering(AttentionVQAPreTrainedModel):
    """
    The model with a distribution over known answers, those of the configuration's `id2label`.

    Args:
        config ([`AttentionVQAConfig`]): The configuration.
    """

    # Trainer would count the entries of soft labels where questions are wanted.
    accepts_loss_kwargs = False

    def __init__(self, config: AttentionVQAConfig):
        super().__init__(config)
        self.model = AttentionVQAModel(config)
        self.joint_dropout = Dropout(config.joint_dropout)
        self.classifier = nn.Linear(config.joint_size, config.num_labels)
        self.post_init()

    @explained
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput | tuple:
        """
        The arguments of [`AttentionVQAModel.forward`], and

        Args:
            labels (`torch.Tensor`, *optional*):
                Of shape `(batch, num_labels)`: for each answer a score from 0 to 1 (ViLT; Anderson et al. 2018), or
                with `problem_type="single_label_classification"` its share of the annotators' votes, which sum to 1
                (Kazemi & Elqursh 2017); -100 for an answer that does not count: the softmax is over the others, the
                binary loss leaves its term out. Of shape `(batch,)`, for that `problem_type` only: the one right
                answer. -100 (or a row of it) for a question that does not count.
            num_items_in_batch (`int` or `torch.Tensor`, *optional*):
                What the summed loss is divided by: the number of questions over all accumulated batches. Defaults to
                the number of questions in this one.

        Returns:
            [`~transformers.modeling_outputs.SequenceClassifierOutput`]: `logits` of shape `(batch, num_labels)`;
            `attentions`, a tuple of one tensor of shape `(batch, regions)` for each glimpse; `hidden_states`, those of
            the question.

        Raises:
            ValueError: Where labels are of a wrong shape, or no known answers.
        """
        refuse_unknown(kwargs)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            region_features=region_features,
            region_mask=region_mask,
            region_boxes=region_boxes,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.classifier(self.joint_dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            label_smoothing = self.config.label_smoothing if self.training else 0.0
            loss, num_questions = summed_answer_loss(logits, labels, self.config.problem_type, label_smoothing)
            loss = loss / (num_questions if num_items_in_batch is None else num_items_in_batch)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class AttentionVQAGeneratingModel(_ReadsQuestions, AttentionEncoderDecoderModel):
    """
    The encoders, whose memory here has the question's words behind the regions, and the attentive decoder, without the
    output embedding.

    Args:
        config ([`AttentionVQAConfig`]): The configuration.
    """

    def __init__(self, config: AttentionVQAConfig):
        super().__init__(config)
        self.encoder = AttentionVQAEncoder(config, generating=True)
        self.decoder = AttentionDecoder(config)
        self.post_init()

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: AttentionVQAModelOutput | None = None,
        cache: RecurrentCache | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> AttentionModelOutput | tuple:
        """
        The arguments of image and question are those of [`AttentionVQAEncoder.forward`], all others those of
        [`AttentionEncoderDecoderModel.run`]: `cross_attentions` are over the regions and then the words, as the
        encoder's `is_region` says.

        Returns:
            [`AttentionModelOutput`]
        """
        refuse_unknown(kwargs)
        return self.run(
            {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "pixel_values": pixel_values,
                "region_features": region_features,
                "region_mask": region_mask,
                "region_boxes": region_boxes,
            },
            encoder_outputs,
            decoder_input_ids,
            decoder_inputs_embeds,
            decoder_attention_mask,
            cache,
            use_cache,
            output_attentions,
            output_hidden_states,
        )


class AttentionVQAForConditionalGeneration(
    AttentionVQAPreTrainedModel, AttentionConditionalGenerationModel, AttentionGenerationMixin, GenerationMixin
):
    """
    The model that answers word by word, through `generate()`: its decoder attends to the regions and to the question's
    words.

    Args:
        config ([`AttentionVQAConfig`]): The configuration.
    """

    def __init__(self, config: AttentionVQAConfig):
        super().__init__(config)
        self.model = AttentionVQAGeneratingModel(config)
        self.lm_head = nn.Linear(config.readout_size, config.vocab_size)
        self.post_init()
        self.set_generation_defaults(max_length=20)

    def _maybe_initialize_input_ids_for_generation(self, inputs, bos_token_id, model_kwargs):
        # transformers would make up a question of one start token.
        if inputs is None and model_kwargs.get("encoder_outputs") is None:
            raise ValueError(
                "Pass `input_ids` beside `pixel_values` or `region_features`, or `encoder_outputs`: there is no "
                "question."
            )
        return super()._maybe_initialize_input_ids_for_generation(inputs, bos_token_id, model_kwargs)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: AttentionVQAModelOutput | None = None,
        cache: RecurrentCache | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | torch.LongTensor = 0,
        num_items_in_batch: int | torch.Tensor | None = None,
        token_weights: torch.Tensor | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput | tuple:
        """
        The arguments of [`AttentionVQAGeneratingModel.forward`], and for the loss those of
        [`AttentionConditionalGenerationModel.run`]: `labels` are the answer's tokens.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)`;
            `cross_attentions`, a tuple of one tensor of shape `(rows, heads, target, regions + words)`, the regions
            first, as the encoder's `is_region` says.

        Raises:
            ValueError: Where neither decoder inputs nor labels are given.
        """
        refuse_unknown(kwargs)
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
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            region_features=region_features,
            region_mask=region_mask,
            region_boxes=region_boxes,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
        )


def _architectures(name_or_path: str | os.PathLike | None, config: Any = None, **kwargs) -> set[str]:
    """Which classes a checkpoint is of, as its configuration tells; the arguments are those of `from_pretrained`."""
    if isinstance(config, PreTrainedConfig):
        return set(config.architectures or ())
    settings = PreTrainedConfig.get_config_dict(config or name_or_path, **kwargs)[0]
    return set(settings.get("architectures") or ())


def _check_head(cls: type, name: str, heads: set[str]) -> None:
    if heads and cls.__name__ not in heads:
        [head] = heads
        raise ValueError(
            f"{name!r} is a checkpoint of {head}, which answers questions about images "
            f'(pipeline("visual-question-answering") takes it): {cls.__name__} would be left with random weights.'
        )


declare(
    AttentionVQAConfig,
    classes={
        AutoModel: AttentionVQAModel,
        AutoModelForVisualQuestionAnswering: (AttentionVQAForQuestionAnswering, AttentionVQAForConditionalGeneration),
        AutoModelForImageTextToText: AttentionVQAForConditionalGeneration,
    },
    processor=AttentionVQAProcessor,
    pipelines=[VisualQuestionAnsweringPipeline],
)
