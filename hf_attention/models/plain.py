"""Which modules may be computed without calling them."""

from torch import nn


def is_plain(module: nn.Module, *types: type[nn.Module]) -> bool:
    """
    Whether calling the module does what its class does and nothing else: it is no subclass, has no hooks, and nothing
    that offloads, quantises or adapts it has taken its place.

    Args:
        module (`nn.Module`): The module.
        types (`type[nn.Module]`): The classes that it may be of.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module) in types and "forward" not in vars(module) and not any(hooks)
