"""The image captioner: Show, Attend and Tell (Xu et al. 2015), and Show and Tell (Vinyals et al. 2015)."""

import os

import torch
from torch import nn
from transformers import AutoModel, AutoModelForImageTextToText, GenerationMixin
from transformers.utils import can_return_tuple
from typing_extensions import Self

from .arguments import refuse_unknown
from .backbones import load_encoder
from .cache import RecurrentCache
from .configuration_attention_captioner import AttentionCaptionerConfig
from .declaration import declare
from .decoder import AttentionDecoder
from .generation import AttentionGenerationMixin
from .image_encoder import ImageEncoder
from .modeling_attention import (
    AttentionConditionalGenerationModel,
    AttentionEncoderDecoderModel,
    AttentionPreTrainedModel,
)
from .outputs import AttentionModelOutput, EncoderOutput
from .pipeline_image_to_text import ImageToTextPipeline
from .processing_attention_captioner import AttentionCaptionerProcessor
from .versions import Seq2SeqLMOutput, takes_cache


class AttentionCaptionerPreTrainedModel(AttentionPreTrainedModel):
    config_class = AttentionCaptionerConfig
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")


class AttentionCaptionerModel(AttentionCaptionerPreTrainedModel, AttentionEncoderDecoderModel):
    """
    The image encoder and the attentive decoder, without the output embedding.

    Args:
        config ([`AttentionCaptionerConfig`]): The configuration.
    """

    def __init__(self, config: AttentionCaptionerConfig):
        super().__init__(config)
        self.encoder = ImageEncoder(config)
        self.decoder = AttentionDecoder(config)
        self.post_init()

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.encoder if modality == "image" else super().get_encoder(modality)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: EncoderOutput | None = None,
        cache: RecurrentCache | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> AttentionModelOutput | tuple:
        """
        The image's arguments are those of [`ImageEncoder.forward`], all others those of
        [`AttentionEncoderDecoderModel.run`]: `cross_attentions` are over regions.

        Returns:
            [`AttentionModelOutput`]
        """
        refuse_unknown(kwargs)
        return self.run(
            {
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


class AttentionCaptionerForConditionalGeneration(
    AttentionCaptionerPreTrainedModel, AttentionConditionalGenerationModel, AttentionGenerationMixin, GenerationMixin
):
    """
    The captioner with its output embedding: losses, `generate()`.

    Args:
        config ([`AttentionCaptionerConfig`]): The configuration.
    """

    def __init__(self, config: AttentionCaptionerConfig):
        super().__init__(config)
        self.model = AttentionCaptionerModel(config)
        self.lm_head = nn.Linear(config.readout_size, config.vocab_size)
        self.post_init()
        self.set_generation_defaults(max_length=40)

    @classmethod
    def from_backbone_pretrained(
        cls,
        backbone_name_or_path: str | os.PathLike,
        config: AttentionCaptionerConfig | None = None,
        backbone_kwargs: dict | None = None,
        **config_kwargs,
    ) -> Self:
        """
        A captioner around a pretrained vision model, in the manner of `from_encoder_decoder_pretrained`. The decoder
        is new.

        Args:
            backbone_name_or_path (`str` or `os.PathLike`):
                What `AutoModel.from_pretrained` takes: a vision model, or one with a vision tower (CLIP, SigLIP).
            config ([`AttentionCaptionerConfig`], *optional*):
                The captioner's configuration; its backbone and region fields are filled in.
            backbone_kwargs (`dict`, *optional*):
                Arguments for `AutoModel.from_pretrained`.
            config_kwargs:
                Fields of [`AttentionCaptionerConfig`], in place of `config`.

        Returns:
            [`AttentionCaptionerForConditionalGeneration`]
        """
        if config is not None and config_kwargs:
            raise ValueError(f"Pass either `config` or its fields, got both: {sorted(config_kwargs)}.")
        backbone = load_encoder(backbone_name_or_path, "vision_config", **(backbone_kwargs or {}))
        config = AttentionCaptionerConfig(**config_kwargs) if config is None else config
        config.backbone_config = backbone.config
        config.region_size = None  # read off the backbone
        model = cls(config)
        model.model.encoder.backbone.load_state_dict(backbone.state_dict())
        return model

    def _prepare_model_inputs(self, inputs, bos_token_id, model_kwargs):
        if inputs is not None and inputs.ndim == 3:
            return inputs, "region_features", model_kwargs  # an assistant gets the inputs without their name
        has = {name for name in ("pixel_values", "region_features") if model_kwargs.get(name) is not None}
        if inputs is None and "encoder_outputs" not in model_kwargs:
            if len(has) != 1:
                raise ValueError(
                    "Pass exactly one of `pixel_values` and `region_features` (or `encoder_outputs`) to `generate()`, "
                    f"got {sorted(has) or 'none of them'}."
                )
            if has == {"region_features"}:
                model_kwargs.pop("pixel_values", None)
                return model_kwargs.pop("region_features"), "region_features", model_kwargs
        return super()._prepare_model_inputs(inputs, bos_token_id, model_kwargs)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: EncoderOutput | None = None,
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
        The arguments of [`AttentionCaptionerModel.forward`], and for the loss those of
        [`AttentionConditionalGenerationModel.run`]: `labels` are the caption's tokens.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)`;
            `cross_attentions`, a tuple of one tensor of shape `(rows, heads, target, regions)`.

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
            pixel_values=pixel_values,
            region_features=region_features,
            region_mask=region_mask,
            region_boxes=region_boxes,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
        )


declare(
    AttentionCaptionerConfig,
    classes={
        AutoModel: AttentionCaptionerModel,
        AutoModelForImageTextToText: AttentionCaptionerForConditionalGeneration,
    },
    processor=AttentionCaptionerProcessor,
    pipelines=[ImageToTextPipeline],
)
