"""What encoders, decoder and models return."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers.utils import ModelOutput

from .versions import Seq2SeqModelOutput


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
        hidden_states (`tuple` of `torch.FloatTensor`, *optional*):
            With `output_hidden_states`. Of a text encoder what it reads, of shape `(batch, source,
            encoder_embedding_size)`, and the states of each layer, directions joined, `(batch, source, directions *
            encoder_hidden_size)`: the last are the memory, with a skip connection its first part. Of an image encoder
            what the backbone gives as its own hidden states, or the features of the regions where it gives none or
            there is none, and the memory.
    """

    last_hidden_state: torch.FloatTensor | None = None
    memory_mask: torch.Tensor | None = None
    initial_states: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None

    def all_fields(self) -> tuple[Any, ...]:
        """As a plain tuple that keeps its `None`: a field is not to be taken for the one before it."""
        return tuple(self.get(field.name) for field in fields(self))


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
        hidden_states (`tuple` of `torch.FloatTensor` of shape `(batch, words, size)`, *optional*):
            With `output_hidden_states`: of the question encoder, the embeddings and the states of each layer.
        pooler_output (`torch.FloatTensor` of shape `(batch, joint_size)`, *optional*):
            The joint vector of question and image.
        attentions (`tuple` of `torch.FloatTensor` of shape `(batch, regions)`, *optional*):
            One map for each glimpse.
        is_region (`torch.BoolTensor` of shape `(batch, positions)`, *optional*):
            Which positions of the memory are regions; the others are words.
        image_hidden_states (`tuple` of `torch.FloatTensor`, *optional*):
            With `output_hidden_states`: those of the image encoder, as in [`EncoderOutput`].
    """

    pooler_output: torch.FloatTensor | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    is_region: torch.BoolTensor | None = None
    image_hidden_states: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class EnsembleEncoderOutput(ModelOutput):
    """
    Args:
        members (`tuple` of [`EncoderOutput`]): Each member's memory. All beams of an item share it.
        hidden_states (`tuple` of `torch.FloatTensor`, *optional*): Those of all members in turn.
        attentions (`tuple` of `torch.FloatTensor`, *optional*): Those of all members in turn.
    """

    members: tuple[EncoderOutput, ...] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None

    @property
    def last_hidden_state(self) -> torch.FloatTensor:
        """The first member's memory."""
        return self.members[0].last_hidden_state

    @property
    def memory_mask(self) -> torch.Tensor | None:
        """Of the first member's memory."""
        return self.members[0].memory_mask


@dataclass
class AttentionDecoderOutput(ModelOutput):
    """
    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(rows, target, readout_size)`):
            The readout of each step, from which the next token is predicted.
        cross_attentions (`tuple` of one `torch.FloatTensor` of shape `(rows, heads, target, positions)`, *optional*):
            The attention weights of each step.
        hidden_states (`tuple` of `torch.FloatTensor` of shape `(rows, target, size)`, *optional*):
            The embeddings, and the state of each layer at each step. The readout is made of the last; without a
            readout layer it is the last.
    """

    last_hidden_state: torch.FloatTensor | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class AttentionModelOutput(Seq2SeqModelOutput):
    """
    As [`~transformers.modeling_outputs.Seq2SeqModelOutput`], and

    Args:
        memory_mask (`torch.Tensor` of shape `(batch, positions)`, *optional*):
            Beside attention weights, where `config.doubly_stochastic_penalty` is over them: 1 for the positions of the
            memory that they may fall on.
    """

    memory_mask: torch.Tensor | None = None
