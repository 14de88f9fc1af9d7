"""What encoders, decoder and models return."""

from dataclasses import dataclass

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
    """

    last_hidden_state: torch.FloatTensor | None = None
    memory_mask: torch.Tensor | None = None
    initial_states: torch.FloatTensor | None = None


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


@dataclass
class EnsembleEncoderOutput(ModelOutput):
    """
    Args:
        members (`tuple` of [`EncoderOutput`]): Each member's memory. All beams of an item share it.
    """

    members: tuple[EncoderOutput, ...] | None = None

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
    """

    last_hidden_state: torch.FloatTensor | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


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
