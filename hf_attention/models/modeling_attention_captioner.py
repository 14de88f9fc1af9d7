"""The image captioner: Show, Attend and Tell (Xu et al. 2015), and Show and Tell (Vinyals et al. 2015)."""

import os

import torch
from torch import nn
from transformers import AutoModel, AutoModelForImageTextToText, GenerationMixin
from typing_extensions import Self

from .cache import RecurrentCache
from .configuration_attention_captioner import AttentionCaptionerConfig
from .declaration import declare
from .decoder import AttentionDecoder
from .generation import AttentionGenerationMixin
from .image_encoder import ImageEncoder, infer_region_shape, load_encoder
from .modeling_attention import (
    AttentionConditionalGenerationModel,
    AttentionEncoderDecoderModel,
    AttentionPreTrainedModel,
    EncoderOutput,
)
from .pipeline_image_to_text import ImageToTextPipeline
from .processing_attention_captioner import AttentionCaptionerProcessor
from .versions import Seq2SeqLMOutput, Seq2SeqModelOutput, takes_cache


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

    @takes_cache
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
        return_dict: bool | None = None,
        **kwargs,
    ) -> Seq2SeqModelOutput | tuple:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch, channels, height, width)`, *optional*):
                The images.
            region_features (`torch.FloatTensor` of shape `(batch, regions, region_size)`, *optional*):
                Features of their regions, in place of `pixel_values`.
            region_mask (`torch.Tensor` of shape `(batch, regions)`, *optional*):
                1 where a region is real, 0 where it is padding.
            region_boxes (`torch.FloatTensor` of shape `(batch, regions, 4)`, *optional*):
                Left, top, right, bottom of each region, as shares of width and height.
            decoder_input_ids (`torch.LongTensor` of shape `(rows, target)`, *optional*):
                The tokens so far. `rows` may be a multiple of `batch`: then as many rows in turn belong to each image.
            decoder_attention_mask (`torch.Tensor` of shape `(rows, target)`, *optional*):
                0 where a token is padding.
            encoder_outputs ([`EncoderOutput`], *optional*):
                The memory, in place of images and regions.
            cache ([`RecurrentCache`], *optional*):
                Where to go on from. `past_key_values` is another name of it.
            decoder_inputs_embeds (`torch.FloatTensor` of shape `(rows, target, embedding_size)`, *optional*):
                Embeddings in place of `decoder_input_ids`.
            use_cache (`bool`, *optional*):
                Whether to return the state. Defaults to `config.use_cache`, except in training.
            output_attentions (`bool`, *optional*):
                Whether to return the attention weights as `cross_attentions`, a tuple of one tensor of shape `(rows,
                heads, target, regions)`.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqModelOutput`]
        """
        return self.run(
            {
                "pixel_values": pixel_values,
                "region_features": region_features,
                "region_mask": region_mask,
                "region_boxes": region_boxes,
            },
            encoder_outputs,
            decoder_input_ids=decoder_input_ids,
            decoder_inputs_embeds=decoder_inputs_embeds,
            decoder_attention_mask=decoder_attention_mask,
            cache=cache,
            use_cache=use_cache,
            output_attentions=output_attentions,
            return_dict=return_dict,
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
        config.region_size = infer_region_shape(backbone.config)[1]
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
        return_dict: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: int | torch.Tensor | None = None,
        label_weights: torch.Tensor | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput | tuple:
        """
        The arguments of [`AttentionCaptionerModel.forward`], and

        Args:
            labels (`torch.LongTensor` of shape `(rows, target)`, *optional*):
                The caption's tokens with the closing one, -100 where there is none. Without `decoder_input_ids` they
                are shifted right into them. In training only the loss is returned: `logits` is `None`.
            logits_to_keep (`int`, *optional*, defaults to 0):
                How many of the last steps' logits to compute; 0 for all.
            num_items_in_batch (`int` or `torch.Tensor`, *optional*):
                What the summed loss is divided by: the number of labels over all accumulated batches. Defaults to the
                number of labels in this one.
            label_weights (`torch.Tensor` of shape `(rows, target)`, *optional*):
                What the loss of each label counts: the advantages of a policy gradient. With them only the
                loss is returned, and smoothed in training only.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)`;
            `cross_attentions`, a tuple of one tensor of shape `(rows, heads, target, regions)`.

        Raises:
            ValueError: Where neither decoder inputs nor labels are given.
        """
        return self.run(
            {
                "pixel_values": pixel_values,
                "region_features": region_features,
                "region_mask": region_mask,
                "region_boxes": region_boxes,
            },
            encoder_outputs,
            decoder_input_ids=decoder_input_ids,
            decoder_inputs_embeds=decoder_inputs_embeds,
            decoder_attention_mask=decoder_attention_mask,
            cache=cache,
            use_cache=use_cache,
            output_attentions=output_attentions,
            return_dict=return_dict,
            labels=labels,
            logits_to_keep=logits_to_keep,
            num_items_in_batch=num_items_in_batch,
            label_weights=label_weights,
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
