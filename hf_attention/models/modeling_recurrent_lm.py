"""The recurrent language model (Zaremba et al. 2015; Merity et al. 2018)."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForCausalLM, GenerationMixin
from transformers.utils import ModelOutput, can_return_tuple

from .arguments import refuse_unknown
from .cache import RecurrentCache
from .configuration_recurrent_lm import RecurrentLMConfig
from .declaration import declare
from .decoder import AttentionDecoder
from .generation import AttentionGenerationMixin
from .modeling_attention import AttentionPreTrainedModel
from .prediction import predict_tokens
from .recomputation import RecomputesRecurrences
from .versions import CACHE_NAME, BaseModelOutputWithPast, CausalLMOutputWithPast, takes_cache


class RecurrentLMPreTrainedModel(AttentionPreTrainedModel):
    config_class = RecurrentLMConfig
    main_input_name = "input_ids"
    input_modalities = ("text",)


class RecurrentLMModel(RecurrentLMPreTrainedModel, RecomputesRecurrences):
    """
    The decoder with nothing to look at, or with its own past, without the output embedding.

    Args:
        config ([`RecurrentLMConfig`]): The configuration.
    """

    def __init__(self, config: RecurrentLMConfig):
        super().__init__(config)
        self.decoder = AttentionDecoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.decoder.embed_tokens = value

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cache: RecurrentCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast | tuple:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, tokens)`, *optional*):
                The tokens.
            attention_mask (`torch.Tensor` of shape `(batch, tokens)` or `(batch, past + tokens)`, *optional*):
                0 where a token is padding, on which the state does not move.
            cache ([`RecurrentCache`], *optional*):
                Where to go on from. `past_key_values` is another name of it.
            inputs_embeds (`torch.FloatTensor` of shape `(batch, tokens, embedding_size)`, *optional*):
                Embeddings in place of `input_ids`.
            use_cache (`bool`, *optional*):
                Whether to return the state. Defaults to `config.use_cache`, except in training and where there are
                labels.
            output_attentions (`bool`, *optional*):
                Whether to return the attention weights as `attentions`: a tuple of one tensor of shape `(batch, heads,
                tokens, attention_window)`, whose last position is the state just before the step; or an empty one.
            output_hidden_states (`bool`, *optional*):
                Whether to return the embeddings and the states of every layer as `hidden_states`, as in
                [`AttentionDecoderOutput`].

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutputWithPast`]
        """
        refuse_unknown(kwargs)
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        use_cache = (self.config.use_cache and not self.training) if use_cache is None else use_cache
        if use_cache and cache is None:
            cache = RecurrentCache()
        outputs = self.run_recurrence(
            self.decoder,
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            cache=cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return BaseModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE_NAME: cache},
            hidden_states=outputs.hidden_states,
            attentions=(outputs.cross_attentions or ()) if output_attentions else None,
        )


class RecurrentLMForCausalLM(RecurrentLMPreTrainedModel, AttentionGenerationMixin, GenerationMixin):
    """
    The language model with its output embedding: losses, `generate()`.

    Args:
        config ([`RecurrentLMConfig`]): The configuration.
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}

    def __init__(self, config: RecurrentLMConfig):
        super().__init__(config)
        self.model = RecurrentLMModel(config)
        self.lm_head = nn.Linear(config.readout_size, config.vocab_size)
        self.post_init()
        self.set_generation_defaults(max_length=64)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cache: RecurrentCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_items_in_batch: int | torch.Tensor | None = None,
        token_weights: torch.Tensor | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast | tuple:
        """
        The arguments of [`RecurrentLMModel.forward`], and

        Args:
            labels (`torch.LongTensor` of shape `(batch, tokens)`, *optional*):
                The tokens themselves, -100 where one does not count. Each is predicted from those before it: the first
                of a text, which has none, does not count. In training only the loss is returned: `logits` is `None`.
            shift_labels (`torch.LongTensor` of shape `(batch, tokens)`, *optional*):
                For each token the one to predict from it: that which follows. Where both are given, as `Trainer` does,
                these are meant and not `labels`.
            logits_to_keep (`int` or `torch.LongTensor`, *optional*, defaults to 0):
                How many of the last steps' logits to compute, or which steps'; 0 for all.
            num_items_in_batch (`int` or `torch.Tensor`, *optional*):
                What the summed loss is divided by: the number of labels over all accumulated batches. Defaults to the
                number of labels in this one.
            token_weights (`torch.Tensor` of shape `(batch, tokens)`, *optional*):
                What the loss of each of `labels` (or `shift_labels`) counts. With them only the loss is returned, and
                smoothed in training only.

        Returns:
            [`~transformers.modeling_outputs.CausalLMOutputWithPast`]: `logits` of shape `(batch, tokens, vocab_size)`.
        """
        # Not among the named arguments: `Trainer` would wait for it before it evaluates a loss.
        targets = kwargs.pop("shift_labels", None)
        refuse_unknown(kwargs)
        if targets is None and labels is not None:
            targets = self._targets(labels, attention_mask)
            token_weights = None if token_weights is None else F.pad(token_weights[:, 1:], (0, 1))
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=False if use_cache is None and targets is not None else use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        loss, logits = predict_tokens(
            outputs.last_hidden_state,
            self.lm_head,
            targets,
            training=self.training,
            label_smoothing=self.config.label_smoothing,
            logits_to_keep=logits_to_keep,
            num_items_in_batch=num_items_in_batch,
            token_weights=token_weights,
        )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{CACHE_NAME: outputs.cache},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _assisted_decoding(self, input_ids, *args, **kwargs):
        # Of a causal language model's attention weights, transformers keeps the first, as many as tokens were read;
        # those of a window that is not full are its last. So they are turned round meanwhile.
        def turn(model, inputs, outputs):
            outputs.attentions = tuple(weights.flip(-1) for weights in outputs.attentions or ()) or (None,)
            return outputs

        hook = self.register_forward_hook(turn)
        try:
            outputs = super()._assisted_decoding(input_ids, *args, **kwargs)
        finally:
            hook.remove()
        if isinstance(outputs, ModelOutput) and outputs.get("attentions") is not None:
            window = self.config.attention_window
            num_tokens = outputs.sequences.shape[1] - input_ids.shape[1]
            outputs.attentions = tuple(
                tuple(F.pad(weights, (0, window - weights.shape[-1])).flip(-1) for weights in layers)
                for layers in outputs.attentions or [()] * num_tokens
            )
        return outputs

    def _targets(self, labels: torch.LongTensor, attention_mask: torch.Tensor | None) -> torch.LongTensor:
        targets = F.pad(labels[:, 1:], (0, 1), value=-100)
        if attention_mask is not None:
            # What follows padding on the left is the first token of its text.
            targets = targets.masked_fill(attention_mask[:, -labels.shape[1] :] == 0, -100)
        return targets


declare(
    RecurrentLMConfig,
    classes={AutoModel: RecurrentLMModel, AutoModelForCausalLM: RecurrentLMForCausalLM},
    task="text-generation",
)
