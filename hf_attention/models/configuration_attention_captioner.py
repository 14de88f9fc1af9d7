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
    remote_code_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_attention_captioner.AttentionCaptionerConfig",
        "AutoModel": "modeling_attention_captioner.AttentionCaptionerModel",
        "AutoModelForImageTextToText": "modeling_attention_captioner.AttentionCaptionerForConditionalGeneration",
    }
    remote_code_pipelines: ClassVar[dict[str, dict]] = {
        "image-to-text": {
            "impl": "pipeline_image_to_text.ImageToTextPipeline",
            "pt": ["AutoModelForImageTextToText"],
            "type": "multimodal",
        }
    }
