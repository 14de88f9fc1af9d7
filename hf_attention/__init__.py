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
from .configuration_attention_seq2seq import AttentionSeq2SeqConfig
from .decoder import AttentionDecoder
from .image_encoder import ImageEncoder
from .modeling_attention_captioner import AttentionCaptionerForConditionalGeneration, AttentionCaptionerModel
from .modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration, AttentionSeq2SeqModel
from .pipeline_image_to_text import ImageToTextPipeline
from .pipeline_text2text import SummarizationPipeline, Text2TextGenerationPipeline, TranslationPipeline
from .processing_attention_captioner import AttentionCaptionerProcessor
from .tokenization_attention_seq2seq import AttentionSeq2SeqTokenizer


__all__ = [
    "Attention",
    "AttentionCaptionerConfig",
    "AttentionCaptionerForConditionalGeneration",
    "AttentionCaptionerModel",
    "AttentionCaptionerProcessor",
    "AttentionDecoder",
    "AttentionDecoderConfig",
    "AttentionSeq2SeqConfig",
    "AttentionSeq2SeqForConditionalGeneration",
    "AttentionSeq2SeqModel",
    "AttentionSeq2SeqTokenizer",
    "ImageEncoder",
    "ImageToTextPipeline",
    "RecurrentCache",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TranslationPipeline",
    "attention_maps",
    "register",
]

register()
