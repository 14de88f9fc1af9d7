"""An image and a question about it as the memory that a decoder attends to, and as one vector."""

import torch
from torch import nn

from .arguments import refuse_unknown
from .configuration_attention_vqa import AttentionVQAConfig
from .dropout import Dropout
from .image_encoder import ImageEncoder
from .outputs import AttentionVQAModelOutput
from .question_attention import QUESTION_ATTENTION_CLASSES
from .question_encoder import PretrainedQuestionEncoder, RecurrentQuestionEncoder
from .recomputation import RecomputesRecurrences


class AttentionVQAEncoder(RecomputesRecurrences):
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
        self.reads_by_recurrence = config.question_encoder_config is None
        question_encoder_class = RecurrentQuestionEncoder if self.reads_by_recurrence else PretrainedQuestionEncoder
        self.question_encoder = question_encoder_class(config)
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
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs,
    ) -> AttentionVQAModelOutput | tuple:
        """
        The image's arguments are those of [`ImageEncoder.forward`], and

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, words)`):
                The questions. `batch` may be a multiple of the number of images: then as many questions in turn belong
                to each image, which is encoded once.
            attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*):
                0 where a token is padding.
            output_attentions (`bool`, *optional*, defaults to `False`):
                Whether to return a map for each glimpse.
            output_hidden_states (`bool`, *optional*, defaults to `False`):
                Whether to return the hidden states of the question encoder, and of the image encoder.

        Returns:
            [`AttentionVQAModelOutput`]

        Raises:
            ValueError: Where question or image is missing, the questions are no multiple of the images, or an image is
                masked as a whole.
        """
        refuse_unknown(kwargs)
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
            pixel_values,
            region_features,
            region_mask,
            region_boxes,
            normalize=self.config.normalize_regions,
            output_hidden_states=output_hidden_states,
        )
        regions = image.last_hidden_state
        read = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "output_hidden_states": output_hidden_states,
        }
        if self.reads_by_recurrence:
            words, question, hidden_states = self.run_recurrence(self.question_encoder, **read)
        else:
            words, question, hidden_states = self.question_encoder(**read)

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
            hidden_states=hidden_states,
            pooler_output=joint,
            attentions=maps if output_attentions else None,
            is_region=torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device),
            image_hidden_states=image.hidden_states,
        )
        if self.word_projection is not None:
            output = self._add_words(output, self.word_projection(words), attention_mask)
        return output if return_dict else output.all_fields()

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
