"""The perplexity of texts under a causal language model: of this package, or any other."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

import hf_attention  # noqa: F401  (the Auto classes then know its models)
from hf_attention.training.tasks.language_modeling import TextPerplexity, WindowPerplexity, stream


_CITATION = """\
@article{jelinek1977perplexity, title={Perplexity: a measure of the difficulty of speech recognition tasks},
  author={Jelinek, Fred and Mercer, Robert L. and Bahl, Lalit R. and Baker, James K.},
  journal={The Journal of the Acoustical Society of America}, year={1977}}"""


def perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    accelerator: Accelerator,
    segment_length: int = 64,
    columns: int = 1,
    reset_state: bool = False,
    context: int | None = None,
    separator: str | None = None,
) -> dict[str, float]:
    """
    The perplexity of texts, each followed by the tokenizer's end-of-sentence token.

    Args:
        model (`PreTrainedModel`):
            A causal language model, in evaluation mode. A recurrent one reads the texts as one
            stream; any other predicts the last `segment_length` tokens of each window of `context`.
        tokenizer (`PreTrainedTokenizerFast`):
            The model's.
        texts (`Sequence[str]`):
            Sentences or paragraphs, in their order.
        accelerator (`Accelerator`):
            Where the model is.
        segment_length (`int`, *optional*, defaults to 64):
            Tokens at a time.
        columns (`int`, *optional*, defaults to 1):
            Recurrent models: parts of the text that are read side by side; 1 is exact.
        reset_state (`bool`, *optional*, defaults to `False`):
            Recurrent models: read each text from a zero state.
        context (`int`, *optional*):
            Other models: tokens of a window. Defaults to all that the model can read.
        separator (`str`, *optional*):
            Other models: joins the texts, in place of the end-of-sentence token.

    Returns:
        `dict`: `perplexity`; `loss`, its logarithm; `tokens`, how many were predicted.

    Raises:
        ValueError: If an argument is for the other kind of models, or the text is empty.
    """
    if model.config.model_type == "recurrent_lm":
        if separator is not None or context is not None:
            raise ValueError("`separator` and `context` are for models without a recurrent state.")
        return TextPerplexity(texts, tokenizer, accelerator, columns, segment_length, reset_state)(model)
    if columns != 1 or reset_state:
        raise ValueError("`columns` and `reset_state` are for recurrent models.")
    if separator is not None:
        tokens = tokenizer(separator.join(texts), return_tensors="pt", verbose=False)["input_ids"][0]
    elif tokenizer.eos_token_id is None:
        raise ValueError(f"The tokenizer of {model.name_or_path} has no end-of-sentence token: give a `separator`.")
    else:
        tokens = stream(texts, tokenizer)
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    context = context or longest
    if context is None or (longest is not None and context > longest):
        raise ValueError(
            f"`context` must be given, and be at most what the model can read ({longest}), got {context}."
        )
    return WindowPerplexity(tokens, accelerator.device, context, min(segment_length, context))(model)


class Perplexity(evaluate.Metric):
    """
    [`perplexity`] as a module of `evaluate`: `compute(predictions=texts, model_id="path-or-hub-id")`, and any of its
    other arguments.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=f"{type(self).__doc__}\n{perplexity.__doc__}",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions: list[str], model_id: str, **options: Any) -> dict[str, float]:
        accelerator = Accelerator()
        model = AutoModelForCausalLM.from_pretrained(model_id, dtype=torch.float32).to(accelerator.device).eval()
        return perplexity(model, AutoTokenizer.from_pretrained(model_id), predictions, accelerator, **options)
