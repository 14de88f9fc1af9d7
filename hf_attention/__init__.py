"""
Recurrent models with attention as full members of the Hugging Face ecosystem.

Importing it makes `AutoModel`, `AutoProcessor` and `pipeline` of transformers know the models and tasks it has.
"""

from typing import TYPE_CHECKING, Any


from .models.versions import __version__  # isort: skip  (first of all, it says which transformers is needed)

from . import fast
from .auto import register
from .models.alignment import attention_maps
from .models.attention import Attention
from .models.cache import RecurrentCache
from .models.configuration_attention import AttentionDecoderConfig
from .models.configuration_attention_captioner import AttentionCaptionerConfig
from .models.configuration_attention_ensemble import AttentionEnsembleConfig
from .models.configuration_attention_seq2seq import AttentionSeq2SeqConfig
from .models.configuration_attention_vqa import AttentionVQAConfig
from .models.configuration_recurrent_lm import RecurrentLMConfig
from .models.declaration import declare
from .models.decoder import AttentionDecoder
from .models.image_encoder import ImageEncoder
from .models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration, AttentionCaptionerModel
from .models.modeling_attention_ensemble import AttentionEnsembleForConditionalGeneration
from .models.modeling_attention_seq2seq import AttentionSeq2SeqForConditionalGeneration, AttentionSeq2SeqModel
from .models.modeling_attention_vqa import (
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
    AttentionVQAModel,
)
from .models.modeling_recurrent_lm import RecurrentLMForCausalLM, RecurrentLMModel
from .models.pipeline_image_to_text import ImageToTextPipeline
from .models.pipeline_text2text import SummarizationPipeline, Text2TextGenerationPipeline, TranslationPipeline
from .models.pipeline_visual_question_answering import VisualQuestionAnsweringPipeline
from .models.processing_attention_captioner import AttentionCaptionerProcessor
from .models.processing_attention_vqa import AttentionVQAProcessor
from .models.special_tokens import name_special_tokens, special_token_ids
from .models.tokenization_attention_seq2seq import AttentionSeq2SeqTokenizer
from .shipped import checkpoint, checkpoints


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
    "checkpoint",
    "checkpoints",
    "declare",
    "fast",
    "name_special_tokens",
    "register",
    "special_token_ids",
]

register()


if TYPE_CHECKING:
    from . import scenes, seeing  # noqa: F401
else:

    def __getattr__(name: str) -> Any:
        """Imports a module as it is first named, such as `hf_attention.seeing.figures`."""
        import importlib
        import pkgutil

        if name.startswith("_") or name not in {module.name for module in pkgutil.iter_modules(__path__)}:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f".{name}", __name__)
