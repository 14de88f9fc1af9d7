"""When modules may be computed without being called, and which way is then the quicker one."""

import functools
from collections.abc import Callable

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

from ..models.recording import is_exporting, is_recording


def may_replace(*modules: nn.Module, types: tuple[type[nn.Module], ...]) -> bool:
    """
    Whether calling the modules does what their class does and nothing else, and nobody looks on. What is exported or
    traced is the plain way.

    Args:
        modules (`nn.Module`): The modules whose weights would be read.
        types (`tuple[type[nn.Module], ...]`): The classes that they may be of.
    """
    return not is_exporting() and all(_is_plain(module, types) for module in modules)


def may_form_gradients() -> bool:
    """
    Whether gradients are wanted that a `torch.autograd.Function` may form: not where operations are recorded
    (compiled, exported, traced) or transformed (`torch.func`, derivatives in forward mode), nor where somebody else
    keeps what the backward pass needs (gradient checkpointing, `save_on_cpu`).
    """
    is_transformed = torch._C._functorch.maybe_current_level() is not None or forward_ad._current_level >= 0
    return torch.is_grad_enabled() and not (is_recording() or is_transformed or _is_kept_by_others())


def _is_kept_by_others() -> bool:
    top_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)  # PyTorch 2.6 may lack it
    return top_hooks is not None and top_hooks(True) is not None


def _is_plain(module: nn.Module, types: tuple[type[nn.Module], ...]) -> bool:
    """
    It is no subclass (as what is parametrised or quantised is) and no replica, has no hooks, nothing that offloads or
    adapts it has taken the place of its `forward` or another method, and its weights are parameters with numbers in
    them.
    """
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
        nn_module._global_forward_hooks,
        nn_module._global_forward_pre_hooks,
        nn_module._global_backward_hooks,
        nn_module._global_backward_pre_hooks,
    )
    is_replica = getattr(module, "_is_replica", False)
    is_changed = any(callable(getattr(type(module), name, None)) for name in vars(module))  # a method of its own
    if type(module) not in types or is_replica or is_changed or any(hooks):
        return False
    weights = module._parameters.values()
    return all(weight is None or (type(weight) is nn.Parameter and not weight.is_meta) for weight in weights)


def compute_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The dtype in which a product with the tensor is computed: autocast's, which leaves float64 alone, or its own."""
    device_type = tensor.device.type
    has_autocast = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
    if tensor.dtype == torch.float64 or not has_autocast:
        return tensor.dtype
    return torch.get_autocast_dtype(device_type)


def prefers_own_lstm(inputs: torch.Tensor) -> bool:
    """
    Whether [`~hf_attention.fast.lstm.lstm_layer`] is the better way: on processors, PyTorch's own LSTM goes backward
    in bfloat16 hardly faster than in float32, and on many of them knows no float16.

    Args:
        inputs (`torch.Tensor`): What is read.
    """
    in_half_precision = compute_dtype(inputs) in (torch.bfloat16, torch.float16)
    return inputs.device.type == "cpu" and in_half_precision and may_form_gradients()


def prefers_single_steps(inputs: torch.Tensor) -> bool:
    """
    Whether one step by itself is quicker than `nn.LSTM` and `nn.GRU`, which on processors lay out their matrices anew
    at each call, and which a compiler does not fuse with what is around them.

    Args:
        inputs (`torch.Tensor` of shape `(rows, steps, size)`): What is read.
    """
    is_preferred = inputs.device.type == "cpu" or torch.compiler.is_compiling()
    return is_preferred and inputs.shape[1] == 1 and not torch.is_grad_enabled()


def first_derivative_only(backward: Callable) -> Callable:
    """
    For a backward pass whose own derivative is not known. PyTorch's `once_differentiable` notices that too late: where
    the incoming gradient has none itself, as that of a loss, parts of the second derivative would be missing without a
    word.

    Args:
        backward (`Callable`): The `backward` of a `torch.autograd.Function`.

    Raises:
        RuntimeError: Where a graph of the gradients is asked for (`create_graph=True`).
    """

    @functools.wraps(backward)
    def refusing_more(ctx, *gradients):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Derivatives of gradients (`create_graph=True`) need the plain way of computing them: call the model "
                "within `with hf_attention.fast.disable():`."
            )
        return backward(ctx, *gradients)

    return refusing_more
