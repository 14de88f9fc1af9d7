"""Whether what tokens are chosen by are numbers."""

from contextlib import AbstractContextManager
from contextvars import ContextVar

import torch


class NumbersOnly(AbstractContextManager):
    """
    A `with` block of generation, in which `look` refuses logits that are no numbers: at once, or where a look at them
    would wait for a device, only the first at once, and the others at the block's end.

    Raises:
        ValueError: Where they are not.
    """

    def __enter__(self) -> "NumbersOnly":
        self.has_nan: torch.Tensor | None = None
        self.token = _BLOCK.set(self)
        return self

    def __exit__(self, kind, *error) -> None:
        _BLOCK.reset(self.token)
        if kind is None:
            self._check()

    @staticmethod
    def look(logits: torch.Tensor) -> None:
        """
        Looks at the logits of a step, within the block that is open.

        Args:
            logits (`torch.Tensor` of shape `(rows, vocab_size)`): As the model gives them.
        """
        block, has_nan = _BLOCK.get(), logits.sum().isnan()
        is_first = block.has_nan is None
        block.has_nan = has_nan if is_first else block.has_nan | has_nan
        if is_first or logits.device.type == "cpu":
            block._check()

    def _check(self) -> None:
        if self.has_nan is not None and self.has_nan:
            raise ValueError(
                "The model's logits are not a number (NaN): a weight of the checkpoint is NaN, or the dtype overflows."
            )


_BLOCK: ContextVar[NumbersOnly] = ContextVar("the generation that looks at its logits")
