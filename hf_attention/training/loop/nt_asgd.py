"""SGD that begins to average its weights when validation stops improving."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


class NTASGD(torch.optim.ASGD):
    """
    Averaged SGD with a non-monotonic trigger (Merity et al. 2018, algorithm 1).

    It is plain SGD until the validation loss, told to `observe`, is worse than the best of the epochs up to
    `interval` before; from then on it also keeps the mean of the weights after each step. What must survive a
    checkpoint is in its `state_dict`.

    Args:
        params (`Iterable[nn.Parameter]`):
            What is trained.
        lr (`float`):
            The learning rate.
        weight_decay (`float`, *optional*, defaults to 0.0):
            Decay of the weights.
        interval (`int`, *optional*, defaults to 5):
            The paper's n.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, interval: int = 5):
        # ASGD's mean is of the weights since step t0, and equal to the present ones before.
        super().__init__(params, lr=lr, lambd=0.0, alpha=0.0, t0=math.inf, weight_decay=weight_decay)
        for group in self.param_groups:
            group.update(interval=interval, losses=[])

    @property
    def is_averaging(self) -> bool:
        """Whether the trigger has fallen."""
        return self.param_groups[0]["t0"] < math.inf

    def observe(self, loss: float) -> None:
        """
        Takes in the validation loss of an epoch; on all processes the same.

        Args:
            loss (`float`):
                Of the weights that `averaged` gives.
        """
        for group in self.param_groups:
            losses, interval = group["losses"], group["interval"]
            if not self.is_averaging and len(losses) > interval and loss > min(losses[:-interval]):
                # One less: ASGD weighs a step by the count after the step before.
                group["t0"] = float(self.state[group["params"][0]]["step"]) - 1
            losses.append(loss)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the parameters have their averaged values."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter in self.state:
                    present = parameter.clone()
                    parameter.copy_(self.state[parameter]["ax"])
                    self.state[parameter]["ax"].copy_(present)
