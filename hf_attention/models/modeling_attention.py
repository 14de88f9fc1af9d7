"""What the models of this package have in common."""

import os
from collections.abc import Callable
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import CompileConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, logging
from typing_extensions import Self

from .cache import RecurrentCache
from .compiled_steps import CompiledOrPlain
from .configuration_attention import AttentionDecoderConfig, check_token_ids, start_token_id
from .freezing import StartsFrozen
from .loss import doubly_stochastic_loss
from .outputs import AttentionModelOutput, EncoderOutput
from .prediction import predict_tokens
from .recomputation import RecomputesRecurrences
from .recording import is_recording
from .versions import (
    CACHE_NAME,
    BasePreTrainedModel,
    Seq2SeqLMOutput,
    explaining_untested_versions,
    names_of_backbones,
)


logger = logging.get_logger(__name__)


class AttentionPreTrainedModel(BasePreTrainedModel):
    """Weights initialisation, and how targets become decoder inputs."""

    config_class = AttentionDecoderConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _has_checked_ends = False
    # Within these a state, or what was computed of a memory, goes from module to module.
    _no_split_modules = [
        "AttentionDecoder",
        "TextEncoder",
        "RecurrentQuestionEncoder",
        "StackedAttention",
        "GlimpseAttention",
        "BilinearAttention",
        "TopDownAttention",
        "NoAttention",
    ]

    def post_init(self) -> None:
        """As any model's. What a plan for several devices must not cut in a backbone or text encoder is added."""
        whole = set(self._no_split_modules)
        for part in self.modules():
            if isinstance(part, PreTrainedModel):
                # Of one that names no layers, no cut is known to be safe.
                whole.update(part._no_split_modules or [type(part).__name__])
        self._no_split_modules = whole
        super().post_init()

    @property
    def _takes_attn_implementation(self) -> bool:
        """
        Whether an `attn_implementation` is asked for that a backbone or text encoder is to have, which itself says
        which it takes. Where none is asked for, each part has its own default, and this model's attention is eager.
        """
        parts = (getattr(self.config, name, None) for name in self.config.sub_configs)
        return self.config._attn_implementation is not None and any(part is not None for part in parts)

    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _takes_attn_implementation

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
                    is_base_model = issubclass(cls, AttentionEncoderModel)
                    renamed = names_of_backbones(pretrained_model_name_or_path, is_base_model, **kwargs)
                    kwargs["key_mapping"] = {**renamed, **(kwargs.get("key_mapping") or {})} or None
                loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        except SafetensorError as error:
            raise ValueError(
                f"The safetensors file of {str(pretrained_model_name_or_path)!r} is cut short or damaged, copy or "
                f"download it again: {error}"
            ) from error
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.can_generate():
            model.leave_tokens_to_the_config()
        for module in model.modules():
            if isinstance(module, StartsFrozen):
                module.freeze()  # loading puts new parameters in place
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            weight = torch.empty_like(module.weight)
            nn.init.uniform_(weight, -self.config.initializer_range, self.config.initializer_range)
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

    def get_compiled_call(self, compile_config: CompileConfig | None) -> Callable[..., Any]:
        """
        As [`~transformers.PreTrainedModel.get_compiled_call`]. Where nothing can be compiled, it is told once, and the
        model is called as it is.
        """
        compiled = super().get_compiled_call(compile_config)
        if getattr(compiled, "model", None) is not self:  # none so far, or that of the model that this is a copy of
            del self._compiled_call
            self._compiled_call = compiled = CompiledOrPlain(super().get_compiled_call(compile_config), self)
        return compiled

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """
        As [`~transformers.PreTrainedModel.resize_token_embeddings`], for the tokens that are read, those that the
        decoder reads, and the output.

        Raises:
            ValueError: Where a special token of the configuration would be cut off.
        """
        if new_num_tokens is not None:
            check_token_ids(self.config, new_num_tokens)
        decoder = self.get_decoder()
        table = getattr(decoder, "embed_tokens", None)
        if table is not None and table.weight is not self.get_input_embeddings().weight:
            decoder.embed_tokens = self.resized_table(table, new_num_tokens, pad_to_multiple_of, mean_resizing)
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    def resized_table(self, table: nn.Embedding, *args) -> nn.Embedding:
        """
        A table of embeddings with another number of tokens, to be trained where the old one is.

        Args:
            table (`nn.Embedding`): The old one.
            args: The arguments of `resize_token_embeddings`.
        """
        return self._get_resized_embeddings(table, *args).requires_grad_(table.weight.requires_grad)

    def _check_ends(self, labels: torch.LongTensor, ends: int | list[int] | None) -> None:
        """Of the first labels it is told where none has an end: that a model is trained so is seen by them."""
        if self._has_checked_ends or is_recording():
            return
        self._has_checked_ends = True
        if ends is not None and not torch.isin(labels, torch.tensor(ends, device=labels.device)).any():
            logger.warning(
                f"No row of `labels` has an end token, `eos_token_id={ends}`: the model will not learn where to stop. "
                "The tokenizer must close its texts, as `AttentionSeq2SeqTokenizer.from_tokenizers(tokenizer, "
                "tokenizer)` does, and `eos_token_id` be the token that it closes them with."
            )

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """
        Shifts labels right: teacher forcing. The decoder is started as `generate()` starts it: with
        `decoder_start_token_id`, or where that is `None` with `bos_token_id`, else with the padding.

        Args:
            labels (`torch.LongTensor` of shape `(rows, target)`):
                Targets; -100 becomes padding, or where there is none the start token.

        Returns:
            `torch.LongTensor` of shape `(rows, target)`: The start token, then all labels but the last.

        Raises:
            ValueError: Where the configuration has no start token, or `generate()` would start with another.
        """
        start, pad = start_token_id(vars(self.config)), self.config.pad_token_id
        if start is None:
            raise ValueError(
                "The decoder has no token to start with: set `decoder_start_token_id` in the configuration."
            )
        generated = self.special_tokens() if self.can_generate() else vars(self.config)
        generated_from = start_token_id(generated)
        if generated_from != start:
            raise ValueError(
                f"`config` starts the decoder with {start}, `generation_config` with {generated_from}: give "
                "`decoder_start_token_id` the same value in both, so that the model generates as it is trained."
            )
        self._check_ends(labels, generated["eos_token_id"])
        first = labels.new_full((labels.shape[0], 1), start)
        return torch.cat([first, labels[:, :-1].masked_fill(labels[:, :-1] == -100, start if pad is None else pad)], 1)


