"""What a language model minimises: the loss per token, along a stream or sentence by sentence."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ....models.cache import DecoderState, RecurrentCache
from ....models.memory import ProjectedMemory
from ...loop.objective import Objective


class TextObjective(Objective):
    """The loss per token of batches with `shift_labels`."""

    def num_items(self, batch: Mapping[str, Any]) -> torch.Tensor:
        return (batch["shift_labels"] != -100).sum()


class CarriedState(TextObjective):
    """
    The loss per token along a stream: each segment begins with the state that the one before has ended with, of
    which no gradient goes back. An epoch begins with the zero state.

    Args:
        device (`torch.device`):
            Where the model is.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.cache = RecurrentCache()

    def begin_epoch(self, epoch: int) -> None:
        self.cache.reset()

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        loss = model(**batch, cache=self.cache, use_cache=True, num_items_in_batch=num_items).loss
        self.cache.detach()
        return loss

    def state_dict(self) -> dict[str, torch.Tensor]:
        state = self.cache.state
        if state is None:
            return {}
        tensors = {"hidden": torch.stack(state.hidden)}
        if state.cell:
            tensors["cell"] = torch.stack(state.cell)
        if state.readout is not None:
            tensors["readout"] = state.readout.contiguous()
        if state.past is not None:
            tensors |= {f"past_{name}": part.contiguous() for name, part in state.past._asdict().items()}
        return tensors

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.cache.reset()
        if not state:
            return
        state = {name: tensor.to(self.device) for name, tensor in state.items()}
        past = None
        if "past_keys" in state:
            past = ProjectedMemory(*(state[f"past_{name}"] for name in ProjectedMemory._fields))
        cell = state["cell"].unbind(0) if "cell" in state else ()
        self.cache.update([DecoderState(state["hidden"].unbind(0), cell, state.get("readout"), past=past)], 0)
