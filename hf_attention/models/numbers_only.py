"""Whether what tokens are chosen by are numbers."""

import torch
from transformers import LogitsProcessor


class NumbersOnly(LogitsProcessor):
    """
    Changes no scores, and refuses those that are no numbers: at once, or where a look at them would wait for a device,
    only the first at once, and the others when `check` is called.
    """

    def __init__(self):
        self.has_nan: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        is_first, has_nan = self.has_nan is None, scores.amax().isnan()
        self.has_nan = has_nan if is_first else self.has_nan | has_nan
        if is_first or scores.device.type == "cpu":
            self.check()
        return scores

    def check(self) -> None:
        """
        Raises:
            ValueError: Where scores were no numbers.
        """
        if self.has_nan is not None and self.has_nan:
            raise ValueError(
                "The model's logits are not a number (NaN): a weight of the checkpoint is NaN, or the dtype overflows."
            )
