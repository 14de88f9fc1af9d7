"""What the models of this package have in common."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import ModelOutput
from typing_extensions import Self

from .cache import RecurrentCache
from .configuration_attention import AttentionDecoderConfig
from .loss import doubly_stochastic_loss, summed_token_loss
from .versions import (
    CACHE_NAME,
    BasePreTrainedModel,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
    explaining_untested_versions,
    names_of_backbones,
)


@dataclass
class EncoderOutput(ModelOutput):
    """
    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch, positions, memory_size)`):
            The memory.
        memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*):
            1 where a position may be attended to.
        initial_states (`torch.FloatTensor` of shape `(batch, states, hidden_size)`, *optional*):
            What the decoder starts from, where the encoder says: the states of all layers, then for an LSTM the cells.
    """

    last_hidden_state: torch.FloatTensor | None = None
    memory_mask: torch.Tensor | None = None
    initial_states: torch.FloatTensor | None = None


class AttentionPreTrainedModel(BasePreTrainedModel):
    """Weights initialisation, and how targets become decoder inputs."""

    config_class = AttentionDecoderConfig
    base_model_prefix = "model"

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args, **kwargs) -> Self:
        """
        As [`~transformers.PreTrainedModel.from_pretrained`].

        Raises:
            ValueError: Where a file of weights is damaged.
        """
        try:
            with explaining_untested_versions():
                if pretrained_model_name_or_path is not None:
                    is_base_model = issubclass(cls, AttentionEncoderDecoderModel)
                    renamed = names_of_backbones(pretrained_model_name_or_path, is_base_model, **kwargs)
                    kwargs["key_mapping"] = {**renamed, **(kwargs.get("key_mapping") or {})} or None
                return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        except SafetensorError as error:
            raise ValueError(
                f"The safetensors file of {str(pretrained_model_name_or_path)!r} is cut short or damaged, copy or "
                f"download it again: {error}"
            ) from error

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            weight = torch.empty_like(module.weight)
            nn.init.uniform_(weight, -self.config.initializer_range, self.config.initializer_range)
            if module.padding_idx is not None:
                weight[module.padding_idx] = 0
            init.copy_(module.weight, weight)
        elif isinstance(module, nn.LSTM | nn.GRU):
            bound = module.hidden_size**-0.5
            for name, parameter in module.named_parameters():
                if name.startswith("weight"):
                    init.uniform_(parameter, -bound, bound)
                    continue
                bias = torch.zeros_like(parameter)
                if module.mode == "LSTM" and name.startswith("bias_ih"):
                    bias[module.hidden_size : 2 * module.hidden_size] = 1  # remember, until told to forget
                init.copy_(parameter, bias)
        else:
            super()._init_weights(module)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """
        Shifts labels right: teacher forcing.

        Args:
            labels (`torch.LongTensor` of shape `(rows, target)`): Targets; -100 becomes padding.

        Returns:
            `torch.LongTensor` of shape `(rows, target)`: The start token, then all labels but the last.
        """
        start = labels.new_full((labels.shape[0], 1), self.config.decoder_start_token_id)
        return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == -100, self.config.pad_token_id)], 1)


class AttentionEncoderDecoderModel(AttentionPreTrainedModel):
    """
    An encoder, which makes a memory, and the attentive decoder. Subclasses set `encoder` and `decoder`, and name the
    encoder's inputs in their `forward`.
    """

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.encoder

    def get_input_embeddings(self) -> nn.Embedding:
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.decoder.embed_tokens = value

    def encode(self, encoder_inputs: dict[str, Any], encoder_outputs: ModelOutput | tuple | None) -> EncoderOutput:
        """
        The memory.

        Args:
            encoder_inputs (`dict`): The encoder's arguments.
            encoder_outputs ([`EncoderOutput`] or `tuple`, *optional*): The memory, where it is known already.
        """
        if encoder_outputs is None:
            return self.encoder(**encoder_inputs)
        return encoder_outputs if isinstance(encoder_outputs, dict) else EncoderOutput(*encoder_outputs)

    def decode(
        self,
        encoder_outputs: EncoderOutput,
        decoder_input_ids: torch.LongTensor | None,
        decoder_inputs_embeds: torch.FloatTensor | None,
        decoder_attention_mask: torch.Tensor | None,
        cache: RecurrentCache | None,
        use_cache: bool | None,
        output_attentions: bool,
    ) -> Seq2SeqModelOutput:
        """Runs the decoder over a memory; the arguments are those of the models' `forward`."""
        use_cache = (self.config.use_cache and not self.training) if use_cache is None else use_cache
        if use_cache and cache is None:
            cache = RecurrentCache()
        outputs = self.decoder(
            memory=encoder_outputs.last_hidden_state,
            memory_mask=encoder_outputs.get("memory_mask"),
            input_ids=decoder_input_ids,
            inputs_embeds=decoder_inputs_embeds,
            attention_mask=decoder_attention_mask,
            cache=cache,
            output_attentions=output_attentions,
            initial_states=encoder_outputs.get("initial_states"),
        )
        return Seq2SeqModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE_NAME: cache},
            # Empty rather than None: assisted decoding goes over them.
            decoder_attentions=() if output_attentions else None,
            cross_attentions=(outputs.cross_attentions or ()) if output_attentions else None,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
        )

    def run(
        self,
        encoder_inputs: dict[str, Any],
        encoder_outputs: ModelOutput | tuple | None,
        output_attentions: bool | None,
        return_dict: bool | None,
        **decoder_inputs,
    ) -> Seq2SeqModelOutput | tuple:
        """`forward`, once the subclass has sorted its arguments."""
        return_dict = self.config.return_dict if return_dict is None else return_dict
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        encoder_outputs = self.encode(encoder_inputs, encoder_outputs)
        output = self.decode(encoder_outputs, output_attentions=output_attentions, **decoder_inputs)
        return output if return_dict else output.to_tuple()


class AttentionConditionalGenerationModel(AttentionPreTrainedModel):
    """
    A model with its output embedding. Subclasses set `model`, an [`AttentionEncoderDecoderModel`], and `lm_head`, and
    name the encoder's inputs in their `forward`.
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.model.encoder

    def run(
        self,
        encoder_inputs: dict[str, Any],
        encoder_outputs: ModelOutput | tuple | None,
        labels: torch.LongTensor | None,
        output_attentions: bool | None,
        return_dict: bool | None,
        logits_to_keep: int,
        num_items_in_batch: int | torch.Tensor | None,
        decoder_input_ids: torch.LongTensor | None,
        decoder_inputs_embeds: torch.FloatTensor | None,
        label_weights: torch.Tensor | None = None,
        **decoder_inputs,
    ) -> Seq2SeqLMOutput | tuple:
        """`forward`, once the subclass has sorted its arguments."""
        return_dict = self.config.return_dict if return_dict is None else return_dict
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        penalised = labels is not None and self.training and self.config.doubly_stochastic_penalty > 0
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            if labels is None:
                raise ValueError("Pass `decoder_input_ids` or `labels`: the decoder has no words to go on from.")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        encoder_outputs = self.model.encode(encoder_inputs, encoder_outputs)
        outputs = self.model.decode(
            encoder_outputs,
            decoder_input_ids=decoder_input_ids,
            decoder_inputs_embeds=decoder_inputs_embeds,
            output_attentions=output_attentions or penalised,
            **decoder_inputs,
        )
        hidden_states = outputs.last_hidden_state
        loss = logits = None
        if labels is not None:
            num_items = (labels != -100).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        if labels is not None and (self.training or label_weights is not None):
            smoothing = self.config.label_smoothing if self.training else 0.0
            loss = summed_token_loss(hidden_states, self.lm_head, labels, smoothing, label_weights)
            if penalised:
                memory_mask = encoder_outputs.get("memory_mask")
                penalty = doubly_stochastic_loss(outputs.cross_attentions[0], labels, memory_mask)
                loss = loss + self.config.doubly_stochastic_penalty * penalty
            loss = loss / num_items
        elif labels is not None:
            logits = self.lm_head(hidden_states)
            loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum") / num_items
            logits = logits[:, -logits_to_keep:]
        else:
            logits = self.lm_head(hidden_states[:, -logits_to_keep:])
        output = Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            **{CACHE_NAME: outputs.cache},
            decoder_attentions=outputs.decoder_attentions if output_attentions else None,
            cross_attentions=outputs.cross_attentions if output_attentions else None,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
        )
        return output if return_dict else output.to_tuple()