class AttentionEncoderModel(AttentionPreTrainedModel):
    """An encoder, which makes a memory. Subclasses set `encoder`, and name its inputs in their `forward`."""


class AttentionEncoderDecoderModel(AttentionEncoderModel, RecomputesRecurrences):
    """
    An encoder, which makes a memory, and the attentive decoder. Subclasses set `encoder` and `decoder`, and name the
    encoder's inputs in their `forward`.
    """

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
        return encoder_outputs if isinstance(encoder_outputs, dict) else EncoderOutput(*encoder_outputs[:4])

    def run(
        self,
        encoder_inputs: dict[str, Any],
        encoder_outputs: ModelOutput | tuple | None,
        decoder_input_ids: torch.LongTensor | None,
        decoder_inputs_embeds: torch.FloatTensor | None,
        decoder_attention_mask: torch.Tensor | None,
        cache: RecurrentCache | None,
        use_cache: bool | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None = None,
    ) -> AttentionModelOutput:
        """
        `forward`, once the subclass has sorted its arguments.

        Args:
            encoder_inputs (`dict`):
                The encoder's arguments.
            encoder_outputs ([`EncoderOutput`], *optional*):
                The memory, in place of what the encoder reads.
            decoder_input_ids (`torch.LongTensor` of shape `(rows, target)`, *optional*):
                The tokens so far. `rows` may be a multiple of the memory's `batch`: then as many rows in turn belong
                to each image, source or question.
            decoder_inputs_embeds (`torch.FloatTensor` of shape `(rows, target, embedding_size)`, *optional*):
                Embeddings in place of `decoder_input_ids`.
            decoder_attention_mask (`torch.Tensor` of shape `(rows, target)`, *optional*):
                0 where a token is padding.
            cache ([`RecurrentCache`], *optional*):
                Where to go on from. `past_key_values` is another name of it.
            use_cache (`bool`, *optional*):
                Whether to return the state. Defaults to `config.use_cache`, except in training and where there are
                labels.
            output_attentions (`bool`, *optional*):
                Whether to return the attention weights as `cross_attentions`, a tuple of one tensor of shape `(rows,
                heads, target, positions)`, and those of the encoder where it has any.
            output_hidden_states (`bool`, *optional*):
                Whether to return the embeddings and the states of every layer: `encoder_hidden_states`, as in
                [`EncoderOutput`], and `decoder_hidden_states`, as in [`AttentionDecoderOutput`].

        Returns:
            [`AttentionModelOutput`]
        """
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        use_cache = (self.config.use_cache and not self.training) if use_cache is None else use_cache
        if use_cache and cache is None:
            cache = RecurrentCache()
        returned = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        encoder_outputs = self.encode({**encoder_inputs, **returned}, encoder_outputs)
        memory_mask = encoder_outputs.get("memory_mask")
        outputs = self.run_recurrence(
            self.decoder,
            memory=encoder_outputs.last_hidden_state,
            memory_mask=memory_mask,
            input_ids=decoder_input_ids,
            inputs_embeds=decoder_inputs_embeds,
            attention_mask=decoder_attention_mask,
            cache=cache,
            **returned,
            initial_states=encoder_outputs.get("initial_states"),
        )
        return AttentionModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE_NAME: cache},
            decoder_hidden_states=outputs.hidden_states,
            # Empty rather than None: assisted decoding goes over them.
            decoder_attentions=() if output_attentions else None,
            cross_attentions=(outputs.cross_attentions or ()) if output_attentions else None,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.get("hidden_states") if output_hidden_states else None,
            encoder_attentions=encoder_outputs.get("attentions") if output_attentions else None,
            memory_mask=memory_mask if output_attentions and self.config.doubly_stochastic_penalty > 0 else None,
        )


