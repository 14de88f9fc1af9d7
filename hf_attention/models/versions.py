"""
What differs between the versions of transformers, in one place: everything that it has renamed or moved since 5.0, and
which of its private names the package needs.

The private names, each overridden or called because nothing public does the same:

- `GenerationMixin._prepare_cache_for_generation` (generation.py): `generate()` would make a cache of keys and values.
- `GenerationMixin._prepare_encoder_decoder_kwargs_for_generation`, since 5.18
  `_maybe_prepare_encoder_kwargs_for_generation` (generation.py): the memory is checked once, when it has been encoded.
- `GenerationMixin._update_model_kwargs_for_generation` (generation.py): each step's logits are looked at,
  and what is kept of a compiled step is copied.
- `GenerationMixin._sample` (generation.py): its processors that only forbid tokens are one.
- `GenerationMixin._beam_search`, `_valid_auto_compile_criteria`, `PreTrainedModel._compiled_call` (generation.py,
  modeling_attention.py): beam search compiles nothing by itself, and what cannot be compiled would end in an error.
- `GenerationMixin._get_candidate_generator`, `_assisted_decoding` (generation.py, modeling_recurrent_lm.py): attention
  weights of assisted decoding, which transformers counts from the wrong end of the prompt.
- `GenerationMixin._expand_inputs_for_generation` (generation.py): all sequences of an item look at one memory.
- `GenerationMixin._prefill`, `_get_running_beams_for_next_iteration`, `_update_finished_beams`,
  `_check_early_stop_heuristic` (fast/beam_search.py): the rules of beam search, which are left to transformers.
- `GenerationMixin._maybe_initialize_input_ids_for_generation` (modeling_attention_seq2seq.py,
  modeling_attention_vqa.py): generation without a source would go on from a made-up one.
- `GenerationMixin._prepare_model_inputs`, `_validate_model_kwargs` (modeling_attention_captioner.py,
  modeling_attention_ensemble.py): which of two inputs is the image.
- `PreTrainedModel._init_weights`, `_tied_weights_keys`, `_no_split_modules`, `_supports_sdpa` and its like
  (modeling_*.py): what every model of transformers defines.
- `_gradient_checkpointing_func` (recomputation.py): `gradient_checkpointing_enable` gives it to a module.
- `PreTrainedModel._get_resized_embeddings`, `_get_resized_lm_head` (modeling_attention.py,
  modeling_attention_seq2seq.py): the public method resizes one table, the source's, and the output.
- `Pipeline._load_tokenizer` and its like, `_pipeline_calls_generate` (pipeline_*.py): by these a pipeline says what it
  loads, and that it prepares the arguments of `generate()` itself.
- `ProcessorMixin._merge_kwargs` (processing_*.py): sorts arguments, as every processor of transformers does.
- `PreTrainedTokenizerFast._switch_to_target_mode`, `_encode_plus`, `_decode`, `_save_pretrained`, and of multilingual
  tokenizers `_build_translation_inputs` (tokenization_attention_seq2seq.py, pipeline_text2text.py).
- `pipelines._resolve_deprecated_task`, since 5.19 (auto.py): it turns dropped tasks away before the registry is asked.

Nothing here imports from the package, so that it can be what runs first.
"""

import copy
import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin

import transformers
from packaging.version import Version


__version__ = "0.1.0"

_P, _T = ParamSpec("_P"), TypeVar("_T")

# The suite was run on these minors and on some between: see CONTRIBUTING.md. pyproject.toml has the same range.
OLDEST, NEWEST = "5.0", "5.24"
_INSTALLED = Version(transformers.__version__)
# A development or pre-release version counts as the release that it comes before.
IS_NEWER_THAN_TESTED = _INSTALLED.release[:2] > Version(NEWEST).release
_RANGE = f"transformers>={OLDEST},<{NEWEST.split('.')[0]}.{int(NEWEST.split('.')[1]) + 1}"
UNTESTED = (
    f"hf_attention {__version__} was tested with transformers {OLDEST} to {NEWEST}, not with {_INSTALLED}. Where "
    f'something fails, `pip install "{_RANGE}"`, or install a newer hf_attention.'
)

