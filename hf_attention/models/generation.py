"""What every generating model of this package adds to `GenerationMixin`."""

import torch
from transformers import GenerationMixin
from transformers.generation import GenerationMode
from transformers.utils import ModelOutput

from .cache import RecurrentCache, check_cache
from .versions import (
    ASSISTANTS_ARE_CROPPED_TO_A_LENGTH,
    CACHE_NAME,
    explaining_untested_versions,
    with_native_cache_name,
    with_stated_max_length,
)


class AttentionGenerationMixin(GenerationMixin):
    """
    `generate()` over a recurrent state. A model names it *and* `GenerationMixin` among its direct bases: transformers
    looks there, by name, to tell whether a model generates.
    """

    def set_generation_defaults(self, max_length: int) -> None:
        """
        Gives a new model's `generation_config` what these models need: a length, and never to generate the padding or
        the unknown token, unless that token ends a sentence too.

        Args:
            max_length (`int`): The most tokens to generate, the start token included.
        """
        ends = self.config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        never = [self.config.pad_token_id, self.config.unk_token_id]
        self.generation_config.max_length = max_length
        self.generation_config.suppress_tokens = [token for token in never if token is not None and token not in ends]

    def make_cache(self) -> RecurrentCache:
        """The empty cache that generation starts with."""
        return RecurrentCache()

    def generate(self, *args, **kwargs):
        """
        As [`~transformers.GenerationMixin.generate`]. Where attention weights are returned, the output also has
        `generated_mask`, of shape `(sequences, generated tokens)`: False on the padding after a sequence has ended.

        Raises:
            ValueError: Where `num_beams` is below 1, or the memory or the logits are not finite.
        """
        num_beams = kwargs.get("num_beams")
        if num_beams is not None and num_beams < 1:  # transformers divides by it
            raise ValueError(f"`num_beams` must be at least 1, got {num_beams}.")
        if kwargs.get("max_new_tokens") is not None:
            kwargs.setdefault("max_length", None)  # the default length does not compete with the one asked for
        if kwargs.get("encoder_outputs") is not None:
            _check_encoder_outputs(kwargs["encoder_outputs"])
        with explaining_untested_versions():
            if len(args) < 2:  # the second is the generation configuration
                kwargs = with_stated_max_length(kwargs, self.generation_config)
            outputs = super().generate(*args, **with_native_cache_name(kwargs))
        if not isinstance(outputs, ModelOutput):
            return outputs
        if CACHE_NAME != "cache" and outputs.past_key_values is not None:
            outputs["cache"] = outputs.past_key_values  # the output classes are transformers' own
        attentions = outputs.get("cross_attentions" if self.config.is_encoder_decoder else "attentions")
        if attentions is not None:
            generation_config = kwargs.get("generation_config") or self.generation_config

            def token_id(name):
                ids = kwargs.get(name, getattr(generation_config, name, None))
                ids = getattr(self.generation_config, name) if ids is None else ids
                return torch.as_tensor(ids, device=outputs.sequences.device)

            # Beam search may go on for longer than the sequences that it returns.
            beams = outputs.get("beam_indices")
            num_tokens = len(attentions) if beams is None else beams.shape[1]
            tokens = outputs.sequences[:, -num_tokens:]
            is_end = torch.isin(tokens, token_id("eos_token_id"))
            is_padding = is_end.cumsum(-1) > is_end.int()  # behind the first end
            if not torch.isin(token_id("pad_token_id"), token_id("eos_token_id")).any():
                # Behind the last token of a sequence that a stopping criterion ended.
                is_padding |= (tokens == token_id("pad_token_id")).flip(-1).cumprod(-1).flip(-1).bool()
            outputs["generated_mask"] = ~is_padding
        return outputs

    # generate() looks for `inputs_embeds` among these names.
    def prepare_inputs_for_generation(self, input_ids, *args, inputs_embeds=None, **kwargs):
        inputs = super().prepare_inputs_for_generation(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)
        # Going on from a returned cache: feed only the tokens that the state has not seen.
        cache = inputs.get(CACHE_NAME)
        past_length = 0 if cache is None else cache.get_seq_length()
        name = "decoder_input_ids" if self.config.is_encoder_decoder else "input_ids"
        tokens = inputs.get(name)
        if tokens is not None and 0 < past_length < input_ids.shape[1] == tokens.shape[1]:
            inputs[name] = tokens[:, past_length:]
        return inputs

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, generation_mode, *args, **kwargs):
        cache = model_kwargs.get(CACHE_NAME)
        check_cache(cache)
        if generation_config.cache_implementation not in (None, "dynamic", "dynamic_full"):
            raise ValueError(
                f"`cache_implementation={generation_config.cache_implementation!r}` does not apply to a recurrent "
                "state, whose size is fixed: leave it out."
            )
        if cache is None and generation_config.use_cache:
            cache = model_kwargs[CACHE_NAME] = self.make_cache()
        takes_back = generation_config.is_assistant or generation_mode is GenerationMode.ASSISTED_GENERATION
        if cache is not None and takes_back and not cache.record_past:
            cache.activate_past_recording()
            for layer in cache.layers:
                layer.zero_keeps_none = generation_config.is_assistant and ASSISTANTS_ARE_CROPPED_TO_A_LENGTH

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

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *args, **kwargs):
        if outputs.logits[:, -1].sum().isnan():
            raise ValueError(
                "The model's logits are not a number (NaN): a weight of the checkpoint is NaN, or the dtype overflows."
            )
        return super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)


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