class AttentionConditionalGenerationModel(AttentionPreTrainedModel):
    """
    A model with its output embedding. Subclasses set `model`, an [`AttentionEncoderDecoderModel`], and `lm_head`, and
    name the arguments of both in their `forward`.
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}

    def run(
        self,
        labels: torch.LongTensor | None,
        logits_to_keep: int | torch.LongTensor,
        num_items_in_batch: int | torch.Tensor | None,
        decoder_input_ids: torch.LongTensor | None,
        decoder_inputs_embeds: torch.FloatTensor | None,
        use_cache: bool | None,
        output_attentions: bool | None,
        token_weights: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **inputs,
    ) -> Seq2SeqLMOutput:
        """
        `forward`, once the subclass has named its arguments.

        Args:
            labels (`torch.LongTensor` of shape `(rows, target)`, *optional*):
                The tokens to predict with the closing one, -100 where there is none. Without `decoder_input_ids` they
                are shifted right into them. In training only the loss is returned: `logits` is `None`.
            logits_to_keep (`int` or `torch.LongTensor`, *optional*, defaults to 0):
                How many of the last steps' logits to return, or which steps'; 0 for all.
            num_items_in_batch (`int` or `torch.Tensor`, *optional*):
                What the summed loss is divided by: the number of labels over all accumulated batches. Defaults to the
                number of labels in this one.
            token_weights (`torch.Tensor` of shape `(rows, target)`, *optional*):
                What the loss of each label counts: the advantages of a policy gradient. With them only the loss is
                returned, and smoothed in training only. `Trainer` takes every argument whose name has "label" in it
                for a label that must be there.
            decoder_input_ids, decoder_inputs_embeds, use_cache, output_attentions, output_hidden_states, inputs:
                As the `forward` of `model` takes them.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)`.

        Raises:
            ValueError: Where neither decoder inputs nor labels are given.
        """
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            if labels is None:
                raise ValueError("Pass `decoder_input_ids` or `labels`: the decoder has no words to go on from.")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        config = self.config
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        is_penalised = labels is not None and self.training and config.doubly_stochastic_penalty > 0
        outputs = self.model(
            **inputs,
            decoder_input_ids=decoder_input_ids,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=False if use_cache is None and labels is not None else use_cache,
            output_attentions=output_attentions or is_penalised,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        penalty = None
        if is_penalised:
            stochastic = doubly_stochastic_loss(outputs.cross_attentions[0], labels, outputs.memory_mask)
            penalty = config.doubly_stochastic_penalty * stochastic
        loss, logits = predict_tokens(
            outputs.last_hidden_state,
            self.lm_head,
            labels,
            training=self.training,
            label_smoothing=config.label_smoothing,
            logits_to_keep=logits_to_keep,
            num_items_in_batch=num_items_in_batch,
            token_weights=token_weights,
            penalty=penalty,
        )
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            **{CACHE_NAME: outputs.cache},
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions if output_attentions else None,
            cross_attentions=outputs.cross_attentions if output_attentions else None,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions if output_attentions else None,
        )