if _INSTALLED.release[:2] < Version(OLDEST).release:
    raise ImportError(
        f'hf_attention {__version__} needs transformers {OLDEST} or newer, got {_INSTALLED}: `pip install "{_RANGE}"`.'
    )
if IS_NEWER_THAN_TESTED:
    logging.getLogger(__name__).warning(UNTESTED)

import huggingface_hub.dataclasses  # noqa: E402
import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModel,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    modeling_outputs,
)
from transformers.cache_utils import Cache, CacheLayerMixin  # noqa: E402

# From 5.4 to 5.15 `transformers.AutoImageProcessor` is an error where torchvision is missing; this one is not.
from transformers.models.auto.image_processing_auto import AutoImageProcessor  # noqa: E402, F401


@contextmanager
def explaining_untested_versions() -> Iterator[None]:
    """
    On a transformers newer than any tested, an error that smells of it says so, and what to do.

    Raises:
        RuntimeError: Such an error, explained.
    """
    try:
        yield
    except (AttributeError, ImportError, NotImplementedError, TypeError) as error:
        if not IS_NEWER_THAN_TESTED:
            raise
        raise RuntimeError(f"{UNTESTED} The error was: {type(error).__name__}: {error}") from error


def explained(forward: Callable[_P, _T]) -> Callable[_P, _T]:
    """
    Of a `forward`, the same; on a transformers newer than any tested, within [`explaining_untested_versions`].

    Args:
        forward (`Callable`): The method.
    """
    return explaining_untested_versions()(forward) if IS_NEWER_THAN_TESTED else forward


_strict = huggingface_hub.dataclasses.strict


def strict(cls: type[_T]) -> type[_T]:
    """
    huggingface_hub's `strict`, by which a dataclass checks the types of its fields, for types in `Annotated`, too.

    Args:
        cls (`type`): The dataclass.
    """
    for field in fields(cls):
        if get_origin(field.type) is Annotated:
            field.type = get_args(field.type)[0]
    return _strict(cls)


# What transformers itself puts, or has put, into a configuration, beside the fields of BaseConfig.
OF_TRANSFORMERS = {
    *vars(GenerationConfig()),
    "add_cross_attention",
    "attn_implementation",
    "auto_map",
    "cross_attention_hidden_size",
    "experts_implementation",
    "finetuning_task",
    "is_decoder",
    "model_type",
    "name_or_path",
    "num_labels",
    "per_layer_config",
    "prefix",
    "pruned_heads",
    "quantization_config",
    "sep_token_id",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "use_bfloat16",
}

BaseConfig = PreTrainedConfig

if not is_dataclass(PreTrainedConfig):
    # Configurations are dataclasses since 5.4. What is no field goes to `__post_init__`, as it does there.
    _strict = functools.partial(_strict, accept_kwargs=True)

    @strict
    @dataclass(repr=False, kw_only=True)
    class BaseConfig(PreTrainedConfig):
        """transformers' base configuration, whose subclasses are dataclasses."""

        transformers_version: str | None = None
        architectures: list[str] | None = None
        output_hidden_states: bool | None = False
        return_dict: bool | None = True
        dtype: Any = None
        chunk_size_feed_forward: int = 0
        is_encoder_decoder: bool = False
        id2label: dict[int, str] | dict[str, str] | None = None
        label2id: dict[str, int] | dict[str, str] | None = None
        problem_type: str | None = None

        validate_rope = None  # `strict` would call it

        def __init_subclass__(cls, **kwargs):
            super().__init_subclass__(**kwargs)
            dataclass(cls, repr=False, kw_only=True)

        def __post_init__(self, **kwargs):
            # That `__init__` sets all that it is not given to its own defaults.
            given = {field.name: getattr(self, field.name) for field in fields(BaseConfig)}
            PreTrainedConfig.__init__(self, **given, **kwargs)


BasePreTrainedModel = PreTrainedModel

