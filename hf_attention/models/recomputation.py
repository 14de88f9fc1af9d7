"""Recurrences whose activations are not kept for the backward pass, but computed again in it."""

from functools import partial
from typing import Any

import torch
from torch import nn


class RecomputesRecurrences(nn.Module):
    """
    Base of what runs a recurrence as one part. After `gradient_checkpointing_enable` a training step keeps what goes
    into such a part and what comes out of it, and computes what is in between a second time.
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
        if not (self.gradient_checkpointing and self.training and torch.is_grad_enabled()):
            return module(**inputs)
        if inputs.get("cache") is not None:
            raise ValueError(
                "With gradient checkpointing each training step runs the recurrence twice, and a state would move on "
                "twice: pass no `cache` and no `use_cache=True`, or call `gradient_checkpointing_disable()`."
            )
        # The other kind would lose the gradients of what is passed by name.
        return self._gradient_checkpointing_func(partial(module, **inputs), use_reentrant=False)
