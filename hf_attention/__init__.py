"""
Recurrent models with attention as full members of the Hugging Face ecosystem.

Importing it makes `AutoModel`, `AutoProcessor` and `pipeline` of transformers know the models and tasks it has.
"""

from typing import TYPE_CHECKING, Any


from .versions import __version__  # isort: skip  (first of all, it says which transformers is needed)

from .alignment import attention_maps
from .attention import Attention
from .auto import register
from .cache import RecurrentCache
from .configuration_attention import AttentionDecoderConfig
from .configuration_attention_captioner import AttentionCaptionerConfig
from .configuration_attention_ensemble import AttentionEnsembleConfig
from .configuration_attention_seq2seq import AttentionSeq2SeqConfig
from .configuration_attention_vqa import AttentionVQAConfig
from .configuration_recurrent_lm import RecurrentLMConfig
from .decoder import AttentionDecoder
from .image_encoder import ImageEncoder
from .modeling_attention_captioner import AttentionCaptionerForConditionalGeneration, AttentionCaptionerModel
from .modeling_attention_ensemble import AttentionEnsembleForConditionalGeneration
from .modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration, AttentionSeq2SeqModel
from .modeling_attention_vqa import (
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
    AttentionVQAModel,
)
from .modeling_recurrent_lm import RecurrentLMForCausalLM, RecurrentLMModel
from .pipeline_image_to_text import ImageToTextPipeline
from .pipeline_text2text import SummarizationPipeline, Text2TextGenerationPipeline, TranslationPipeline
from .pipeline_visual_question_answering import VisualQuestionAnsweringPipeline
from .processing_attention_captioner import AttentionCaptionerProcessor
from .processing_attention_vqa import AttentionVQAProcessor
from .tokenization_attention_seq2seq import AttentionSeq2SeqTokenizer


__all__ = [
    "Attention",
    "AttentionCaptionerConfig",
    "AttentionCaptionerForConditionalGeneration",
    "AttentionCaptionerModel",
    "AttentionCaptionerProcessor",
    "AttentionDecoder",
    "AttentionDecoderConfig",
    "AttentionEnsembleConfig",
    "AttentionEnsembleForConditionalGeneration",
    "AttentionSeq2SeqConfig",
    "AttentionSeq2SeqForConditionalGeneration",
    "AttentionSeq2SeqModel",
    "AttentionSeq2SeqTokenizer",
    "AttentionVQAConfig",
    "AttentionVQAForConditionalGeneration",
    "AttentionVQAForQuestionAnswering",
    "AttentionVQAModel",
    "AttentionVQAProcessor",
    "ImageEncoder",
    "ImageToTextPipeline",
    "RecurrentCache",
    "RecurrentLMConfig",
    "RecurrentLMForCausalLM",
    "RecurrentLMModel",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TranslationPipeline",
    "VisualQuestionAnsweringPipeline",
    "__version__",
    "attention_maps",
    "register",
]

register()


if TYPE_CHECKING:
    from . import visualization  # noqa: F401
else:

    def __getattr__(name: str) -> Any:
        """Imports a module as it is first named, such as `hf_attention.visualization`."""
        import importlib
        import pkgutil

        if name.startswith("_") or name not in {module.name for module in pkgutil.iter_modules(__path__)}:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f".{name}", __name__)