if _INSTALLED.release[:2] == (5, 3):

    class BasePreTrainedModel(PreTrainedModel):
        """transformers' base model, which in 5.3 forgets to tie what a registered class ties."""

        def mark_tied_weights_as_initialized(self, loading_info) -> None:
            missing = set(loading_info.missing_keys)
            super().mark_tied_weights_as_initialized(loading_info)
            loading_info.missing_keys |= missing & self.all_tied_weights_keys.keys()


# What the cache is called in outputs and arguments: another name since 5.24.
CACHE_NAME = "cache" if hasattr(modeling_outputs.BaseModelOutputWithPast, "cache") else "past_key_values"


def _one_of(cache: Any, past_key_values: Any) -> Any:
    if cache is not None and past_key_values is not None:
        raise ValueError("`past_key_values` is another name of `cache`: pass one of them, got both.")
    return past_key_values if cache is None else cache


def with_native_cache_name(kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Keyword arguments with the cache, where there is one, under the name that this transformers knows.

    Args:
        kwargs (`dict`): With the cache under either name.

    Returns:
        `dict`: The same otherwise.

    Raises:
        ValueError: Where they hold a cache under either name.
    """
    kwargs = dict(kwargs)
    cache = _one_of(kwargs.pop("cache", None), kwargs.pop("past_key_values", None))
    return kwargs if cache is None else {**kwargs, CACHE_NAME: cache}


def takes_cache(forward: Callable[_P, _T]) -> Callable[_P, _T]:
    """
    Of a `forward` with an argument `cache`: lets the argument be called `past_key_values` too, on every transformers.

    Args:
        forward (`Callable`): The method.

    Returns:
        `Callable`: The method, which takes either name. It is [`explained`], too.

    Raises:
        ValueError: By the function it returns, where a caller passes both.
    """

    forward = explained(forward)

    @functools.wraps(forward)
    def takes_either(*args, past_key_values=None, **kwargs):
        if past_key_values is not None:
            kwargs["cache"] = _one_of(kwargs.get("cache"), past_key_values)
        return forward(*args, **kwargs)

    # transformers and others look into the signature for what a model takes.
    signature = inspect.signature(forward)
    parameters = list(signature.parameters.values())
    at = next((i for i, each in enumerate(parameters) if each.kind is each.VAR_KEYWORD), len(parameters))
    parameters.insert(at, inspect.Parameter("past_key_values", inspect.Parameter.KEYWORD_ONLY, default=None))
    takes_either.__signature__ = signature.replace(parameters=parameters)
    return takes_either


if CACHE_NAME == "cache":
    BaseModelOutputWithPast = modeling_outputs.BaseModelOutputWithPast
    CausalLMOutputWithPast = modeling_outputs.CausalLMOutputWithPast
    Seq2SeqLMOutput = modeling_outputs.Seq2SeqLMOutput
    Seq2SeqModelOutput = modeling_outputs.Seq2SeqModelOutput
else:

    class _NamesCache:
        """The cache by the name that it has since 5.24."""

        @property
        def cache(self):
            return self.past_key_values

        @cache.setter
        def cache(self, value):
            self.past_key_values = value

        def __getitem__(self, key):
            return super().__getitem__("past_key_values" if key == "cache" else key)

        def __contains__(self, key):
            return super().__contains__("past_key_values" if key == "cache" else key)

        def get(self, key, default=None):
            return super().get("past_key_values" if key == "cache" else key, default)

    @dataclass
    class BaseModelOutputWithPast(_NamesCache, modeling_outputs.BaseModelOutputWithPast):
        """transformers' output, whose `past_key_values` is `cache` too."""

    @dataclass
    class CausalLMOutputWithPast(_NamesCache, modeling_outputs.CausalLMOutputWithPast):
        """transformers' output, whose `past_key_values` is `cache` too."""

    @dataclass
    class Seq2SeqLMOutput(_NamesCache, modeling_outputs.Seq2SeqLMOutput):
        """transformers' output, whose `past_key_values` is `cache` too."""

    @dataclass
    class Seq2SeqModelOutput(_NamesCache, modeling_outputs.Seq2SeqModelOutput):
        """transformers' output, whose `past_key_values` is `cache` too."""


class CacheLayer(CacheLayerMixin):
    """The base of a cache's layer."""

    def get_max_cache_shape(self) -> int:
        """The name of `get_max_length` until 5.12."""
        return self.get_max_length()


# Until 5.13 every cache is cropped to a number of tokens to keep, in 5.14 still an assistant's; later, by a number of
# tokens to take back. Only an assistant's is ever asked to keep none.
ASSISTANTS_ARE_CROPPED_TO_A_LENGTH = _INSTALLED.release[:2] < (5, 15)


class LayeredCache(Cache):
    """The base of a cache whose tokens can be taken back: not every transformers before 5.17 has these two."""

    @property
    def is_croppable(self) -> bool:
        """Whether the state after every token is recorded."""
        return all(layer.is_croppable for layer in self.layers)

    def activate_past_recording(self) -> None:
        """Records the state after every token from now on."""
        for layer in self.layers:
            layer.activate_past_recording()


def pillow_image_processor(name: str) -> type:
    """
    The class of image processors that works with Pillow: until 5.3 it has the plain name, since then one in `Pil`.

    Args:
        name (`str`): The plain name, such as `"ViTImageProcessor"`.

    Returns:
        `type`: The class.
    """
    return getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)


