"""
Recurrent models with attention as full members of the Hugging Face ecosystem.

Importing it makes `AutoModel`, `AutoProcessor` and `pipeline` of transformers know the models and tasks it has.
"""

from .alignment import attention_maps
from .attention import Attention
from .auto import register
from .cache import RecurrentCache
from .configuration_attention import AttentionDecoderConfig
from .configuration_attention_captioner import AttentionCaptionerConfig
from .decoder import AttentionDecoder
from .image_encoder import ImageEncoder
from .modeling_attention_captioner import AttentionCaptionerForConditionalGeneration, AttentionCaptionerModel
from .pipeline_image_to_text import ImageToTextPipeline
from .processing_attention_captioner import AttentionCaptionerProcessor


__all__ = [
    "Attention",
    "AttentionCaptionerConfig",
    "AttentionCaptionerForConditionalGeneration",
    "AttentionCaptionerModel",
    "AttentionCaptionerProcessor",
    "AttentionDecoder",
    "AttentionDecoderConfig",
    "ImageEncoder",
    "ImageToTextPipeline",
    "RecurrentCache",
    "attention_maps",
    "register",
]

register()
