"""What the models of this package have in common."""

import os

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .configuration_attention import AttentionDecoderConfig


class AttentionPreTrainedModel(PreTrainedModel):
    """Weights initialisation, and how targets become decoder inputs."""

    config_class = AttentionDecoderConfig
    base_model_prefix = "model"

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args, **kwargs
    ) -> "AttentionPreTrainedModel":
        """
        As [`~transformers.PreTrainedModel.from_pretrained`].

        Raises:
            ValueError: Where a file of weights is damaged.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        except SafetensorError as error:
            raise ValueError(
                f"The safetensors file of {str(pretrained_model_name_or_path)!r} is cut short or damaged, copy or "
                f"download it again: {error}"
            ) from error

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            weight = torch.empty_like(module.weight)
            nn.init.uniform_(weight, -self.config.initializer_range, self.config.initializer_range)
            if module.padding_idx is not None:
                weight[module.padding_idx] = 0
            init.copy_(module.weight, weight)
        elif isinstance(module, nn.LSTM | nn.GRU):
            bound = module.hidden_size**-0.5
            for name, parameter in module.named_parameters():
                if name.startswith("weight"):
                    init.uniform_(parameter, -bound, bound)
                    continue
                bias = torch.zeros_like(parameter)
                if module.mode == "LSTM" and name.startswith("bias_ih"):
                    bias[module.hidden_size : 2 * module.hidden_size] = 1  # remember, until told to forget
                init.copy_(parameter, bias)
        else:
            super()._init_weights(module)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """
        Shifts labels right: teacher forcing.

        Args:
            labels (`torch.LongTensor` of shape `(rows, target)`): Targets; -100 becomes padding.

        Returns:
            `torch.LongTensor` of shape `(rows, target)`: The start token, then all labels but the last.
        """
        start = labels.new_full((labels.shape[0], 1), self.config.decoder_start_token_id)
        return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == -100, self.config.pad_token_id)], 1)
