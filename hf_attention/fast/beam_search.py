"""Beam search that reads the vocabulary's scores in pieces, and leaves out what has ended."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation import logits_process, stopping_criteria

from ..models.forbidden_tokens import forbid_tokens
from ..models.stop_strings import StopAtStrings
from ..models.versions import CACHE_NAME


# Bytes of scores that are computed at a time: few enough to stay in a processor's cache.
PIECE_BYTES = 2**19
# What treats each row by itself, whichever rows it is given.
ROW_BY_ROW = (
    StopAtStrings,
    *(
        getattr(module, name)
        for module, names in {
            logits_process: (
                "ExponentialDecayLengthPenalty",
                "ForcedBOSTokenLogitsProcessor",
                "ForcedEOSTokenLogitsProcessor",
                "InfNanRemoveLogitsProcessor",
                "LogitNormalization",
                "MinLengthLogitsProcessor",
                "MinNewTokensLengthLogitsProcessor",
                "NoBadWordsLogitsProcessor",
                "NoRepeatNGramLogitsProcessor",
                "RepetitionPenaltyLogitsProcessor",
                "SequenceBiasLogitsProcessor",
                "SuppressTokensAtBeginLogitsProcessor",
                "SuppressTokensLogitsProcessor",
            ),
            stopping_criteria: ("EosTokenCriteria", "MaxLengthCriteria", "StopStringCriteria"),
        }.items()
        for name in names
    ),
)


def search_beams(
    model: GenerationMixin,
    plain: Callable[..., Any],
    input_ids: torch.LongTensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    synced_gpus: bool = False,
    **model_kwargs,
) -> torch.LongTensor:
    """
    As [`~hf_attention.models.generation.search_beams`], on processors, where only the sequences are asked for.
    """
    settings, cache = generation_config, model_kwargs.get(CACHE_NAME)
    knows_rows = all(_is_row_by_row(part) for part in (*logits_processor, *stopping_criteria))
    asks_for_more = settings.return_dict_in_generate or settings.do_sample or settings.low_memory or synced_gpus
    # What is compiled has rows of a fixed number, and who hands a cache in finds all rows in it afterwards.
    may_shrink = cache is not None and not (cache.is_compileable or cache.is_callers)
    if input_ids.device.type != "cpu" or asks_for_more or not (knows_rows and may_shrink):
        return NotImplemented
    num_beams, length = settings.num_beams, input_ids.shape[1]
    prompt, batch = length, len(input_ids) // num_beams
    logits_processor = forbid_tokens(logits_processor, input_ids)
    ends, pad = settings._eos_token_tensor, settings._pad_token_tensor
    num_ends = 0 if ends is None else len(ends)
    num_kept = max(2, 1 + num_ends) * num_beams
    rules = {"early_stopping": settings.early_stopping, "length_penalty": settings.length_penalty}
    is_first = torch.arange(num_kept) < num_beams

    fill = -1 if ends is None else pad or ends[0]
    sequences = input_ids.new_full((batch, num_beams, settings.max_length), fill)
    sequences[..., :length] = input_ids.unflatten(0, (batch, num_beams))
    origins = torch.full((batch, num_beams, settings.max_length - length), -1, dtype=torch.int32)
    decided = (sequences.clone(), origins.clone())  # what has been found for all items
    items, beams = torch.arange(batch), _Beams.at_start(sequences, origins)

    outputs = model._prefill(input_ids, settings, model_kwargs)
    while True:
        model_kwargs = model._update_model_kwargs_for_generation(
            outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
        )
        ids = beams.running[..., :length].flatten(0, 1)
        logits = outputs.logits[:, -1]
        kept_scores, parents, tokens = _best(logits, beams.running_scores, ids, logits_processor, num_kept)
        kept = beams.running.take_along_dim(parents.unsqueeze(-1), 1)
        kept[..., length] = tokens
        kept_origins = beams.running_origins.take_along_dim(parents.unsqueeze(-1), 1)
        kept_origins[..., length - prompt] = parents + num_beams * torch.arange(len(items)).unsqueeze(1)
        has_ended = stopping_criteria(kept[..., : length + 1].flatten(0, 1), None).unflatten(0, (-1, num_kept))
        running, running_scores, running_origins = model._get_running_beams_for_next_iteration(
            topk_log_probs=kept_scores,
            topk_running_sequences=kept,
            topk_running_beam_indices=kept_origins,
            next_token_hits_stopping_criteria=has_ended,
            num_beams=num_beams,
        )
        found, scores, origins, is_found = model._update_finished_beams(
            sequences=beams.found,
            topk_running_sequences=kept,
            beam_scores=beams.scores,
            topk_log_probs=kept_scores,
            beam_indices=beams.origins,
            topk_running_beam_indices=kept_origins,
            is_early_stop_heuristic_unsatisfied=beams.may_improve,
            is_sent_finished=beams.is_found,
            next_token_hits_stopping_criteria=has_ended,
            top_num_beam_mask=is_first,
            num_beams=num_beams,
            cur_len=length,
            decoder_prompt_len=prompt,
            **rules,
        )
        rows = running_origins[..., length - prompt].long()
        length += 1
        may_improve = model._check_early_stop_heuristic(
            is_early_stop_heuristic_unsatisfied=beams.may_improve,
            running_beam_scores=running_scores,
            beam_scores=scores,
            is_sent_finished=is_found,
            cur_len=length,
            max_length=settings.max_length,
            decoder_prompt_len=prompt,
            **rules,
        )
        for of_all, of_items in zip(decided, (found, origins), strict=True):
            of_all[items] = of_items
        goes_on = may_improve.squeeze(1) & ~(is_found.all(1) & (settings.early_stopping is True))
        if has_ended.all() or not goes_on.any():
            break
        beams = _Beams(running, running_scores, running_origins, found, scores, origins, is_found, may_improve)
        if goes_on.all():
            cache.reorder_cache(rows.flatten())
        else:
            items, rows, beams = items[goes_on], rows[goes_on].flatten(), _Beams(*(part[goes_on] for part in beams))
            cache.batch_select_indices(rows)
            # Beams may share the memory of an item, or have one each.
            model_kwargs = _select(model_kwargs, {len(outputs.logits): rows, len(goes_on): goes_on})
        # The last tokens alone: how many there were before is not told by the ids, to which a cache may be handed on.
        last = beams.running[..., length - 1].view(-1, 1)
        outputs = model(**model.prepare_inputs_for_generation(last, **model_kwargs), return_dict=True)

    sequences, origins = (part[:, : settings.num_return_sequences].flatten(0, 1) for part in decided)
    return sequences[:, : prompt + int((origins != -1).sum(1).max())]


def _best(
    logits: torch.Tensor,
    running_scores: torch.Tensor,
    ids: torch.LongTensor,
    logits_processor: LogitsProcessorList,
    num_kept: int,
) -> tuple[torch.Tensor, torch.LongTensor, torch.LongTensor]:
    """The best ways in which the beams of each item go on: their scores, which beams, and the tokens."""
    num_beams, vocab_size = running_scores.shape[1], logits.shape[1]
    # New memory of the size of all scores would be asked of the system at each step, which takes longer than they do.
    num_items = max(PIECE_BYTES // (4 * num_beams * vocab_size), 1)
    num_rows = num_items * num_beams
    best = []
    for piece, of_beams, before in zip(
        logits.split(num_rows), running_scores.split(num_items), ids.split(num_rows), strict=True
    ):
        scores = logits_processor(before, piece.float().log_softmax(-1)) + of_beams.reshape(-1, 1)
        best.append(scores.view(len(of_beams), -1).topk(num_kept))
    kept_scores, indices = (torch.cat(parts) for parts in zip(*best, strict=True))
    return kept_scores, indices // vocab_size, indices % vocab_size


class _Beams(NamedTuple):
    """Of the items that go on: what runs, and what has been found."""

    running: torch.LongTensor
    running_scores: torch.Tensor
    running_origins: torch.Tensor
    found: torch.LongTensor
    scores: torch.Tensor
    origins: torch.Tensor
    is_found: torch.Tensor
    may_improve: torch.Tensor

    @classmethod
    def at_start(cls, sequences: torch.LongTensor, origins: torch.Tensor) -> "_Beams":
        scores = torch.full(sequences.shape[:2], -1e9, dtype=torch.float32)
        running_scores = scores.clone()
        running_scores[:, 0] = 0  # all beams start alike: the first step goes on from one
        is_found = torch.zeros(sequences.shape[:2], dtype=torch.bool)
        may_improve = torch.ones(len(sequences), 1, dtype=torch.bool)
        return cls(sequences, running_scores, origins, sequences, scores, origins, is_found, may_improve)


def _is_row_by_row(part: LogitsProcessor | StoppingCriteria) -> bool:
    # Where prompts are padded, the penalty of what is repeated has a length for each row.
    has_lengths = isinstance(getattr(part, "prompt_ignore_length", None), torch.Tensor)
    return type(part) in ROW_BY_ROW and not has_lengths


def _select(value: Any, chosen: dict[int, torch.Tensor]) -> Any:
    """What `generate()` hands to the model at each step, of those that are chosen among so many. The cache is left."""
    if isinstance(value, torch.Tensor):
        return value[chosen[len(value)]] if value.ndim and len(value) in chosen else value
    if isinstance(value, dict):
        parts = {name: _select(part, chosen) for name, part in value.items()}
        return parts if type(value) is dict else type(value)(**parts)
    if type(value) in (tuple, list):
        return type(value)(_select(part, chosen) for part in value)
    return value
