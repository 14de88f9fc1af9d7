"""Sequence to sequence with attention (Bahdanau et al. 2015; Luong et al. 2015)."""

import torch
from torch import nn
from transformers import AutoModel, AutoModelForSeq2SeqLM, GenerationMixin
from transformers.utils import can_return_tuple

from .arguments import refuse_unknown
from .cache import RecurrentCache
from .configuration_attention import check_token_ids
from .configuration_attention_seq2seq import AttentionSeq2SeqConfig
from .declaration import declare
from .decoder import AttentionDecoder
from .generation import AttentionGenerationMixin
from .modeling_attention import (
    AttentionConditionalGenerationModel,
    AttentionEncoderDecoderModel,
    AttentionPreTrainedModel,
)
from .outputs import AttentionModelOutput, EncoderOutput
from .pipeline_text2text import SummarizationPipeline, Text2TextGenerationPipeline, TranslationPipeline
from .text_encoder import TextEncoder
from .tokenization_attention_seq2seq import AttentionSeq2SeqTokenizer
from .versions import Seq2SeqLMOutput, takes_cache


class AttentionSeq2SeqPreTrainedModel(AttentionPreTrainedModel):
    config_class = AttentionSeq2SeqConfig
    main_input_name = "input_ids"
    input_modalities = ("text",)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """
        As [`~transformers.PreTrainedModel.resize_token_embeddings`], for the embeddings of source and target and the
        output. A source vocabulary of its own is left alone: see `resize_source_token_embeddings`.

        Returns:
            `nn.Embedding`: The source's, or where that is left alone the target's.
        """
        if self.config.source_vocab_size is None:
            return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        if new_num_tokens is not None:
            check_token_ids(self.config, new_num_tokens)
        decoder, head = self.get_decoder(), self.get_output_embeddings()
        table = self.resized_table(decoder.embed_tokens, new_num_tokens, pad_to_multiple_of, mean_resizing)
        decoder.embed_tokens, self.config.vocab_size = table, table.num_embeddings
        if head is not None:
            resized = self._get_resized_lm_head(head, table.num_embeddings, mean_resizing=mean_resizing)
            self.set_output_embeddings(resized.requires_grad_(head.weight.requires_grad))
        self.tie_weights()
        return table

    def resize_source_token_embeddings(self, new_num_tokens: int, mean_resizing: bool = True) -> nn.Embedding:
        """
        Resizes the embeddings of a source vocabulary of its own.

        Args:
            new_num_tokens (`int`): The new number of source tokens.
            mean_resizing (`bool`, *optional*, defaults to `True`): As in `resize_token_embeddings`.

        Raises:
            ValueError: Where source and target have one vocabulary.
        """
        if self.config.source_vocab_size is None:
            raise ValueError("Source and target have one vocabulary: use `resize_token_embeddings`.")
        encoder = self.get_encoder()
        encoder.embed_tokens = self.resized_table(encoder.embed_tokens, new_num_tokens, None, mean_resizing)
        self.config.source_vocab_size = new_num_tokens
        return encoder.embed_tokens


class AttentionSeq2SeqModel(AttentionSeq2SeqPreTrainedModel, AttentionEncoderDecoderModel):
    """
    The text encoder and the attentive decoder, without the output embedding.

    Args:
        config ([`AttentionSeq2SeqConfig`]): The configuration.
    """

    def __init__(self, config: AttentionSeq2SeqConfig):
        super().__init__(config)
        self.encoder = TextEncoder(config)
        self.decoder = AttentionDecoder(config)
        self.post_init()

    @property
    def _tied_weights_keys(self) -> dict[str, str]:
        if not self.config.share_encoder_decoder_embeddings:
            return {}
        return {"encoder.embed_tokens.weight": "decoder.embed_tokens.weight"}

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        # By itself transformers asks `tie_word_embeddings`, which is about the output.
        return super().get_expanded_tied_weights_keys(all_submodels=True) if all_submodels else self._tied_weights_keys

    def get_input_embeddings(self) -> nn.Embedding:
        """The source's, to which `input_ids` and `inputs_embeds` belong; the target's are the decoder's."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.embed_tokens = value
        if self.config.share_encoder_decoder_embeddings:
            self.decoder.embed_tokens = value

    def encode(self, encoder_inputs, encoder_outputs) -> EncoderOutput:
        if encoder_outputs is None:
            return self.run_recurrence(self.encoder, **encoder_inputs)
        outputs = super().encode(encoder_inputs, encoder_outputs)
        if outputs.get("memory_mask") is None and encoder_inputs["attention_mask"] is not None:
            # Another's encoder output, such as a `BaseModelOutput`, has no mask of its own.
            return EncoderOutput(
                outputs.last_hidden_state,
                encoder_inputs["attention_mask"],
                outputs.get("initial_states"),
                outputs.get("hidden_states"),
            )
        return outputs

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: EncoderOutput | None = None,
        cache: RecurrentCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> AttentionModelOutput | tuple:
        """
        The source's arguments, `input_ids`, `attention_mask` and `inputs_embeds`, are those of
        [`TextEncoder.forward`], all others those of [`AttentionEncoderDecoderModel.run`]: `cross_attentions` are over
        source tokens.

        Returns:
            [`AttentionModelOutput`]
        """
        refuse_unknown(kwargs)
        return self.run(
            {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds},
            encoder_outputs,
            decoder_input_ids,
            decoder_inputs_embeds,
            decoder_attention_mask,
            cache,
            use_cache,
            output_attentions,
            output_hidden_states,
        )


class AttentionSeq2SeqForConditionalGeneration(
    AttentionSeq2SeqPreTrainedModel, AttentionConditionalGenerationModel, AttentionGenerationMixin, GenerationMixin
):
    """
    The sequence-to-sequence model with its output embedding: losses, `generate()`.

    Args:
        config ([`AttentionSeq2SeqConfig`]): The configuration.
    """

    def __init__(self, config: AttentionSeq2SeqConfig):
        super().__init__(config)
        self.model = AttentionSeq2SeqModel(config)
        self.lm_head = nn.Linear(config.readout_size, config.vocab_size)
        self.post_init()
        self.set_generation_defaults(max_length=128)

    def _maybe_initialize_input_ids_for_generation(self, inputs, bos_token_id, model_kwargs):
        # transformers would make up a source of one start token.
        if inputs is None and model_kwargs.get("encoder_outputs") is None:
            raise ValueError("Pass `input_ids`, `inputs_embeds` or `encoder_outputs`: there is no source to read.")
        return super()._maybe_initialize_input_ids_for_generation(inputs, bos_token_id, model_kwargs)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: EncoderOutput | None = None,
        cache: RecurrentCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
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
        The arguments of [`AttentionSeq2SeqModel.forward`], and for the loss those of
        [`AttentionConditionalGenerationModel.run`]: `labels` are the target's tokens.

        Returns:
            [`~transformers.modeling_outputs.Seq2SeqLMOutput`]: `logits` of shape `(rows, target, vocab_size)`;
            `cross_attentions`, a tuple of one tensor of shape `(rows, heads, target, source)`.

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
            inputs_embeds=inputs_embeds,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
        )


declare(
    AttentionSeq2SeqConfig,
    classes={
        AutoModel: AttentionSeq2SeqModel,
        AutoModelForSeq2SeqLM: AttentionSeq2SeqForConditionalGeneration,
    },
    processor=AttentionSeq2SeqTokenizer,
    pipelines=[TranslationPipeline, Text2TextGenerationPipeline, SummarizationPipeline],
)
