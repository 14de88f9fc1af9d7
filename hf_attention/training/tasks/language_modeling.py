"""
What training a language model adds to the loop: text as one stream, the state that is carried along it, and its
perplexity.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import Regex, decoders, models, processors
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ...models.attention import ProjectedMemory
from ...models.cache import DecoderState, RecurrentCache
from ..arguments import TextArguments
from ..data.sampling import LengthBatchSampler
from ..loop.objective import Objective


def for_running_text(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """
    The tokenizer of a language model: its texts begin with the end of the sentence before, `</s>`, where they go
    on, and are padded on the left. Decoded words keep the space before them: what is generated is put behind the text
    that it goes on from.

    Args:
        tokenizer (`PreTrainedTokenizerFast`):
            As [`train_tokenizer`] makes it.
    """
    backend, end = tokenizer.backend_tokenizer, tokenizer.eos_token
    if isinstance(backend.model, models.WordLevel) and backend.decoder is None:  # whole words
        steps = [decoders.Replace(Regex("^"), " "), decoders.Fuse()]
    elif isinstance(backend.model, models.BPE):
        steps = [decoders.ByteLevel()]
    else:
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(steps)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=tokenizer.pad_token,
        unk_token=tokenizer.unk_token,
        bos_token=end,
        eos_token=end,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def sentences(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """The tokens of each text between two ends of sentence: one to read before the first word, one to predict."""
    end = tokenizer.eos_token_id
    return [[end, *ids, end] for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def stream(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> torch.LongTensor:
    """
    The texts as one: an end of sentence to begin with, and one behind each text.

    Returns:
        `torch.LongTensor` of shape `(1 + tokens,)`: All but the first are to be predicted.
    """
    parts = sentences(texts, tokenizer)
    return torch.tensor([tokenizer.eos_token_id, *(token for part in parts for token in part[1:])])


def in_columns(tokens: torch.LongTensor, columns: int) -> tuple[torch.LongTensor, torch.LongTensor]:
    """
    Cuts a stream into parts of equal length that are read side by side.

    Args:
        tokens (`torch.LongTensor` of shape `(1 + tokens,)`):
            The stream.
        columns (`int`):
            How many parts.

    Returns:
        `tuple[torch.LongTensor, torch.LongTensor]`: What is read and, for each token, the next one, both of shape
        `(columns, length)`; behind the last of the stream there is 0 to read, and -100 to predict.
    """
    inputs, targets = tokens[:-1], tokens[1:]
    missing = -len(targets) % columns
    return (
        F.pad(inputs, (0, missing)).view(columns, -1),
        F.pad(targets, (0, missing), value=-100).view(columns, -1),
    )


class Segment(NamedTuple):
    """
    A piece of a stream.

    Args:
        group (`int`):
            Which columns.
        start (`int`):
            The first of its positions.
        stop (`int`):
            The one behind its last.
    """

    group: int
    start: int
    stop: int


class StreamDataset(Dataset):
    """
    Segments of a stream as batches.

    Args:
        tokens (`torch.LongTensor` of shape `(1 + tokens,)`):
            The stream.
        columns (`int`):
            Parts that are read side by side.
        groups (`int`, *optional*, defaults to 1):
            How often as many columns; each process has its own.
    """

    def __init__(self, tokens: torch.LongTensor, columns: int, groups: int = 1):
        if len(tokens) <= columns * groups:
            raise ValueError(f"A text of {len(tokens) - 1} tokens cannot be cut into {columns * groups} columns.")
        self.inputs, self.targets = (part.view(groups, columns, -1) for part in in_columns(tokens, columns * groups))

    @property
    def length(self) -> int:
        """Positions of a column."""
        return self.inputs.shape[-1]

    def __getitem__(self, segment: Segment) -> dict[str, torch.Tensor]:
        group, start, stop = segment
        return {
            "input_ids": self.inputs[group, :, start:stop],
            "shift_labels": self.targets[group, :, start:stop],
        }


class SegmentSampler(Sampler[list[Segment]]):
    """
    The segments of a stream in their order; those that processes read at the same time follow each other.

    Args:
        length (`int`):
            Positions of a column.
        segment_length (`int`):
            Positions of a segment.
        groups (`int`, *optional*, defaults to 1):
            Groups of columns.
        random (`bool`, *optional*, defaults to `False`):
            Whether lengths are drawn, anew each epoch: around `segment_length`, now and then around half of it
            (Merity et al. 2018, section 5), and then stretched to the whole column in the same number of segments.
        seed (`int`, *optional*, defaults to 0):
            Seed of the lengths.
    """

    batch_size = 1
    drop_last = False

    def __init__(self, length: int, segment_length: int, groups: int = 1, random: bool = False, seed: int = 0):
        self.length = length
        self.segment_length = segment_length
        self.groups = groups
        self.random = random
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the lengths of the epoch `epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.length / self.segment_length) * self.groups

    def _stops(self) -> list[int]:
        number = math.ceil(self.length / self.segment_length)
        if not self.random:
            return [min((index + 1) * self.segment_length, self.length) for index in range(number)]
        rng = np.random.default_rng((self.seed, self.epoch))
        means = np.where(rng.random(number) < 0.95, self.segment_length, self.segment_length / 2)
        lengths = np.maximum(rng.normal(means, self.segment_length / 14), 1)
        stops = np.round(lengths.cumsum() * self.length / lengths.sum()).astype(int)
        return stops.tolist()

    def __iter__(self) -> Iterator[list[Segment]]:
        start = 0
        for stop in self._stops():
            for group in range(self.groups):
                yield [Segment(group, start, stop)]
            start = stop


class SentenceDataset(Dataset):
    """
    Sentences, each to be read from the zero state.

    Args:
        tokens (`list[list[int]]`):
            See [`sentences`].
    """

    def __init__(self, tokens: list[list[int]]):
        self.tokens = tokens

    def __getitem__(self, number: int) -> list[int]:
        return self.tokens[number]


def collate_sentences(batch: list[list[int]]) -> dict[str, torch.Tensor]:
    """Pads on the right: no label lies behind a sentence, so nothing depends on what is read there."""
    inputs = [torch.tensor(tokens[:-1]) for tokens in batch]
    targets = [torch.tensor(tokens[1:]) for tokens in batch]
    return {
        "input_ids": pad_sequence(inputs, batch_first=True),
        "shift_labels": pad_sequence(targets, batch_first=True, padding_value=-100),
    }


def text_dataloader(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    arguments: TextArguments,
    num_processes: int = 1,
    seed: int = 0,
) -> DataLoader:
    """
    The batches of training: segments of the stream in their order, or sentences of similar length.

    Args:
        texts (`Iterable[str]`):
            Sentences or paragraphs, in their order.
        tokenizer (`PreTrainedTokenizerFast`):
            See [`for_running_text`].
        arguments (`TextArguments`):
            Columns, segments, or sentences.
        num_processes (`int`, *optional*, defaults to 1):
            Each has its own columns.
        seed (`int`, *optional*, defaults to 0):
            Seed of the lengths, or of the order.

    Raises:
        ValueError: If the text is too short for so many columns.
    """
    if arguments.reset_state:
        dataset = SentenceDataset(sentences(texts, tokenizer))
        sampler = LengthBatchSampler([len(tokens) for tokens in dataset.tokens], arguments.columns, seed=seed)
        return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate_sentences)
    dataset = StreamDataset(stream(texts, tokenizer), arguments.columns, num_processes)
    sampler = SegmentSampler(dataset.length, arguments.segment_length, num_processes, arguments.random_segments, seed)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=lambda batch: batch[0])


class TextObjective(Objective):
    """The loss per token of batches with `shift_labels`."""

    def num_items(self, batch: Mapping[str, Any]) -> torch.Tensor:
        return (batch["shift_labels"] != -100).sum()


class CarriedState(TextObjective):
    """
    The loss per token along a stream: each segment begins with the state that the one before has ended with, of
    which no gradient goes back. An epoch begins with the zero state.

    Args:
        device (`torch.device`):
            Where the model is.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.cache = RecurrentCache()

    def begin_epoch(self, epoch: int) -> None:
        self.cache.reset()

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], num_items: int) -> torch.Tensor:
        loss = model(**batch, cache=self.cache, use_cache=True, num_items_in_batch=num_items).loss
        self.cache.detach()
        return loss

    def state_dict(self) -> dict[str, torch.Tensor]:
        state = self.cache.state
        if state is None:
            return {}
        tensors = {"hidden": torch.stack(state.hidden)}
        if state.cell:
            tensors["cell"] = torch.stack(state.cell)
        if state.readout is not None:
            tensors["readout"] = state.readout.contiguous()
        if state.past is not None:
            tensors |= {f"past_{name}": part.contiguous() for name, part in state.past._asdict().items()}
        return tensors

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        self.cache.reset()
        if not state:
            return
        state = {name: tensor.to(self.device) for name, tensor in state.items()}
        past = None
        if "past_keys" in state:
            past = ProjectedMemory(*(state[f"past_{name}"] for name in ProjectedMemory._fields))
        cell = state["cell"].unbind(0) if "cell" in state else ()
        self.cache.update([DecoderState(state["hidden"].unbind(0), cell, state.get("readout"), past=past)], 0)


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
