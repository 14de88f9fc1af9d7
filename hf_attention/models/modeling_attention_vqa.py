"""Visual question answering: a question guides where the image is looked at."""

import os
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, GenerationMixin
from transformers.modeling_outputs import SequenceClassifierOutput
from typing_extensions import Self

from .cache import RecurrentCache
from .configuration_attention_vqa import AttentionVQAConfig
from .decoder import AttentionDecoder
from .dropout import Dropout
from .generation import AttentionGenerationMixin
from .image_encoder import ImageEncoder, infer_region_shape, load_encoder
from .modeling_attention import (
    AttentionConditionalGenerationModel,
    AttentionEncoderDecoderModel,
    AttentionPreTrainedModel,
    EncoderOutput,
)
from .question_attention import QUESTION_ATTENTION_CLASSES
from .text_encoder import TextEncoder
from .versions import Seq2SeqLMOutput, explained, takes_cache


@dataclass
class AttentionVQAModelOutput(EncoderOutput):
    """
    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch, positions, memory_size)`):
            The regions; in the generating model the question's words behind them.
        memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*):
            1 where a position may be attended to.
        initial_states (`torch.FloatTensor` of shape `(batch, states, hidden_size)`, *optional*):
            What the generating model's decoder starts from.
        pooler_output (`torch.FloatTensor` of shape `(batch, joint_size)`, *optional*):
            The joint vector of question and image.
        attentions (`tuple` of `torch.FloatTensor` of shape `(batch, regions)`, *optional*):
            One map for each glimpse.
        is_region (`torch.BoolTensor` of shape `(batch, positions)`, *optional*):
            Which positions of the memory are regions; the others are words.
    """

    pooler_output: torch.FloatTensor | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    is_region: torch.BoolTensor | None = None


