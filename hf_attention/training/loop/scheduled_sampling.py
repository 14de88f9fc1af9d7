"""Scheduled sampling: in training, the decoder is sometimes fed its own words (Bengio et al. 2015)."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from ...models.generation import OF_THE_LOSS
from .objective import Objective


class ScheduledSamplingObjective(Objective):
    r"""
    The loss per target token where each word fed to the decoder is, with a probability that rises epoch by epoch, one
    that the model itself has drawn after the words fed so far: \\( 1 - \epsilon_i \\) of Bengio et al. 2015, section
    2.4, with linear decay of \\( \epsilon_i \\) from one in the first epoch. No gradient flows through the draw.

    Args:
        accelerator (`Accelerator`):
            What has prepared the model.
        probability (`float`):
            Of the model's own words, in the last epoch.
        num_epochs (`int`):
            Epochs of the training.

    Raises:
        ValueError: If `probability` does not lie in [0, 1].
    """

    def __init__(self, accelerator: Accelerator, probability: float, num_epochs: int):
        if not 0 <= probability <= 1:
            raise ValueError(f"`probability` must lie in [0, 1], got {probability}.")
        self.accelerator = accelerator
        self.final_probability = probability
        self.num_epochs = num_epochs
        self.epoch = 0

    @property
    def probability(self) -> float:
        """Of the model's own words in this epoch."""
        return self.final_probability * self.epoch / max(self.num_epochs - 1, 1)

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        if self.probability > 0:
            decoder_input_ids = mix_in_own_words(self.accelerator.unwrap_model(model), batch, self.probability)
            batch = {**batch, "decoder_input_ids": decoder_input_ids}
        return super().__call__(model, batch, num_items)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"epoch": torch.tensor(self.epoch)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.epoch = int(state["epoch"])


@torch.no_grad()
def mix_in_own_words(model: PreTrainedModel, batch: Mapping[str, Any], probability: float) -> torch.LongTensor:
    """
    Runs the decoder over its targets word by word and replaces some of them by words drawn from its predictions.

    Args:
        model (`PreTrainedModel`):
            An encoder and attentive decoder of this package.
        batch (`Mapping`):
            The encoder's inputs and `labels`, of shape `(rows, target)`, -100 behind the end.
        probability (`float`):
            With which a word is replaced.

    Returns:
        `torch.LongTensor` of shape `(rows, target)`: The decoder's inputs; the start token stays.
    """
    labels = batch["labels"]
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels)
    inputs = {name: value for name, value in batch.items() if name not in OF_THE_LOSS}
    encoder_outputs = model.get_encoder()(**inputs)
    cache = model.make_cache()
    for step in range(labels.shape[1] - 1):
        logits = model(
            encoder_outputs=encoder_outputs,
            decoder_input_ids=decoder_input_ids[:, step : step + 1],
            cache=cache,
            use_cache=True,
        ).logits
        drawn = torch.distributions.Categorical(logits=logits[:, -1].float()).sample()
        is_own = (torch.rand(drawn.shape, device=drawn.device) < probability) & (labels[:, step] != -100)
        decoder_input_ids[:, step + 1] = torch.where(is_own, drawn, decoder_input_ids[:, step + 1])
    return decoder_input_ids
