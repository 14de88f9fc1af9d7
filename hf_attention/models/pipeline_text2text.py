"""The tasks `text2text-generation`, `summarization` and `translation`: a text for a text."""

import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any, ClassVar

import torch
from tokenizers import decoders
from torch.utils.data import Dataset, IterableDataset
from transformers import BatchEncoding, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from .alignment import attention_maps
from .pipeline_generating import CheckedDataset, GeneratingPipeline, Stream, checked, has_no_words, with_one_limit
from .positions import READ_WHOLE, source_positions
from .unknown_words import replace_unknown_words


logger = logging.get_logger(__name__)

LANGUAGES = re.compile("translation_(.+)_to_(.+)")


class Text2TextGenerationPipeline(GeneratingPipeline):
    """
    Answers a text with a text, with any encoder-decoder that `AutoModelForSeq2SeqLM` loads.

    It takes what the task of this name took in transformers 4.57, and answers the same. Asked for
    `output_attentions=True` it also says where in the source the model looked as it wrote each token.

    Generation goes by the arguments of the call, then those given here, then what the model's configuration has in
    `task_specific_params` for the task (T5's `prefix` is put before every source), then the model's generation
    configuration, then at most 256 new tokens and 4 beams. A `max_length` holds wherever it comes from, and arguments
    given here go before `task_specific_params`; in 4.57 the 256 new tokens and the `task_specific_params` won.

    Args:
        model (`PreTrainedModel`):
            An encoder-decoder with `generate()` that reads text.
        tokenizer (`PreTrainedTokenizerBase`):
            Turns the source into tokens, and tokens into text.
        kwargs:
            What [`~transformers.Pipeline`] takes (`device`, `batch_size`, ...), and defaults for the arguments of a
            call.

    Raises:
        ValueError: The model is no encoder-decoder that generates, or there is no tokenizer, or one that does not fit.

    Example:

    ```python
    >>> import hf_attention
    >>> from transformers import pipeline

    >>> chat = pipeline("text2text-generation", model="path-or-hub-id")
    >>> chat("How are you?")
    [{'generated_text': 'fine , and you ?'}]
    ```
    """

    task_name = "text2text-generation"
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    generation_defaults: ClassVar[dict[str, Any]] = {"max_new_tokens": 256, "num_beams": 4}

    return_name = "generated"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        task: str = "",
        **kwargs: Any,
    ) -> None:
        name = model.name_or_path or type(model).__name__
        # Some decoders that listen are among those of sequence to sequence, too.
        reads = (
            model.config.is_encoder_decoder or model.config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
        )
        if not (model.can_generate() and reads):
            raise ValueError(
                f"{type(self).__name__} needs an encoder-decoder that generates text; {type(model).__name__} is none."
            )
        if tokenizer is None:
            raise ValueError(f"{type(self).__name__} needs a tokenizer for {name!r}: pass `tokenizer=`.")
        if has_no_words(tokenizer):
            raise ValueError(f"The tokenizer of {name!r} has no words: the checkpoint lacks its files.")
        # A tokenizer with a vocabulary a side has another for what is generated.
        self._target_tokenizer = getattr(tokenizer, "target_tokenizer", tokenizer)
        super().__init__(model=model, tokenizer=tokenizer, task=task, **kwargs)
        parameters = dict((getattr(model.config, "task_specific_params", None) or {}).get(task) or {})
        self.prefix = parameters.pop("prefix", getattr(model.config, "prefix", None)) or ""
        if "generation_config" not in self._generate_kwargs:
            known = vars(GenerationConfig())
            parameters = {name: value for name, value in parameters.items() if name in known}
            self._generate_kwargs = with_one_limit(parameters) | with_one_limit(self._generate_kwargs)

    def _sanitize_parameters(
        self,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: bool | str | None = None,
        stop_sequence: str | None = None,
        output_attentions: bool | None = None,
        replace_unknown: bool | None = None,
        generate_kwargs: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_params: dict[str, Any] = {}
        if truncation is not None:
            preprocess_params["truncation"] = truncation

        forward_params = self.generation_params(generate_kwargs, **arguments)
        if stop_sequence is not None:
            forward_params["eos_token_id"] = self._stop_token(stop_sequence)

        postprocess_params: dict[str, Any] = {}
        # Kept apart from the arguments of generate(), which may hold one of the same name.
        if output_attentions is not None:
            forward_params["return_maps"] = postprocess_params["return_maps"] = output_attentions
        if replace_unknown is not None:
            preprocess_params["return_words"] = replace_unknown
            forward_params["replace_unknown"] = postprocess_params["replace_unknown"] = replace_unknown
        if return_tensors is not None:
            postprocess_params["return_tensors"] = return_tensors
        if return_text is not None and return_text == bool(return_tensors):
            logger.warning(f"`return_text={return_text}` has no effect: `return_tensors` says what is returned.")
        if clean_up_tokenization_spaces is not None:
            postprocess_params["clean_up_tokenization_spaces"] = clean_up_tokenization_spaces
        return preprocess_params, forward_params, postprocess_params

    def _stop_token(self, stop_sequence: str) -> int:
        tokens = self._target_tokenizer.encode(stop_sequence, add_special_tokens=False)
        if not tokens:
            raise ValueError(f"`stop_sequence` {stop_sequence!r} is no token.")
        if len(tokens) > 1:
            logger.warning(
                f"`stop_sequence` {stop_sequence!r} is {len(tokens)} tokens: generation stops at the first of them, "
                f"{self._target_tokenizer.convert_ids_to_tokens(tokens[0])!r}."
            )
        return tokens[0]

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """
        Writes a text for each source.

        Args:
            inputs (`str`, or several):
                A source; or a list, a tuple, a column of a data set, a generator, another iterable or a torch
                `Dataset` of sources. An empty source is answered as any other. A list of lists is answered list by
                list.
            args: Have no effect, as in 4.57; it is said.
            return_tensors (`bool`, *optional*, defaults to `False`):
                Whether to answer with token ids in place of text.
            return_text (`bool`, *optional*):
                Has no effect, as in 4.57: `return_tensors` decides.
            clean_up_tokenization_spaces (`bool`, *optional*, defaults to `False`):
                Whether to take out the spaces before English punctuation.
            truncation (`bool` or `str`, *optional*, defaults to `False`):
                Whether to cut a source longer than the tokenizer's or the model's maximum, as the tokenizer's argument
                of that name. Otherwise a source longer than the tokenizer's is only warned of, and one longer than
                the model has positions for is an error.
            stop_sequence (`str`, *optional*):
                Ends a text: its first token, in place of the end token.
            output_attentions (`bool`, *optional*, defaults to `False`):
                Whether each answer tells where the model looked.
            replace_unknown (`bool`, *optional*, defaults to `False`):
                Whether the model may write unknown words, each of which is replaced by the source word that it looked
                at (Luong et al. 2015, section 4.2). It is for vocabularies of words; pieces leave nothing unknown.
            batch_size (`int`, *optional*, defaults to 1):
                How many sources go through the model at once.
            generate_kwargs (`dict`, *optional*):
                Goes to the model's `generate()`, as do arguments that are not named here (`max_new_tokens`,
                `num_beams`, ...).

        Returns:
            For one source, a list with a `dict` for each returned sequence. For a list, tuple or column a list with
            an item for each source: its `dict`, or where any source has several sequences a list of them. For
            anything else that yields sources, an iterator over lists. The keys of a `dict`, where `name` is
            `generated`, `summary` or `translation` as the task goes:

            - **{name}_text** (`str`): the text, special tokens left out.
            - **{name}_token_ids** (`torch.LongTensor`, with `return_tensors=True`): the tokens.
            - **score** (`float`, with `output_scores=True`): what beam search ranks the text by, or else the sum of
              the log-probabilities of its tokens.
            - **attentions** (`torch.FloatTensor` of shape `(generated tokens, source tokens)`, with
              `output_attentions=True`): the weights with which each token's step looked at the source.
            - **tokens**, **source_tokens** (`list[str]`, with `output_attentions=True`): the tokens that the rows and
              the columns belong to, the closing one included.

        Raises:
            TypeError: A source is no string; the message tells its place.
            ValueError: A source is too long, or an argument makes no sense for this model.
        """
        if isinstance(inputs, str):
            return super().__call__(inputs, *args, **kwargs)
        if isinstance(inputs, list) and inputs and all(isinstance(each, list) for each in inputs):
            return [self(each, *args, **kwargs) for each in inputs]
        if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
            return super().__call__(CheckedDataset(inputs, _check_source), *args, **kwargs)
        if not isinstance(inputs, Iterable) or isinstance(inputs, bytes | Mapping):
            raise TypeError(f"A source must be a string, or several in a list, got {type(inputs).__name__}.")
        if not isinstance(inputs, Sized):
            return super().__call__(Stream(checked(inputs, _check_source)), *args, **kwargs)
        if len(inputs) == 0:
            return []
        answers = super().__call__(list(checked(inputs, _check_source)), *args, **kwargs)
        return [answer for [answer] in answers] if all(len(answer) == 1 for answer in answers) else answers

    def preprocess(self, source: str, truncation: bool | str = False, return_words: bool = False) -> BatchEncoding:
        return self._tokenize(self.prefix + source, truncation, return_words)

    def _tokenize(
        self, text: str, truncation: bool | str, return_words: bool = False, **languages: str
    ) -> BatchEncoding:
        """Tokens as the model takes them; `languages` go to a tokenizer that needs to know them."""
        tokenize = self.tokenizer._build_translation_inputs if languages else self.tokenizer
        limit = source_positions(self.model)
        options: dict[str, Any] = {"return_tensors": "pt", "truncation": truncation, "verbose": False, **languages}
        if limit is not None and self.tokenizer.model_max_length > limit and truncation in (True, "longest_first"):
            options["max_length"] = limit
        inputs = tokenize(text, **options)
        inputs.pop("token_type_ids", None)
        length = inputs["input_ids"].shape[1]
        if length == 0:
            raise ValueError(f"The tokenizer makes no token of the source {text!r}: there is nothing to read.")
        self._check_tokens(inputs["input_ids"])
        if limit is not None and length > limit:
            raise ValueError(
                f"A source of {length} tokens is too long, the model has positions for {limit}: "
                f"pass `truncation=True` to cut it. It begins {text[:60]!r}."
            )
        if length > self.tokenizer.model_max_length:
            logger.warning_once(READ_WHOLE.format("A source", self.tokenizer.model_max_length))
        if return_words:
            inputs["source_words"] = [text[start:end].strip() for start, end in inputs.encodings[0].offsets]
        return inputs

    def _check_tokens(self, input_ids: torch.LongTensor) -> None:
        """Many a checkpoint has a tokenizer that is larger than its table, by tokens that never occur."""
        size = self.model.get_input_embeddings().weight.shape[0]
        beyond = input_ids[input_ids >= size].tolist()
        if beyond:
            raise ValueError(
                f"The source has the token {self.tokenizer.convert_ids_to_tokens(beyond[0])!r}, {beyond[0]}, but "
                f"{self.model.name_or_path or type(self.model).__name__!r} has embeddings for {size} tokens: the "
                "tokenizer is another model's, or tokens were added without "
                "`model.resize_token_embeddings(len(tokenizer))`."
            )

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """
        Warns where the limits make no sense for a source; a subclass says which.

        Args:
            input_length: Tokens of the longest source.
            min_length: The fewest tokens that may be generated.
            max_length: The most.

        Returns:
            Whether generation may go on: always `True`.
        """
        return True

    def _forward(
        self,
        model_inputs: Mapping[str, torch.Tensor],
        return_maps: bool = False,
        replace_unknown: bool = False,
        **generate_kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        model_inputs = dict(model_inputs)
        source_words = model_inputs.pop("source_words", None)
        # An id from the tokenizer of a multilingual model; batching makes a list of the sources' ids, all the same.
        language = model_inputs.pop("forced_bos_token_id", None)
        overrides = {}
        if language is not None and "forced_bos_token_id" not in generate_kwargs:
            overrides["forced_bos_token_id"] = language[0] if isinstance(language, list) else language
        if replace_unknown:
            # What shall be replaced must be generated first: the unknown token is let through.
            unknown = self._target_tokenizer.unk_token_id
            overrides["suppress_tokens"] = [id for id in self._suppressed_tokens(generate_kwargs) if id != unknown]
        if return_maps or replace_unknown:
            generate_kwargs |= {"return_dict_in_generate": True, "output_attentions": True}
        generate_kwargs = self.prepare_generate_kwargs(generate_kwargs, **overrides)

        sources, input_length = model_inputs["input_ids"].shape
        asked = self.asked_for(generate_kwargs)
        max_length = asked.get("max_new_tokens") or asked.get("max_length")
        if max_length is not None:
            self.check_inputs(input_length, asked.get("min_length") or 0, max_length)

        outputs = self.model.generate(**model_inputs, **generate_kwargs)
        answers = self.sequences_of(outputs, sources, generate_kwargs)
        if return_maps or replace_unknown:
            try:
                maps = attention_maps(outputs, asked.get("eos_token_id"))
            except ValueError as error:
                argument = "output_attentions" if return_maps else "replace_unknown"
                raise ValueError(
                    f"`{argument}=True`: this {type(self.model).__name__} gave no attention over the source. "
                    "Either it has none, or its implementation keeps the weights to itself "
                    '(`model_kwargs={"attn_implementation": "eager"}` gives them).'
                ) from error
            answers["maps"] = maps.unflatten(0, (sources, -1))
            answers["source"] = model_inputs["input_ids"]
            answers["source_mask"] = model_inputs["attention_mask"]
        if source_words is not None:
            answers["source_words"] = source_words
        return answers

    def _suppressed_tokens(self, generate_kwargs: dict[str, Any]) -> Sequence[int]:
        if hasattr(self.model, "suppressed_tokens"):
            return self.model.suppressed_tokens(**self.prepare_generate_kwargs(generate_kwargs))
        return self.asked_for(generate_kwargs).get("suppress_tokens") or ()

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
        replace_unknown: bool = False,
        return_maps: bool = False,
    ) -> list[dict[str, Any]]:
        sequences = model_outputs["sequences"].flatten(0, 1)
        records: list[dict[str, Any]] = []
        for sequence in sequences:
            if return_tensors:
                records.append({f"{self.return_name}_token_ids": sequence})
                continue
            text = self.tokenizer.decode(
                sequence, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
            )
            records.append({f"{self.return_name}_text": text})
        if "scores" in model_outputs:
            for record, score in zip(records, model_outputs["scores"].flatten().tolist(), strict=True):
                record["score"] = score
        if "maps" in model_outputs:
            read = model_outputs["source_mask"].flatten().bool()
            source_tokens = self.tokenizer.convert_ids_to_tokens(model_outputs["source"].flatten()[read].tolist())
            for record, sequence, weights in zip(records, sequences, model_outputs["maps"].flatten(0, 1), strict=True):
                generated = sequence[len(sequence) - len(weights) :]
                length = int(weights.any(-1).sum())  # after the end the rows are zero
                weights = weights[:length, read].clone()
                tokens = self._target_tokenizer.convert_ids_to_tokens(generated[:length].tolist())
                if replace_unknown and not return_tensors:
                    words = model_outputs["source_words"]
                    record[f"{self.return_name}_text"] = self._with_words(tokens, weights, words)
                if return_maps:
                    record |= {"attentions": weights, "tokens": tokens, "source_tokens": list(source_tokens)}
        return records

    def _with_words(self, tokens: list[str], maps: torch.Tensor, source_words: list[str]) -> str:
        """The text of a target whose unknown words are replaced."""
        tokenizer = self._target_tokenizer
        if isinstance(tokenizer.backend_tokenizer.decoder, decoders.Metaspace):
            source_words = [word and "▁" + word for word in source_words]  # with a space before it
        replaced = replace_unknown_words(tokens, maps, source_words, tokenizer.unk_token)
        return tokenizer.convert_tokens_to_string(
            [token for token in replaced if token not in tokenizer.all_special_tokens]
        )


class SummarizationPipeline(Text2TextGenerationPipeline):
    """
    Sums up texts, as [`Text2TextGenerationPipeline`] with the keys `summary_text` and `summary_token_ids`.

    It warns where a summary may be longer than its text.

    Example:

    ```python
    >>> import hf_attention
    >>> from transformers import pipeline

    >>> summarizer = pipeline("summarization", model="path-or-hub-id")
    >>> summarizer("A long story about a dog, the snow and the sea.", max_new_tokens=5)
    [{'summary_text': 'a dog at sea'}]
    ```
    """

    task_name = "summarization"
    return_name = "summary"

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """As [`Text2TextGenerationPipeline.check_inputs`]."""
        if max_length < min_length:
            logger.warning(f"`min_length`, {min_length}, is above the maximum length of a summary, {max_length}.")
        if input_length < max_length:
            logger.warning(
                f"A summary may have {max_length} tokens, but the text has only {input_length}: a lower `max_length` "
                f"makes it shorter than the text, such as `max_length={input_length // 2}`."
            )
        return True


class TranslationPipeline(Text2TextGenerationPipeline):
    """
    Translates, as [`Text2TextGenerationPipeline`] with the keys `translation_text` and `translation_token_ids`.

    The name of the task may hold the languages, as in `translation_en_to_de`. Multilingual models (mBART, M2M100,
    NLLB) write the language they are told, by the task's name or by `src_lang` and `tgt_lang`. A model with
    `task_specific_params` for several pairs (T5) goes by the task's name; plain `translation` is the first of them.
    To a model of one pair the languages make no difference. Of languages that a model is known not to have it warns.
    It warns where a translation may have too little room.

    Args:
        model (`PreTrainedModel`): As [`Text2TextGenerationPipeline`].
        tokenizer (`PreTrainedTokenizerBase`): As [`Text2TextGenerationPipeline`].
        task (`str`, *optional*): `translation` or `translation_xx_to_yy`; without one no parameters of a task count.
        kwargs: As [`Text2TextGenerationPipeline`]; `src_lang` and `tgt_lang` (`str`) go before the task's name.

    Raises:
        ValueError: As [`Text2TextGenerationPipeline`].

    Example:

    ```python
    >>> import hf_attention
    >>> from transformers import pipeline

    >>> translator = pipeline("translation_en_to_de", model="path-or-hub-id")
    >>> translator("Two dogs play in the snow.")
    [{'translation_text': 'Zwei Hunde spielen im Schnee.'}]
    ```
    """

    task_name = "translation"
    names_languages = True
    return_name = "translation"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        task: str = "",
        **kwargs: Any,
    ) -> None:
        parameters = getattr(model.config, "task_specific_params", None) or {}
        known = [name for name in parameters if name.startswith(self.task_name)]
        if known and task == self.task_name:
            task = known[0]
            if len(known) > 1:
                logger.warning(f"The task {self.task_name!r} does not say which languages: taking {task!r}.")
        elif known and task not in known:
            logger.warning(
                f"The model has parameters for {', '.join(known)}, and none for {task!r}: nothing is put before a "
                "source, and generation goes by the model's general settings."
            )
        pair = LANGUAGES.fullmatch(task)
        if pair:
            kwargs = {"src_lang": pair[1], "tgt_lang": pair[2]} | kwargs
        super().__init__(model=model, tokenizer=tokenizer, task=task, **kwargs)

    def _sanitize_parameters(
        self, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_params, forward_params, postprocess_params = super()._sanitize_parameters(**kwargs)
        languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
        preprocess_params |= {name: language for name, language in languages.items() if language is not None}
        return preprocess_params, forward_params, postprocess_params

    def _is_multilingual(self) -> bool:
        return hasattr(self.tokenizer, "_build_translation_inputs")

    def _known_languages(self) -> str:
        codes = self.tokenizer.all_special_tokens
        return ", ".join(code.strip("_") for code in codes if re.fullmatch("_*[a-z]{2,}(_[A-Za-z]+)?_*", code))

    def _warn_of_language(self, argument: str, language: str) -> None:
        """Tells of a code without a token, which tokenizers take for an unknown word, and of another pair's."""
        if self._is_multilingual():
            codes = self.tokenizer.all_special_tokens
            if language not in codes and f"__{language}__" not in codes:
                known = self._known_languages()
                logger.warning_once(f"The model does not know the language {argument}={language!r}; it knows {known}.")
            return
        # What the model is for, as far as its tokenizer says.
        only = self.tokenizer.init_kwargs.get({"src_lang": "source_lang", "tgt_lang": "target_lang"}[argument])
        # Two letters mean one language; a longer code may be a group of languages, and `xx` any.
        if only is not None and len(only) == len(language) == 2 and language not in (only, "xx", "yy"):
            logger.warning_once(f"This model is for the language {only!r}, got {argument}={language!r}.")

    def preprocess(
        self,
        source: str,
        truncation: bool | str = False,
        return_words: bool = False,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
    ) -> BatchEncoding:
        languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
        for argument, language in languages.items():
            if language is not None:
                self._warn_of_language(argument, language)
        if not self._is_multilingual():
            return super().preprocess(source, truncation, return_words)
        if src_lang is None or tgt_lang is None:
            raise ValueError(
                f"This model translates between many languages: pass `src_lang` and `tgt_lang`, got {src_lang=} and "
                f"{tgt_lang=}."
            )
        try:
            return self._tokenize(source, truncation, return_words, **languages)
        except KeyError as error:  # M2M100's tokenizer looks its languages up
            raise ValueError(
                f"The model does not know {src_lang=} or {tgt_lang=}; it knows {self._known_languages()}."
            ) from error

    def check_inputs(self, input_length: int, min_length: int, max_length: int) -> bool:
        """As [`Text2TextGenerationPipeline.check_inputs`]."""
        if input_length > 0.9 * max_length:
            logger.warning(
                f"The source has {input_length} tokens, its translation may have {max_length}: a higher `max_length` "
                "leaves it more room."
            )
        return True


def _check_source(source: Any) -> None:
    if not isinstance(source, str):
        column = ' Of a data set pass the column of texts, `dataset["text"]`.' if isinstance(source, dict) else ""
        raise TypeError(f"A source must be a string, got {type(source).__name__}.{column}")
