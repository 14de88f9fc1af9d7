"""What every generating model of this package adds to `GenerationMixin`."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, StoppingCriteriaList
from transformers.generation import GenerationMode
from transformers.utils import ModelOutput, logging

from .arguments import check_tensors
from .cache import RecurrentCache, check_cache
from .compiled_steps import CompiledSteps, compiling_recurrent_layers, own_outputs
from .configuration_attention import start_token_id
from .door import replaceable
from .forbidden_tokens import forbid_tokens
from .linear import fixed_weights
from .numbers_only import NumbersOnly
from .stop_strings import StopAtStrings
from .versions import (
    ASSISTANTS_ARE_CROPPED_TO_A_LENGTH,
    CACHE_NAME,
    explaining_untested_versions,
    with_native_cache_name,
    with_stated_max_length,
)


logger = logging.get_logger(__name__)

SPECIAL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
# What a batch for training holds beside the inputs: `Seq2SeqTrainer` hands it on as it is.
OF_THE_LOSS = ("labels", "token_weights")


class AttentionGenerationMixin(GenerationMixin):
    """
    `generate()` over a recurrent state. A model names it *and* `GenerationMixin` among its direct bases: transformers
    looks there, by name, to tell whether a model generates.
    """

    def set_generation_defaults(self, max_length: int) -> None:
        """
        Gives a new model's `generation_config` what these models need: a length. Its special tokens are the
        configuration's of the moment, as long as it does not say others.

        Args:
            max_length (`int`): The most tokens to generate, the start token included.
        """
        self.generation_config.max_length = max_length
        self.leave_tokens_to_the_config()

    def special_tokens(
        self, generation_config: GenerationConfig | None = None, **kwargs
    ) -> dict[str, int | list[int] | None]:
        """
        The special tokens that `generate()`, called with these arguments, goes by: what they or the model's
        `generation_config` say, else what the configuration says at the moment. A decoder is started with
        `decoder_start_token_id`, or where nothing says what that is, as [`start_token_id`] tells.

        Args:
            generation_config ([`~transformers.GenerationConfig`], *optional*): As of `generate()`.
            kwargs: As of `generate()`.
        """
        tokens = {name: self._setting(name, generation_config, kwargs) for name in SPECIAL_TOKENS}
        if self.config.is_encoder_decoder:
            tokens["decoder_start_token_id"] = start_token_id(tokens)
        return tokens

    def suppressed_tokens(self, generation_config: GenerationConfig | None = None, **kwargs) -> list[int]:
        """
        What `generate()`, called with these arguments, never generates: `suppress_tokens` where they or the model's
        `generation_config` say so, else the padding and the unknown token, unless that token ends a sentence too. It
        is told from the special tokens of the moment, whatever has changed them.

        Args:
            generation_config ([`~transformers.GenerationConfig`], *optional*): As of `generate()`.
            kwargs: As of `generate()`.

        Returns:
            `list[int]`: Token ids.
        """
        asked = self._setting("suppress_tokens", generation_config, kwargs)
        if asked is not None:
            return list(asked)
        tokens = self.special_tokens(generation_config, **kwargs)
        never = [*_as_ids(tokens["pad_token_id"]), *_as_ids(self.config.unk_token_id)]
        return [token for token in dict.fromkeys(never) if token not in _as_ids(tokens["eos_token_id"])]

    def leave_tokens_to_the_config(self) -> None:
        """
        Takes out of `generation_config` what only repeats the special tokens of `config`, so that it cannot contradict
        them later: where `Trainer` brings a model into line with a tokenizer, an end that stands there stays an end.
        A checkpoint of an earlier version has `suppress_tokens` that were derived from them, too.
        """
        stored = set(self.generation_config.suppress_tokens or ())
        ends = set(_as_ids(self.special_tokens()["eos_token_id"]))
        if stored and stored <= {self.config.pad_token_id, self.config.unk_token_id} | ends:
            if stored & ends:
                logger.warning(
                    f"The checkpoint's `suppress_tokens={sorted(stored)}` hold what ends a text, {sorted(ends)}: they "
                    "are left out. Pass `suppress_tokens` to `generate()` where texts shall not end."
                )
            self.generation_config.suppress_tokens = None
        for name in SPECIAL_TOKENS:
            # `Trainer` makes a list of an end.
            if _as_ids(getattr(self.generation_config, name)) == _as_ids(getattr(self.config, name, None)):
                setattr(self.generation_config, name, None)

    def _setting(self, name: str, generation_config: GenerationConfig | None, kwargs: dict[str, Any]) -> Any:
        """What `generate()`, called with these arguments, goes by."""
        if name in kwargs:
            return kwargs[name]
        places = [generation_config, self.generation_config]
        if name in SPECIAL_TOKENS:
            places.append(self.config)
        values = (getattr(place, name, None) for place in places)
        return next((value for value in values if value is not None), None)

    def make_cache(self, static: bool = False) -> RecurrentCache:
        """
        The empty cache that generation starts with.

        Args:
            static (`bool`, *optional*, defaults to `False`):
                Whether it is one that a compiled step goes on from, as `cache_implementation="static"` asks for.
        """
        return RecurrentCache(static)

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *args,
        **kwargs,
    ) -> ModelOutput | torch.LongTensor:
        """
        As [`~transformers.GenerationMixin.generate`]. Padding and unknown words are not generated, as
        `suppressed_tokens` tells. Where attention weights are returned, the output also has `generated_mask`, of shape
        `(sequences, generated tokens)`: False on the padding after a sequence has ended.

        With `cache_implementation="static"` the step is compiled on a GPU, as `compile_config` says, in beam search
        too.

        Raises:
            TypeError: Where an input is no tensor, or of other numbers than it must be.
            ValueError:
                Where an input has not its number of dimensions, `num_beams` is below 1, `decoder_input_ids` begin with
                padding that no `decoder_attention_mask` covers, `cache_implementation` or the cache is of a kind that
                does not apply, the memory is not finite, or the logits are no numbers.
        """
        num_beams = kwargs.get("num_beams")
        if isinstance(num_beams, int) and num_beams < 1:  # transformers divides by it
            raise ValueError(f"`num_beams` must be at least 1, got {num_beams}.")
        for name in OF_THE_LOSS:
            kwargs.pop(name, None)
        check_tensors({"inputs": inputs, **kwargs}, self.main_input_name)
        if kwargs.get("max_new_tokens") is not None:
            kwargs.setdefault("max_length", None)  # the default length does not compete with the one asked for
        if kwargs.get("encoder_outputs") is not None:
            _check_encoder_outputs(kwargs["encoder_outputs"])
        special_tokens = self.special_tokens(generation_config, **kwargs)
        stop_strings = self._setting("stop_strings", generation_config, kwargs)
        settings = {name: token for name, token in special_tokens.items() if name not in kwargs}
        settings["suppress_tokens"] = self.suppressed_tokens(generation_config, **kwargs) or None
        if generation_config is None:
            kwargs |= settings
        else:  # generate() takes arguments beside a configuration, but warns
            generation_config = copy.copy(generation_config)
            for name, value in settings.items():
                setattr(generation_config, name, value)
        if stop_strings is not None and kwargs.get("tokenizer") is not None:
            criterion = StopAtStrings(kwargs["tokenizer"], stop_strings)
            kwargs["stopping_criteria"] = StoppingCriteriaList([*(kwargs.get("stopping_criteria") or ()), criterion])
            kwargs["stop_strings"] = None
        if kwargs.get("decoder_input_ids") is not None:
            kwargs["decoder_input_ids"] = _with_start_in_front(
                kwargs["decoder_input_ids"], kwargs.get("decoder_attention_mask"), special_tokens
            )
        with explaining_untested_versions(), compiling_recurrent_layers(), fixed_weights(), NumbersOnly():
            kwargs = with_stated_max_length({**kwargs, "generation_config": generation_config}, self.generation_config)
            outputs = super().generate(
                inputs, kwargs.pop("generation_config"), *args, **with_native_cache_name(kwargs)
            )
        if not isinstance(outputs, ModelOutput):
            return outputs
        if CACHE_NAME != "cache" and outputs.past_key_values is not None:
            outputs["cache"] = outputs.past_key_values  # the output classes are transformers' own
        attentions = outputs.get("cross_attentions" if self.config.is_encoder_decoder else "attentions")
        if attentions is not None:
            ends, pads = (_as_ids(special_tokens[name]) for name in ("eos_token_id", "pad_token_id"))
            outputs["generated_mask"] = _generated_mask(outputs, len(attentions), ends, pads)
        return outputs

    # generate() looks for `inputs_embeds` among these names.
    def prepare_inputs_for_generation(self, input_ids, *args, inputs_embeds=None, **kwargs):
        inputs = super().prepare_inputs_for_generation(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)
        prefix, cache = "decoder_" * self.config.is_encoder_decoder, inputs.get(CACHE_NAME)
        tokens = inputs.get(f"{prefix}input_ids")
        if tokens is not None and cache is not None and tokens.shape[1] == input_ids.shape[1]:
            # Going on from a returned cache: feed only the tokens that the state has not seen.
            past_length = cache.get_seq_length()
            if 0 < past_length < tokens.shape[1]:
                tokens = inputs[f"{prefix}input_ids"] = tokens[:, past_length:]
        mask = inputs.get(f"{prefix}attention_mask")
        if tokens is not None and mask is not None:  # of one shape, and laid out alike, at every step
            mask = mask[:, -tokens.shape[1] :].clone(memory_format=torch.contiguous_format)
            inputs[f"{prefix}attention_mask"] = mask
        return inputs

    def create_masks_for_generate(self, attention_mask: torch.Tensor | None, **kwargs) -> torch.Tensor | None:
        """
        The mask as it is: transformers would make one of every token for every other.

        Args:
            attention_mask (`torch.Tensor` of shape `(rows, past + target)`, *optional*): 0 where a token is padding.
            kwargs: What else transformers tells of the tokens.
        """
        return attention_mask

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, generation_mode, *args, **kwargs):
        cache = model_kwargs.get(CACHE_NAME)
        check_cache(cache)
        implementation = generation_config.cache_implementation
        if implementation not in (None, "dynamic", "dynamic_full", "static"):
            raise ValueError(
                f"`cache_implementation={implementation!r}` does not apply to a recurrent state, whose size is fixed: "
                'leave it out, or say "static", so that steps are compiled.'
            )
        takes_back = generation_config.is_assistant or generation_mode is GenerationMode.ASSISTED_GENERATION
        if implementation == "static":
            self._check_static(generation_config, cache, takes_back)
        makes_one = cache is None and generation_config.use_cache
        if makes_one:
            cache = model_kwargs[CACHE_NAME] = self.make_cache(implementation == "static")
        if cache is not None:
            cache.is_callers = not makes_one
        if cache is not None and takes_back and not cache.record_past:
            cache.activate_past_recording()
            for layer in cache.layers:
                layer.zero_keeps_none = generation_config.is_assistant and ASSISTANTS_ARE_CROPPED_TO_A_LENGTH

    def _check_static(
        self, generation_config: GenerationConfig, cache: RecurrentCache | None, takes_back: bool
    ) -> None:
        if takes_back:
            raise ValueError(
                '`cache_implementation="static"` keeps no state to go back to, as assisted decoding and prompt lookup '
                "must: leave one of them out."
            )
        if cache is not None and not cache.is_compileable:
            raise ValueError(
                '`cache_implementation="static"` is of a new cache, and the one that is passed is another: leave it '
                "out, or pass what `make_cache(static=True)` gives."
            )
        if self.device.type == "cpu" and generation_config.compile_config is None:
            logger.warning_once(
                'With `cache_implementation="static"` steps are compiled on a GPU: the model is on the CPU, and they '
                "are run as they are."
            )

    def _sample(self, input_ids, logits_processor, *args, **kwargs):
        return super()._sample(input_ids, forbid_tokens(logits_processor, input_ids), *args, **kwargs)

    def _beam_search(self, input_ids, *, generation_config, **kwargs):
        if self._valid_auto_compile_criteria(kwargs, generation_config):
            # transformers compiles the steps of its other loop only.
            steps = CompiledSteps(self, self.get_compiled_call(generation_config.compile_config))
            return GenerationMixin._beam_search(steps, input_ids, generation_config=generation_config, **kwargs)
        return search_beams(self, super()._beam_search, input_ids, generation_config=generation_config, **kwargs)

    def _get_candidate_generator(self, generation_config, *args, **kwargs):
        generator = super()._get_candidate_generator(generation_config, *args, **kwargs)
        if generation_config.output_attentions or generation_config.output_hidden_states:
            # Of candidates accepted in the first step, which reads the prompt too, transformers returns attention
            # weights and states of the prompt (`_split_model_outputs` counts from its start): drop its candidates.
            get_candidates = generator.get_candidates

            def drop_candidates(input_ids, *args, **kwargs):
                get_candidates(input_ids, *args, **kwargs)
                generator.get_candidates = get_candidates
                return input_ids, None

            generator.get_candidates = drop_candidates
        return generator

    def _maybe_prepare_encoder_kwargs_for_generation(self, inputs_tensor, model_kwargs, *args, **kwargs):
        is_new = model_kwargs.get("encoder_outputs") is None
        model_kwargs = super()._maybe_prepare_encoder_kwargs_for_generation(
            inputs_tensor, model_kwargs, *args, **kwargs
        )
        if is_new and model_kwargs.get("encoder_outputs") is not None:
            _check_encoder_outputs(model_kwargs["encoder_outputs"])
        return model_kwargs

    def _prepare_encoder_decoder_kwargs_for_generation(self, inputs_tensor, model_kwargs, *args, **kwargs):
        model_kwargs = super()._prepare_encoder_decoder_kwargs_for_generation(
            inputs_tensor, model_kwargs, *args, **kwargs
        )
        _check_encoder_outputs(model_kwargs["encoder_outputs"])
        return model_kwargs

    def _expand_inputs_for_generation(self, *args, **kwargs):
        memory = kwargs.get("encoder_outputs")
        # Another's encoder output has no mask of its own: it is copied as the mask beside it is.
        if memory is None or (memory.get("memory_mask") is None and kwargs.get("attention_mask") is not None):
            return super()._expand_inputs_for_generation(*args, **kwargs)
        # All beams of an item look at one memory: it is not copied for each.
        input_ids, kwargs = super()._expand_inputs_for_generation(*args, **{**kwargs, "encoder_outputs": {}})
        return input_ids, {**kwargs, "encoder_outputs": memory}

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *args, **kwargs):
        NumbersOnly.look(outputs.logits[:, -1])
        cache = outputs.get(CACHE_NAME)
        if cache is not None and cache.is_compileable:
            own_outputs(outputs, cache)
        return super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)


@replaceable
def search_beams(
    model: GenerationMixin, plain: Callable[..., Any], input_ids: torch.LongTensor, **kwargs
) -> ModelOutput | torch.LongTensor:
    """
    Beam search.

    Args:
        model (`GenerationMixin`): The model.
        plain (`Callable`): Its beam search as transformers has it.
        input_ids (`torch.LongTensor` of shape `(batch * num_beams, length)`): What the texts begin with.
        kwargs: What else `GenerationMixin._beam_search` takes.
    """
    return plain(input_ids, **kwargs)


def _as_ids(tokens: int | Sequence[int] | torch.Tensor | None) -> list[int]:
    tokens = tokens.tolist() if isinstance(tokens, torch.Tensor) else tokens
    return [] if tokens is None else [tokens] if isinstance(tokens, int) else list(tokens)


def _with_start_in_front(
    tokens: torch.LongTensor, mask: torch.Tensor | None, special_tokens: dict[str, Any]
) -> torch.LongTensor:
    """
    The `decoder_input_ids`. transformers puts the start token before them unless a row begins with it: where all begin
    with padding, one more would be read, so it takes the place of padding, which is not.
    """
    start, pad = special_tokens["decoder_start_token_id"], special_tokens["pad_token_id"]
    if tokens.shape[1] == 0 or not isinstance(start, int):
        return tokens
    if mask is not None and not mask[:, 0].any():
        return torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, 1:]], 1)
    if mask is None and start == pad and special_tokens["bos_token_id"] is None and (tokens[:, 0] != start).all():
        logger.warning_once(
            f"The decoder is started with the padding, {start}, which is put before `decoder_input_ids`. Where these "
            "begin with a start token of their own, set `bos_token_id` in the configuration, as "
            "`special_token_ids(tokenizer)` gives it."
        )
    if mask is None and isinstance(pad, int) and pad != start and (tokens[:, 0] == pad).any():
        raise ValueError(
            f"`decoder_input_ids` begin with padding, {pad}: pass the `decoder_attention_mask` that covers it, or "
            f"where it is to start the decoder, set `decoder_start_token_id={pad}`, which is {start}."
        )
    return tokens


def _generated_mask(outputs: ModelOutput, num_tokens: int, ends: list[int], pads: list[int]) -> torch.BoolTensor:
    """False on what follows the end of a sequence."""
    beams = outputs.get("beam_indices")
    if beams is not None:  # beam search may go on for longer than the sequences that it returns
        num_tokens = beams.shape[1]
    tokens = outputs.sequences[:, -num_tokens:]

    def is_among(ids: list[int]) -> torch.BoolTensor:
        return torch.isin(tokens, torch.tensor(ids, dtype=tokens.dtype, device=tokens.device))

    is_end = is_among(ends)
    is_padding = is_end.cumsum(-1) > is_end.int()  # behind the first end
    if not set(pads) & set(ends):
        # Behind the last token of a sequence that a stopping criterion ended.
        is_padding |= is_among(pads).flip(-1).cumprod(-1).flip(-1).bool()
    return ~is_padding


def _check_encoder_outputs(encoder_outputs: ModelOutput) -> None:
    for memory in encoder_outputs.get("members", (encoder_outputs,)):  # an ensemble has several
        _check_memory(memory.last_hidden_state, memory.get("memory_mask"))


def _check_memory(memory: torch.Tensor, memory_mask: torch.Tensor | None) -> None:
    is_finite = memory.isfinite().flatten(1).all(1)
    if not is_finite.all():
        rows = (~is_finite).nonzero().flatten().tolist()
        raise ValueError(f"The features of the inputs {rows} of the batch are not finite (NaN or infinite).")
    if memory_mask is not None and not memory_mask.bool().any(1).all():
        rows = (~memory_mask.bool().any(1)).nonzero().flatten().tolist()
        raise ValueError(f"The inputs {rows} of the batch are masked as a whole: there is nothing to attend to.")
