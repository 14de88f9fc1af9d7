"""How a recurrence is run: its activations may be computed again in the backward pass, and it may not be compiled."""

from functools import partial
from typing import Any

import torch
from torch import nn

from .recording import left_out


class RecomputesRecurrences(nn.Module):
    """
    Base of what runs a recurrence as one part. After `gradient_checkpointing_enable` a training step keeps what goes
    into such a part and what comes out of it, and computes what is in between a second time.

    `torch.compile` leaves all recurrences out but a step of generation: as many steps as a batch is long would be
    another program for each length, and PyTorch does not compile its own recurrent layers.
    """

    # `gradient_checkpointing_enable` sets it on every module that has it, and `_gradient_checkpointing_func` with it.
    gradient_checkpointing = False

    def run_recurrence(self, module: nn.Module, **inputs: Any) -> Any:
        """
        Calls a module.

        Args:
            module (`nn.Module`): A decoder, or a recurrent encoder.
            inputs: Its arguments.

        Returns:
            What the module returns.

        Raises:
            ValueError: Where a state is to be handed on by a part that would be run twice.
        """
        run = partial(module, **inputs)
        if not torch.is_grad_enabled() and _is_one_step(**inputs):
            return run()
        if not (self.gradient_checkpointing and self.training and torch.is_grad_enabled()):
            return left_out(run)
        if inputs.get("cache") is not None:
            raise ValueError(
                "With gradient checkpointing each training step runs the recurrence twice, and a state would move on "
                "twice: pass no `cache` and no `use_cache=True`, or call `gradient_checkpointing_disable()`."
            )
        # The other kind would lose the gradients of what is passed by name.
        return left_out(partial(self._gradient_checkpointing_func, run, use_reentrant=False))


def _is_one_step(
    input_ids: torch.LongTensor | None = None, inputs_embeds: torch.Tensor | None = None, **others: Any
) -> bool:
    words = input_ids if inputs_embeds is None else inputs_embeds
    return words is not None and words.shape[1] == 1