def with_stated_max_length(kwargs: dict[str, Any], defaults: GenerationConfig) -> dict[str, Any]:
    """
    Arguments of `generate()` that say the `max_length` of the model's configuration again, where they say none.
    Until 5.2 transformers takes one that is not said for a default, and adds the length of the prompt to it.

    Args:
        kwargs (`dict`): The arguments.
        defaults (`GenerationConfig`): The model's configuration.

    Returns:
        `dict`: The arguments; since 5.3 as they were.
    """
    if _INSTALLED.release[:2] >= (5, 3) or defaults.max_length is None or defaults.max_new_tokens is not None:
        return kwargs
    config = kwargs.get("generation_config")
    limits = ("max_length", "max_new_tokens")
    if any(kwargs.get(name) is not None or getattr(config, name, None) is not None for name in limits):
        return kwargs
    if config is None:
        return {**kwargs, "max_length": defaults.max_length}
    config = copy.deepcopy(config)
    config.max_length = defaults.max_length
    return {**kwargs, "generation_config": config}


def names_of_backbones(
    path: str | os.PathLike, is_base_model: bool, config: Any = None, **hub_kwargs
) -> dict[str, str]:
    """
    How weights are to be renamed as they are loaded. Until 5.5 CLIP and its like have theirs in a `vision_model`,
    which later ones leave out of a checkpoint; those know the old names. From 5.9 to 5.17 transformers does not find
    a backbone's other names where the base model is loaded from the whole one, or the other way round.

    Args:
        path (`str` or `os.PathLike`): The checkpoint.
        is_base_model (`bool`): Whether a model without a head is loaded.
        config (`PreTrainedConfig`, `str` or `os.PathLike`, *optional*): Its configuration, or where that lies.
        hub_kwargs: What finds it on the Hub (`revision`, `token`, ...); all else is ignored.

    Returns:
        `dict[str, str]`: Regular expressions and what replaces them, the `key_mapping` of `from_pretrained`.
    """
    if (5, 9) <= _INSTALLED.release[:2] < (5, 18):
        return {r"^model\.": ""} if is_base_model else {r"^(?=(encoder|decoder)\.)": "model."}
    if _INSTALLED.release[:2] >= (5, 6):
        return {}
    if isinstance(config, PreTrainedConfig):
        settings = config.to_dict()
    else:
        settings = PreTrainedConfig.get_config_dict(config or path, **hub_kwargs)[0]
    members = {rf"members\.{number}\.": member for number, member in enumerate(settings.get("members") or ())}
    mapping = {}
    for prefix, part in ({"": settings} | members).items():
        if part.get("backbone_config") is not None:
            with torch.device("meta"):
                backbone = AutoModel.from_config(AutoConfig.for_model(**part["backbone_config"]))
            if "vision_model" in dict(backbone.named_children()):
                mapping[rf"({prefix}.*encoder\.backbone\.)(?!vision_model\.)"] = r"\1vision_model."
    return mapping
