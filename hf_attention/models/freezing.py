"""Pretrained parts that start frozen, and what a frozen part does in training."""

from typing import ClassVar

from torch import nn


class StartsFrozen(nn.Module):
    """
    A module around a part that the configuration may freeze. The configuration says how a model starts: after it is
    made, and after `from_pretrained`. The `requires_grad` that is set then, by hand or by PEFT, stands: gradients
    follow the parameters. In training a part none of whose parameters train stays in evaluation mode, and so does a
    batch norm whose own parameters do not train: it would change by its statistics.

    Subclasses set `config`, name the part in `part_name` and the field in `freezing_field`, and call `freeze` once the
    part is made.
    """

    part_name: ClassVar[str]
    freezing_field: ClassVar[str]

    def freeze(self) -> None:
        """Freezes the part, where the configuration says so."""
        if self.part is not None and getattr(self.config, self.freezing_field):
            self.part.requires_grad_(False)
        self.train(self.training)

    @property
    def part(self) -> nn.Module | None:
        """What may be frozen."""
        return getattr(self, self.part_name)

    @property
    def trains_part(self) -> bool:
        """Whether any parameter of the part trains."""
        return self.part is not None and any(parameter.requires_grad for parameter in self.part.parameters())

    def keeps_statistics(self, batch_norm: nn.Module) -> bool:
        """Whether a batch norm of the part uses its statistics in training too, and leaves them as they are."""
        return batch_norm.weight is not None and not batch_norm.weight.requires_grad

    def train(self, mode: bool = True) -> "StartsFrozen":
        """As any module's; what does not train stays in evaluation mode."""
        super().train(mode)
        if not mode or self.part is None:
            return self
        if not self.trains_part:
            self.part.eval()
        for module in self.part.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and self.keeps_statistics(module):
                module.eval()
        return self
