"""Steps of generation that are compiled, or run as they are where nothing can be compiled."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch._dynamo
from torch import nn
from transformers.cache_utils import Cache
from transformers.utils import ModelOutput, logging


logger = logging.get_logger(__name__)

# What generate() keeps of a step while others run.
KEPT = ("attentions", "cross_attentions", "decoder_attentions", "hidden_states", "decoder_hidden_states")


def compiling_recurrent_layers() -> AbstractContextManager:
    """Within it what is compiled may hold an `nn.LSTM` or `nn.GRU`, at which a program else falls into parts."""
    return torch._dynamo.config.patch(allow_rnn=True)


class CompiledSteps:
    """
    A model, for a loop of transformers that compiles nothing: what it calls is compiled, all else is the model's.

    Args:
        model (`nn.Module`): The model.
        step (`Callable`): What is called in its place.
    """

    def __init__(self, model: nn.Module, step: Callable[..., Any]):
        self.model, self.step = model, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, *args, **kwargs) -> Any:
        return self.step(*args, **kwargs)


class CompiledOrPlain:
    """
    A compiled call of a model, and the plain one from when on that cannot be compiled: no compiler is there, or none
    for the device. It is told in one line.

    Args:
        compiled (`Callable`): What `torch.compile` gives: it compiles when it is called.
        model (`nn.Module`): The model.
    """

    def __init__(self, compiled: Callable[..., Any], model: nn.Module):
        self.compiled, self.model = compiled, model

    def __deepcopy__(self, memo: dict) -> "CompiledOrPlain":
        """Itself, with a model of which one sees that it is not the copy."""
        return self

    def __call__(self, *args, **kwargs) -> Any:
        try:
            return self.compiled(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            if isinstance(error, torch._dynamo.exc.Unsupported):  # `fullgraph=True`, which is the user's own wish
                raise
            reason = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
            logger.warning(f"Steps of generation cannot be compiled here, and are run as they are: {reason}")
            self.compiled = self.model
            return self.model(*args, **kwargs)


def own_outputs(outputs: ModelOutput, cache: Cache) -> None:
    """
    Copies what is kept of a step. A CUDA graph, which `mode="reduce-overhead"` makes of a step, writes its outputs to
    the same place each time that it runs.

    Args:
        outputs (`ModelOutput`): What the step returned; its attention weights and states are replaced.
        cache ([`RecurrentCache`] or [`EnsembleCache`]): The state, replaced too.
    """
    for layer in cache.layers:
        layer.copy()
    for name in KEPT:
        if outputs.get(name):
            outputs[name] = tuple(tensor.clone() for tensor in outputs[name])