class RecurrentQuestionEncoder(TextEncoder):
    """An LSTM or GRU: the states of the words, and the last ones as the question's vector."""

    def forward(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, words)`): The question's tokens.
            attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*): 0 where a token is padding.

        Returns:
            `tuple`: the words' states, of shape `(batch, words, question_size)`, and the question's vector, of shape
            `(batch, question_size)`.
        """
        words, states = self.read(input_ids, attention_mask)
        return words, states[0][:, -1].flatten(1)


class PretrainedQuestionEncoder(nn.Module):
    """Any text encoder of `AutoModel`: its last hidden states, and their mean as the question's vector."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.encoder = AutoModel.from_config(config.question_encoder_config)
        self._freeze()

    def _freeze(self) -> None:
        if self.config.freeze_question_encoder:
            self.encoder.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "PretrainedQuestionEncoder":
        """As any module's; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def forward(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As [`RecurrentQuestionEncoder.forward`]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_question_encoder):
            words = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if attention_mask is None:
            return words, words.mean(1)
        mask = attention_mask.to(words.dtype).unsqueeze(-1)
        return words, (words * mask).sum(1) / mask.sum(1)

    @property
    def embed_tokens(self) -> nn.Embedding:
        return self.encoder.get_input_embeddings()

    @embed_tokens.setter
    def embed_tokens(self, value: nn.Embedding) -> None:
        self.encoder.set_input_embeddings(value)


class AttentionVQAEncoder(nn.Module):
    """
    Image and question, and what the question saw in the image.

    Args:
        config ([`AttentionVQAConfig`]): The configuration. An unknown `region_size` is filled in.
        generating (`bool`): Whether a decoder attends to what it makes.
    """

    main_input_name = "input_ids"

    def __init__(self, config: AttentionVQAConfig, generating: bool):
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        is_recurrent = config.question_encoder_config is None
        self.question_encoder = (RecurrentQuestionEncoder if is_recurrent else PretrainedQuestionEncoder)(config)
        self.question_dropout = Dropout(config.question_dropout)
        self.question_attention = self.word_projection = self.initial_state = None
        if not generating or config.initial_state == "joint":
            self.question_attention = QUESTION_ATTENTION_CLASSES[config.attention_form](config)
        if generating:
            self.word_projection = nn.Sequential(
                nn.Linear(config.question_size, config.memory_size), nn.ReLU(), nn.LayerNorm(config.memory_size)
            )
            if config.initial_state == "joint":
                self.num_states = config.num_hidden_layers * (2 if config.rnn_type == "lstm" else 1)
                self.initial_state = nn.Linear(config.joint_size, self.num_states * config.hidden_size)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        region_features: torch.Tensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.Tensor | None = None,
        output_attentions: bool = False,
        return_dict: bool = True,
        **kwargs,
    ) -> AttentionVQAModelOutput | tuple:
        """
        The arguments of [`AttentionVQAModel.forward`].

        Returns:
            [`AttentionVQAModelOutput`]

        Raises:
            ValueError: Where question or image is missing, the questions are no multiple of the images, or an image is
                masked as a whole.
        """
        if input_ids is None:
            raise ValueError("Pass `input_ids` beside `pixel_values` or `region_features`: there is no question.")
        if pixel_values is None and region_features is None:
            raise ValueError("Pass `pixel_values` or `region_features`: there is no image.")
        images = (pixel_values if region_features is None else region_features).shape[0]
        questions = input_ids.shape[0]
        if not images or questions % images:
            raise ValueError(
                f"Every image needs as many questions as the next: got {questions} questions and {images} images."
            )
        image = self.image_encoder(
            pixel_values, region_features, region_mask, region_boxes, normalize=self.config.normalize_regions
        )
        regions = image.last_hidden_state
        words, question = self.question_encoder(input_ids, attention_mask)

        joint = maps = None
        if self.question_attention is not None:
            joint, maps = self.question_attention(self.question_dropout(question), regions, region_mask)
        if questions > images:
            regions = regions.repeat_interleave(questions // images, 0)
            if region_mask is not None:
                region_mask = region_mask.repeat_interleave(questions // images, 0)
        output = AttentionVQAModelOutput(
            last_hidden_state=regions,
            memory_mask=region_mask,
            pooler_output=joint,
            attentions=maps if output_attentions else None,
            is_region=torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device),
        )
        if self.word_projection is not None:
            output = self._add_words(output, self.word_projection(words), attention_mask)
        return output if return_dict else output.to_tuple()

    def _add_words(
        self, output: AttentionVQAModelOutput, words: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> AttentionVQAModelOutput:
        region_mask = output.memory_mask
        is_region = torch.cat([output.is_region, output.is_region.new_zeros(words.shape[:2])], 1)
        mask = None
        if region_mask is not None or attention_mask is not None:
            mask = torch.ones_like(is_region, dtype=torch.long)
            if region_mask is not None:
                mask[:, : region_mask.shape[1]] = region_mask
            if attention_mask is not None:
                mask[:, -attention_mask.shape[1] :] = attention_mask
        output["last_hidden_state"] = torch.cat([output.last_hidden_state, words.to(output.last_hidden_state)], 1)
        output["memory_mask"] = mask
        output["is_region"] = is_region
        if self.initial_state is not None:
            states = self.initial_state(output.pooler_output).tanh()
            output["initial_states"] = states.unflatten(1, (self.num_states, -1))
        return output


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
        model, info = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        heads = {"classifier": "AttentionVQAForQuestionAnswering", "lm_head": "AttentionVQAForConditionalGeneration"}
        other = {heads[part] for name in info["unexpected_keys"] if (part := name.split(".")[0]) in heads}
        if other and info["missing_keys"]:
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} is a checkpoint of {other.pop()}: {cls.__name__} would be "
                "left with random weights."
            )
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
            fields |= {"backbone_config": backbone.config, "region_size": infer_region_shape(backbone.config)[1]}
        if question_encoder_name_or_path is not None:
            encoder = load_encoder(question_encoder_name_or_path, "text_config", **(question_encoder_kwargs or {}))
            parts["question_encoder.encoder"] = encoder
            fields |= {"question_encoder_config": encoder.config}
        model = cls(AttentionVQAConfig(**fields))
        for name, part in parts.items():
            model.get_encoder().get_submodule(name).load_state_dict(part.state_dict())
        return model

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """As [`~transformers.PreTrainedModel.resize_token_embeddings`], for question and generated answer alike."""
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        encoder = self.get_encoder().question_encoder
        if encoder.embed_tokens.num_embeddings != embeddings.num_embeddings:
            encoder.embed_tokens = self._get_resized_embeddings(
                encoder.embed_tokens, embeddings.num_embeddings, mean_resizing=mean_resizing
            )
        return embeddings


class AttentionVQAModel(AttentionVQAPreTrainedModel, AttentionEncoderDecoderModel):
    """
    What both heads share: the encoders of image and question, and the attention between them.

    Args:
        config ([`AttentionVQAConfig`]):
            The configuration.
        add_decoder (`bool`, *optional*, defaults to `False`):
            Whether it has the decoder of the generating head, whose memory the question's words are part of.
    """

    def __init__(self, config: AttentionVQAConfig, add_decoder: bool = False):
        super().__init__(config)
        self.encoder = AttentionVQAEncoder(config, generating=add_decoder)
        self.decoder = AttentionDecoder(config) if add_decoder else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return (self.encoder.question_encoder if self.decoder is None else self.decoder).embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        (self.encoder.question_encoder if self.decoder is None else self.decoder).embed_tokens = value

    @explained
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        region_features: torch.FloatTensor | None = None,
        region_mask: torch.Tensor | None = None,
        region_boxes: torch.FloatTensor | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> AttentionVQAModelOutput | tuple:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, words)`):
                The questions. `batch` may be a multiple of the number of images: then as many questions in turn belong
                to each image, which is encoded once.
            attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*):
                0 where a token is padding.
            pixel_values (`torch.FloatTensor` of shape `(batch, channels, height, width)`, *optional*):
                The images.
            region_features (`torch.FloatTensor` of shape `(batch, regions, region_size)`, *optional*):
                Features of their regions, in place of `pixel_values`.
            region_mask (`torch.Tensor` of shape `(batch, regions)`, *optional*):
                1 where a region is real, 0 where it is padding.
            region_boxes (`torch.FloatTensor` of shape `(batch, regions, 4)`, *optional*):
                Left, top, right, bottom of each region, as shares of width and height.
            output_attentions (`bool`, *optional*):
                Whether to return a map for each glimpse.

        Returns:
            [`AttentionVQAModelOutput`]
        """
        return self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            region_features=region_features,
            region_mask=region_mask,
            region_boxes=region_boxes,
            output_attentions=self.config.output_attentions if output_attentions is None else output_attentions,
            return_dict=self.config.return_dict if return_dict is None else return_dict,
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

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.model.encoder

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """As any model, with the code of its pipeline: config.json names it for those without this package."""
        # The files that travel are found by their imports, and this is the pipeline's.
        from .pipeline_visual_question_answering import VisualQuestionAnsweringPipeline  # noqa: F401

        super().save_pretrained(save_directory, **kwargs)

    @explained
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
        return_dict: bool | None = None,
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
            `attentions`, a tuple of one tensor of shape `(batch, regions)` for each glimpse.

        Raises:
            ValueError: Where labels are of a wrong shape, or no known answers.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            region_features=region_features,
            region_mask=region_mask,
            region_boxes=region_boxes,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(self.joint_dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss, num_questions = self._summed_loss(logits, labels)
            loss = loss / (num_questions if num_items_in_batch is None else num_items_in_batch)
        output = SequenceClassifierOutput(loss=loss, logits=logits, attentions=outputs.attentions)
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def _summed_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss summed over questions, and their number."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        is_single = self.config.problem_type == "single_label_classification"
        label_smoothing = self.config.label_smoothing if self.training else 0.0
        if not labels.is_floating_point():
            if not is_single:
                raise ValueError(
                    f"`problem_type={self.config.problem_type!r}` needs a score for each answer as `labels`, of shape "
                    f"{tuple(logits.shape)} and a floating-point dtype, got {labels.dtype}."
                )
            num_answers = logits.shape[1]
            is_known = (labels == -100) | (labels >= 0) & (labels < num_answers)
            if labels.shape != logits.shape[:1] or not is_known.all():
                raise ValueError(
                    f"`labels` must be one answer for each of {len(logits)} questions, from 0 to {num_answers - 1}, "
                    f"or -100; got shape {tuple(labels.shape)}, from {labels.min()} to {labels.max()}."
                )
            num_questions = (labels != -100).sum().clamp(min=1)
            return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing), num_questions
        if labels.shape != logits.shape:
            raise ValueError(
                f"`labels` of scores must have shape {tuple(logits.shape)}, one for each answer, "
                f"got {tuple(labels.shape)}."
            )
        counts = (labels != -100).any(-1)
        logits, labels = logits[counts], labels[counts].to(logits.dtype)
        num_questions = counts.sum().clamp(min=1)
        is_possible = labels != -100
        labels = labels.masked_fill(~is_possible, 0)
        if not is_single:
            losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            return losses[is_possible].sum(), num_questions
        logits = logits.masked_fill(~is_possible, torch.finfo(logits.dtype).min)
        labels = torch.lerp(labels, is_possible / is_possible.sum(-1, keepdim=True).to(labels.dtype), label_smoothing)
        return F.cross_entropy(logits, labels, reduction="sum"), num_questions


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
        self.model = AttentionVQAModel(config, add_decoder=True)
        self.lm_head = nn.Linear(config.readout_size, config.vocab_size)
        self.post_init()
        self.set_generation_defaults(max_length=20)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """As any model, with the code of its pipeline: config.json names it for those without this package."""
        # The files that travel are found by their imports, and this is the pipeline's.
        from .pipeline_visual_question_answering import VisualQuestionAnsweringPipeline  # noqa: F401

        super().save_pretrained(save_directory, **kwargs)

    def _maybe_initialize_input_ids_for_generation(self, inputs, bos_token_id, model_kwargs):
        # transformers would make up a question of one start token.
        if inputs is None and model_kwargs.get("encoder_outputs") is None:
            raise ValueError(
                "Pass `input_ids` beside `pixel_values` or `region_features`, or `encoder_outputs`: there is no "
                "question."
            )
        return super()._maybe_initialize_input_ids_for_generation(inputs, bos_token_id, model_kwargs)

    @takes_cache
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
        return_dict: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput | tuple:
        """
        The arguments of [`AttentionVQAModel.forward`], and

        Args:
            decoder_input_ids (`torch.LongTensor` of shape `(rows, target)`, *optional*):
                The answer's tokens so far. `rows` may be a multiple of `batch`: then as many rows in turn belong to
                each question.
            decoder_attention_mask (`torch.Tensor` of shape `(rows, target)`, *optional*):
                0 where a token is padding.
            encoder_outputs ([`AttentionVQAModelOutput`], *optional*):
                The memory, in place of question and image.
            cache ([`RecurrentCache`], *optional*):
                Where to go on from. `past_key_values` is another name of it.
            decoder_inputs_embeds (`torch.FloatTensor` of shape `(rows, target, embedding_size)`, *optional*):
                Embeddings in place of `decoder_input_ids`.
            labels (`torch.LongTensor` of shape `(rows, target)`, *optional*):
                The answer's tokens with the closing one, -100 where there is none. Without `decoder_input_ids` they
                are shifted right into them. In training only the loss is returned: `logits` is `None`.
            use_cache (`bool`, *optional*):
                Whether to return the state. Defaults to `config.use_cache`, except in training.
            logits_to_keep (`int`, *optional*, defaults to 0):
                How many of the last steps' logits to compute; 0 for all.
            num_items_in_batch (`int` or `torch.Tensor`, *optional*):
                What the summed loss is divided by: the number of labels over all accumulated batches. Defaults to the
                number of labels in this one.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)`;
            `cross_attentions`, a tuple of one tensor of shape `(rows, heads, target, regions + words)`, the regions
            first, as the encoder's `is_region` says.

        Raises:
            ValueError: Where neither decoder inputs nor labels are given.
        """
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
        )


AttentionVQAConfig.register_for_auto_class()
AttentionVQAModel.register_for_auto_class("AutoModel")
AttentionVQAForQuestionAnswering.register_for_auto_class("AutoModelForVisualQuestionAnswering")
AttentionVQAForConditionalGeneration.register_for_auto_class("AutoModelForVisualQuestionAnswering")
