"""Beam search that reads the vocabulary's scores in pieces, and leaves out what has ended."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, StoppingCriteriaList
from transformers.generation import logits_process, stopping_criteria

from ..models.numbers_only import NumbersOnly
from ..models.stop_strings import StopAtStrings
from ..models.versions import CACHE_NAME


# What treats each row by itself, whichever rows it is given.
ROW_BY_ROW = (
    NumbersOnly,
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
    settings = generation_config
    knows_rows = all(type(part) in ROW_BY_ROW for part in (*logits_processor, *stopping_criteria))
    asks_for_more = settings.return_dict_in_generate or settings.do_sample or settings.low_memory or synced_gpus
    if input_ids.device.type != "cpu" or asks_for_more or not knows_rows or not model_kwargs.get("use_cache"):
        return NotImplemented
    beams, length = settings.num_beams, input_ids.shape[1]
    prompt, batch = length, len(input_ids) // beams
    num_ends = 0 if settings._eos_token_tensor is None else len(settings._eos_token_tensor)
    num_kept = max(2, 1 + num_ends) * beams
    fill = -1 if num_ends == 0 else settings._pad_token_tensor or settings._eos_token_tensor[0]
    rules = {"early_stopping": settings.early_stopping, "length_penalty": settings.length_penalty}
    is_first = torch.arange(num_kept) < beams

    # Of the items that go on; `decided` keeps what has been found for the others.
    running = input_ids.new_full((batch, beams, settings.max_length), fill)
    running[..., :length] = input_ids.unflatten(0, (batch, beams))
    found = running.clone()
    running_origins = torch.full((batch, beams, settings.max_length - length), -1, dtype=torch.int32)
    origins = running_origins.clone()
    running_scores, scores = torch.full((batch, beams), -1e9), torch.full((batch, beams), -1e9)
    running_scores[:, 0] = 0  # all beams start alike: the first step goes on from one
    is_found = torch.zeros(batch, beams, dtype=torch.bool)
    may_improve = torch.ones(batch, 1, dtype=torch.bool)
    items, decided = torch.arange(batch), (found.clone(), origins.clone())

    outputs = model._prefill(input_ids, settings, model_kwargs)
    while True:
        model_kwargs = model._update_model_kwargs_for_generation(
            outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
        )
        ids = running[..., :length].flatten(0, 1)
        log_probs = logits_processor(ids, outputs.logits[:, -1].float().log_softmax(-1))
        totals = (log_probs + running_scores.view(-1, 1)).view(len(running), -1)
        kept_scores, indices = totals.topk(num_kept)
        parents, tokens = indices // log_probs.shape[1], indices % log_probs.shape[1]
        kept = running.take_along_dim(parents.unsqueeze(-1), 1)
        kept[..., length] = tokens
        kept_origins = running_origins.take_along_dim(parents.unsqueeze(-1), 1)
        kept_origins[..., length - prompt] = parents + beams * torch.arange(len(kept)).unsqueeze(1)
        ends = stopping_criteria(kept[..., : length + 1].flatten(0, 1), None).unflatten(0, (-1, num_kept))
        running, running_scores, running_origins = model._get_running_beams_for_next_iteration(
            topk_log_probs=kept_scores,
            topk_running_sequences=kept,
            topk_running_beam_indices=kept_origins,
            next_token_hits_stopping_criteria=ends,
            num_beams=beams,
        )
        found, scores, origins, is_found = model._update_finished_beams(
            sequences=found,
            topk_running_sequences=kept,
            beam_scores=scores,
            topk_log_probs=kept_scores,
            beam_indices=origins,
            topk_running_beam_indices=kept_origins,
            is_early_stop_heuristic_unsatisfied=may_improve,
            is_sent_finished=is_found,
            next_token_hits_stopping_criteria=ends,
            top_num_beam_mask=is_first,
            num_beams=beams,
            cur_len=length,
            decoder_prompt_len=prompt,
            **rules,
        )
        rows = running_origins[..., length - prompt].long()
        length += 1
        may_improve = model._check_early_stop_heuristic(
            is_early_stop_heuristic_unsatisfied=may_improve,
            running_beam_scores=running_scores,
            beam_scores=scores,
            is_sent_finished=is_found,
            cur_len=length,
            max_length=settings.max_length,
            decoder_prompt_len=prompt,
            **rules,
        )
        for all_items, of_items in zip(decided, (found, origins), strict=True):
            all_items[items] = of_items
        goes_on = may_improve.squeeze(1) & ~(is_found.all(1) & (settings.early_stopping is True))
        if ends.all() or not goes_on.any():
            break
        cache = model_kwargs[CACHE_NAME]
        if goes_on.all():
            cache.reorder_cache(rows.flatten())
        else:
            running, running_scores, running_origins, found, scores, origins, is_found, may_improve, items, rows = (
                tensor[goes_on]
                for tensor in (
                    running,
                    running_scores,
                    running_origins,
                    found,
                    scores,
                    origins,
                    is_found,
                    may_improve,
                    items,
                    rows,
                )
            )
            cache.batch_select_indices(rows.flatten())
            memory = model_kwargs.pop("encoder_outputs", None)
            model_kwargs = _select_rows(model_kwargs, rows.flatten(), len(outputs.logits))
            if memory is not None:
                model_kwargs["encoder_outputs"] = _select_rows(memory, goes_on, len(goes_on))
        ids = running[..., :length].flatten(0, 1)
        outputs = model(**model.prepare_inputs_for_generation(ids, **model_kwargs), return_dict=True)

    found, origins = (tensor[:, : settings.num_return_sequences].flatten(0, 1) for tensor in decided)
    return found[:, : prompt + int((origins != -1).sum(1).max())]


def _select_rows(value: Any, rows: torch.LongTensor, num_rows: int) -> Any:
    """What `generate()` hands to the model at each step, of these of its rows. The cache is left alone."""
    if isinstance(value, torch.Tensor):
        return value[rows] if value.ndim and len(value) == num_rows else value
    if isinstance(value, dict):
        chosen = {name: _select_rows(part, rows, num_rows) for name, part in value.items()}
        return chosen if type(value) is dict else type(value)(**chosen)
    if type(value) in (tuple, list):
        return type(value)(_select_rows(part, rows, num_rows) for part in value)
    return value
