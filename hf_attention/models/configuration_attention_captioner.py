"""Configuration of the image captioner."""

from typing import ClassVar

from .configuration_image_memory import ImageMemoryConfig
from .versions import strict


@strict
class AttentionCaptionerConfig(ImageMemoryConfig):
    r"""
    Configuration of [`AttentionCaptionerModel`]: the memory is the grid of regions of a vision backbone (Xu et al.
    2015), or region features computed before. With `attention_type=None` it is Show and Tell (Vinyals et al. 2015).

    Its arguments are those of [`ImageMemoryConfig`].

    Example:

    ```python
    >>> from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration

    >>> config = AttentionCaptionerConfig(region_size=1280)
    >>> model = AttentionCaptionerForConditionalGeneration(config)
    ```
    """

    model_type = "attention_captioner"
    command_line_options: ClassVar[tuple[str, ...]] = (
        *ImageMemoryConfig.command_line_options,
        "memory_size",
        "initial_state",
        "region_dropout",
    )
