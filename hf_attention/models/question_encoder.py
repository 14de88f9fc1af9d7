"""A question as the states of its words, and as one vector."""

import torch
from torch import nn
from transformers import AutoModel

from .freezing import StartsFrozen
from .text_encoder import TextEncoder


class RecurrentQuestionEncoder(TextEncoder):
    """An LSTM or GRU: the states of the words, and the last ones as the question's vector."""

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...] | None]:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, words)`): The question's tokens.
            attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*): 0 where a token is padding.
            output_hidden_states (`bool`, *optional*, defaults to `False`): Whether to return those of every layer.

        Returns:
            `tuple`: the words' states, of shape `(batch, words, question_size)`, the question's vector, of shape
            `(batch, question_size)`, and where they are asked for the embeddings and the states of every layer.
        """
        words, states, hidden_states = self.read(input_ids, attention_mask, output_hidden_states=output_hidden_states)
        return words, states[0][:, -1].flatten(1), hidden_states

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value


class PretrainedQuestionEncoder(StartsFrozen):
    """Any text encoder of `AutoModel`: its last hidden states, and their mean as the question's vector."""

    part_name = "encoder"
    freezing_field = "freeze_question_encoder"

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.encoder = AutoModel.from_config(config.question_encoder_config)
        self.freeze()

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...] | None]:
        """As [`RecurrentQuestionEncoder.forward`]."""
        outputs = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **({"output_hidden_states": True} if output_hidden_states else {}),
        )
        words, hidden_states = outputs.last_hidden_state, outputs.get("hidden_states")
        if attention_mask is None:
            return words, words.mean(1), hidden_states
        mask = attention_mask.to(words.dtype).unsqueeze(-1)
        return words, (words * mask).sum(1) / mask.sum(1), hidden_states

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.set_input_embeddings(value)
        self.config.question_encoder_config.vocab_size = value.num_embeddings
