"""The perplexity of texts under a causal language model: of this package, or any other."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import datasets
import evaluate
import torch
from accelerate import Accelerator
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

import hf_attention  # noqa: F401  (the Auto classes then know its models)
from hf_attention.metrics.running_text import collate_sentences, in_columns, sentences, stream
from hf_attention.models.cache import RecurrentCache


# What a text is scored by, beside the number of its tokens.
METRICS = ("perplexity", "loss")

_CITATION = """\
@article{jelinek1977perplexity, title={Perplexity: a measure of the difficulty of speech recognition tasks},
  author={Jelinek, Fred and Mercer, Robert L. and Bahl, Lalit R. and Baker, James K.},
  journal={The Journal of the Acoustical Society of America}, year={1977}}"""


class TextPerplexity:
    """
    The perplexity of a text, over all processes.

    Args:
        texts (`Iterable[str]`):
            Sentences or paragraphs, in their order; the end of each is predicted, too.
        tokenizer (`PreTrainedTokenizerFast`):
            See [`for_running_text`].
        accelerator (`Accelerator`):
            Processes and device; the precision is the model's.
        columns (`int`, *optional*, defaults to 1):
            Parts of the text that are read side by side, all but the first from a zero state; 1: the text is read in
            one. Sentences of a batch, where the state is reset.
        segment_length (`int`, *optional*, defaults to 64):
            Tokens at a time; the result does not depend on it.
        reset_state (`bool`, *optional*, defaults to `False`):
            Whether each text is read from the zero state.
    """

    def __init__(
        self,
        texts: Iterable[str],
        tokenizer: PreTrainedTokenizerFast,
        accelerator: Accelerator,
        columns: int = 1,
        segment_length: int = 64,
        reset_state: bool = False,
    ):
        self.accelerator = accelerator
        self.columns = columns
        self.segment_length = segment_length
        self.sentences = sorted(sentences(texts, tokenizer), key=len) if reset_state else None
        self.tokens = None if reset_state else stream(texts, tokenizer)

    def of_one_batch(self) -> "TextPerplexity":
        """The same over the first words, a batch for each process."""
        few, columns = copy.copy(self), self.columns * self.accelerator.num_processes
        if self.sentences is not None:
            few.sentences = self.sentences[:columns]
        else:
            few.tokens = self.tokens[: 1 + columns * self.segment_length]
        return few

    def _batches(self) -> Iterator[tuple[dict[str, torch.Tensor], RecurrentCache | None]]:
        """Those of this process."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        if self.sentences is not None:
            starts = range(process * self.columns, len(self.sentences), processes * self.columns)
            for start in starts:
                yield collate_sentences(self.sentences[start : start + self.columns]), None
            return
        inputs, targets = (part[process::processes] for part in in_columns(self.tokens, self.columns))
        cache = RecurrentCache()
        for start in range(0, inputs.shape[1] if len(inputs) else 0, self.segment_length):
            stop = start + self.segment_length
            yield {"input_ids": inputs[:, start:stop], "shift_labels": targets[:, start:stop]}, cache

    @torch.no_grad()
    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        """
        Args:
            model (`PreTrainedModel`):
                In evaluation mode.

        Returns:
            `dict`: `perplexity`; `loss`, its logarithm; `tokens`, how many were predicted.
        """
        totals = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        for batch, cache in self._batches():
            batch = {name: values.to(self.accelerator.device) for name, values in batch.items()}
            loss = model(**batch, cache=cache, use_cache=cache is not None, num_items_in_batch=1).loss
            totals += torch.stack([loss, (batch["shift_labels"] != -100).sum()])
        loss, tokens = self.accelerator.reduce(totals, reduction="sum").tolist()
        return {"perplexity": math.exp(loss / tokens), "loss": loss / tokens, "tokens": int(tokens)}


class WindowPerplexity:
    """
    The perplexity of a text under any causal language model, each token predicted from a window of those before it.

    Args:
        tokens (`torch.LongTensor` of shape `(1 + tokens,)`):
            The text; all but the first are predicted.
        device (`torch.device`):
            Where the model is.
        context (`int`):
            Tokens of a window, at most what the model can read.
        stride (`int`):
            Tokens that are predicted in each window: the last ones.

    Raises:
        ValueError: If the text is empty, or `stride` does not lie in a window.
    """

    def __init__(self, tokens: torch.LongTensor, device: torch.device, context: int, stride: int):
        if len(tokens) < 2:
            raise ValueError("There is no token to predict: the text is empty.")
        if not 1 <= stride <= context:
            raise ValueError(f"`stride` must lie in [1, context={context}], got {stride}.")
        self.tokens = tokens.to(device)
        self.context = context
        self.stride = stride

    @torch.no_grad()
    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        """See [`TextPerplexity.__call__`]."""
        total = torch.zeros((), dtype=torch.float64, device=self.tokens.device)
        inputs, targets = self.tokens[:-1], self.tokens[1:]
        for start in range(0, len(targets), self.stride):
            stop = min(start + self.stride, len(targets))
            window = inputs[max(stop - self.context, 0) : stop]
            logits = model(window.unsqueeze(0), use_cache=False).logits[0, start - stop :]
            total += F.cross_entropy(logits.float(), targets[start:stop], reduction="sum")
        loss = float(total) / len(targets)
        return {"perplexity": math.exp(loss), "loss": loss, "tokens": len(targets)}


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
    if hasattr(model, "make_cache"):  # its state is carried on from segment to segment
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
