"""The `image-to-text` task: one sentence, or several, about a picture."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset
from transformers import (
    AutoModelForImageTextToText,
    BaseImageProcessor,
    BatchEncoding,
    BatchFeature,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from .alignment import attention_maps
from .pictures import check_picture, layout_of, read_image
from .pipeline_generating import CheckedDataset, GeneratingPipeline, Stream, as_list, checked, has_no_words
from .regions import ImageRegions


class ImageToTextPipeline(GeneratingPipeline):
    """
    Describes images in words, with any model that makes text from an image.

    It takes what the task of this name took in transformers 4.57, and answers the same. Asked for
    `output_attentions=True` it also says where the model looked as it wrote each token.

    Unless the checkpoint's generation configuration says otherwise, at most 256 new tokens are generated.

    Args:
        model (`PreTrainedModel`):
            A model with `generate()` that takes images.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Turns tokens into text; the processor's where none is given.
        image_processor (`BaseImageProcessor`, *optional*):
            Turns images into the model's inputs; the processor's where none is given.
        processor (`ProcessorMixin`, *optional*):
            Both in one. Where there is one, a prompt goes through it.
        kwargs:
            What [`~transformers.Pipeline`] takes (`device`, `batch_size`, ...), and defaults for the arguments of a
            call.

    Raises:
        ValueError: The model cannot generate, or there is no tokenizer, or no image processor.

    Example:

    ```python
    >>> import hf_attention
    >>> from transformers import pipeline

    >>> captioner = pipeline("image-to-text", model="path-or-hub-id")
    >>> captioner("photo.jpg")
    [{'generated_text': 'a dog runs through the snow'}]
    ```
    """

    task_name = "image-to-text"
    modality = "multimodal"
    auto_class = AutoModelForImageTextToText
    _load_processor = None
    _load_image_processor = None
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = None

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        image_processor: BaseImageProcessor | None = None,
        processor: ProcessorMixin | None = None,
        **kwargs: Any,
    ) -> None:
        if not model.can_generate():
            raise ValueError(f"image-to-text needs a model that generates text; {type(model).__name__} does not.")
        tokenizer, image_processor = find_parts("image-to-text", model, tokenizer, image_processor, processor)
        super().__init__(
            model=model, tokenizer=tokenizer, image_processor=image_processor, processor=processor, **kwargs
        )
        self._image_regions = ImageRegions.of(self.model.config, self.image_processor)

    def _sanitize_parameters(
        self,
        generate_kwargs: dict[str, Any] | None = None,
        prompt: str | None = None,
        timeout: float | None = None,
        output_attentions: bool | None = None,
        **arguments: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess_params: dict[str, Any] = {}
        if prompt is not None:
            if not isinstance(prompt, str):
                raise ValueError(f"`prompt` is one string for all images, got {type(prompt).__name__}.")
            preprocess_params["prompt"] = prompt
        if timeout is not None:
            preprocess_params["timeout"] = timeout

        forward_params = self.generation_params(generate_kwargs, **arguments)
        # Kept apart from the arguments of generate(), which may hold one of the same name.
        if output_attentions is not None:
            forward_params["return_maps"] = output_attentions
            preprocess_params["return_regions"] = output_attentions
        return preprocess_params, forward_params, {}

    def __call__(self, inputs: Any = None, **kwargs: Any) -> Any:
        """
        Writes a text for each image.

        Args:
            inputs (`str`, `os.PathLike`, `PIL.Image.Image`, or several of them):
                A path, an `http(s)` address, an image in base64 or a PIL image; or a list, a tuple, a column of a
                data set or of pandas, an array of paths, a generator, another iterable or a torch `Dataset` of them.
            generate_kwargs (`dict`, *optional*):
                Goes to the model's `generate()`, as do arguments that are not named here (`max_new_tokens`,
                `num_beams`, ...).
            prompt (`str`, *optional*):
                How the text begins, for models that can go on from there; for Pix2Struct the header of the picture.
                A model that reads the image among the words (LLaVA and its kin) reads it at `<image>`, or whatever
                its token is, or before the prompt where that is not in it.
            timeout (`float`, *optional*):
                Seconds to wait for an image from the web. By default for ever.
            output_attentions (`bool`, *optional*, defaults to `False`):
                Whether each answer tells where the model looked.
            batch_size (`int`, *optional*, defaults to 1):
                How many images go through the model at once.

        Returns:
            For one image, a list with a `dict` for each returned sequence; for a list, tuple or column of images, a
            list of such lists; for anything else that yields images, an iterator over them. The keys of a `dict`:

            - **generated_text** (`str`): the text, special tokens left out.
            - **score** (`float`, with `output_scores=True`): what beam search ranks the text by, or else the sum of
              the log-probabilities of its tokens.
            - **attentions** (`torch.Tensor` of shape `(generated tokens, regions)`, with `output_attentions=True`):
              the weights with which each token's step looked at the regions of the image.
            - **tokens** (`list[str]`, with `output_attentions=True`): the tokens that the rows belong to, the closing
              one included.
            - **regions** (`torch.FloatTensor` of shape `(regions, 4)`, with `output_attentions=True` and a model of
              this package): left, top, right and bottom of each region in pixels of the image, turned as its EXIF
              says. See [`ImageRegions`].
            - **grid** (`tuple[int, int]`, likewise): rows and columns of the regions, which run row by row.

        Raises:
            TypeError: An input is no image and names none.
            ValueError: An image cannot be read, or an argument makes no sense for this model.
        """
        if "images" in kwargs:  # an older name of the argument
            inputs = kwargs.pop("images")
        if inputs is None:
            raise ValueError("image-to-text got no `inputs`: pass an image, or a list of images.")
        inputs = as_list(inputs)
        if isinstance(inputs, list):
            return super().__call__(list(checked(inputs, check_picture)), **kwargs) if inputs else []
        if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
            return super().__call__(CheckedDataset(inputs, check_picture), **kwargs)
        if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Iterable):
            return super().__call__(inputs, **kwargs)
        if hasattr(inputs, "__array__"):
            raise TypeError(f"image-to-text takes no {type(inputs).__name__}: make a PIL image of it.")
        # A data set's column, too, is then decoded image by image.
        answers = super().__call__(Stream(checked(inputs, check_picture)), **kwargs)
        return list(answers) if isinstance(inputs, Sequence) else answers

    def preprocess(
        self, image: Any, prompt: str | None = None, timeout: float | None = None, return_regions: bool = False
    ) -> BatchFeature:
        image = read_image(image, timeout)
        layout = layout_of(image)
        model_type = self.model.config.model_type
        if prompt is None:
            inputs = self.image_processor(images=image, return_tensors="pt", **layout)
        elif model_type == "vision-encoder-decoder":
            raise ValueError("A vision-encoder-decoder model takes no `prompt`.")
        elif model_type == "pix2struct":
            inputs = self.image_processor(images=image, header_text=prompt, return_tensors="pt", **layout)
        elif model_type == "git":
            inputs = self.image_processor(images=image, return_tensors="pt", **layout)
            # GIT goes on from [CLS] and the words; its tokenizer would close the text.
            words = self.tokenizer(prompt, add_special_tokens=False).input_ids
            inputs["input_ids"] = torch.tensor([[self.tokenizer.cls_token_id, *words]])
        elif model_type == "blip-2":
            inputs = self.image_processor(images=image, return_tensors="pt", **layout)
            inputs.update(with_image_places(self.tokenizer(prompt, return_tensors="pt"), self.model.config))
        elif self.processor is not None and not self._has_places(prompt):
            prompt = self._with_image_token(prompt)
            inputs = self.processor(images=image, text=prompt, return_tensors="pt", **layout)
            if "decoder_input_ids" in inputs and hasattr(self.model, "special_tokens"):
                # The tokenizer's start token is not the model's where a configuration names none.
                inputs["decoder_input_ids"][:, 0] = self.model.special_tokens()["decoder_start_token_id"]
        elif self.model.config.is_encoder_decoder:
            # The tokenizer would close the text, and a decoder begins with a token of its own.
            raise ValueError(f"A {model_type} model takes a `prompt` through its processor: pass `processor=`.")
        else:
            inputs = self.image_processor(images=image, return_tensors="pt", **layout)
            inputs.update(self.tokenizer(prompt, return_tensors="pt"))
        inputs = inputs.to(self.dtype)
        if return_regions and self._image_regions is not None:
            regions, grid = self._image_regions(image)
            inputs |= {"regions": regions.unsqueeze(0), "grid": torch.tensor([grid])}
        return inputs

    def _image_token(self) -> str | None:
        """What stands in a text where the model reads the image, in so many copies as it reads vectors of it."""
        token_id = getattr(self.model.config, "image_token_id", None)
        return None if token_id is None else self.tokenizer.convert_ids_to_tokens(token_id)

    def _has_places(self, prompt: str) -> bool:
        """Whether all the copies are written out already, which a processor would make of one."""
        token = self._image_token()
        return token is not None and prompt.count(token) > 1

    def _with_image_token(self, prompt: str) -> str:
        """The image stands before the words, where the prompt does not say where."""
        token = self._image_token()
        if token is None or token in prompt or self.model.config.model_type == "paligemma":  # its processor does it
            return prompt
        return token + prompt

    def _forward(
        self, model_inputs: dict[str, torch.Tensor], return_maps: bool = False, **generate_kwargs: Any
    ) -> dict[str, torch.Tensor]:
        if return_maps:
            generate_kwargs |= {"return_dict_in_generate": True, "output_attentions": True}
        model_inputs = dict(model_inputs)
        places = {name: model_inputs.pop(name) for name in ("regions", "grid") if name in model_inputs}
        # Of some models the pixel values are the patches of all images.
        images = len(model_inputs.get("input_ids", next(iter(model_inputs.values()))))
        generate_kwargs = self.prepare_generate_kwargs(generate_kwargs)
        outputs = self.model.generate(**model_inputs, **generate_kwargs)
        answers = {**self.sequences_of(outputs, images, generate_kwargs), **places}
        if return_maps:
            try:
                end = self.asked_for(generate_kwargs).get("eos_token_id")
                maps = attention_maps(outputs, end)
            except ValueError as error:
                raise ValueError(
                    f"`output_attentions=True`: this {type(self.model).__name__} gave no attention over an image. "
                    "Either it has none, or its implementation keeps the weights to itself "
                    '(`model_kwargs={"attn_implementation": "eager"}` gives them).'
                ) from error
            answers["maps"] = maps.unflatten(0, (images, -1))
        return answers

    def postprocess(self, model_outputs: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        sequences = model_outputs["sequences"].flatten(0, 1)
        records: list[dict[str, Any]] = [
            {"generated_text": self.tokenizer.decode(sequence, skip_special_tokens=True)} for sequence in sequences
        ]
        if "scores" in model_outputs:
            for record, score in zip(records, model_outputs["scores"].flatten().tolist(), strict=True):
                record["score"] = score
        if "maps" in model_outputs:
            for record, sequence, weights in zip(records, sequences, model_outputs["maps"].flatten(0, 1), strict=True):
                generated = sequence[len(sequence) - len(weights) :]
                length = int(weights.any(-1).sum())  # after the end the rows are zero
                record["attentions"] = weights[:length].clone()
                record["tokens"] = self.tokenizer.convert_ids_to_tokens(generated[:length].tolist())
                if "regions" in model_outputs:
                    record["regions"] = model_outputs["regions"][0]
                    record["grid"] = tuple(model_outputs["grid"][0].tolist())
        return records

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """
        Saves the model and all that turns images into its inputs and tokens into text, the processor included.

        Args:
            save_directory (`str` or `os.PathLike`):
                The folder; it is made where it does not exist.
            kwargs:
                Goes to each part's `save_pretrained`.
        """
        super().save_pretrained(save_directory, **kwargs)
        if self.processor is not None:
            self.processor.save_pretrained(save_directory, **kwargs)


def with_image_places(text: BatchEncoding, config: PreTrainedConfig) -> BatchEncoding:
    """
    A text for BLIP-2, whose language model reads the image at tokens of its own: they come before the words, as its
    processor puts them, unless the text has them.

    Args:
        text (`BatchEncoding`): The tokens of one text.
        config (`PreTrainedConfig`): The model's.
    """
    token, number = config.image_token_index, config.num_query_tokens
    if token is None or (text["input_ids"] == token).any():
        return text
    for name, value in (("input_ids", token), ("attention_mask", 1)):
        text[name] = torch.cat([torch.full((1, number), value), text[name]], 1)
    return text


def find_parts(
    task: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    image_processor: BaseImageProcessor | None,
    processor: ProcessorMixin | None,
) -> tuple[PreTrainedTokenizerBase, BaseImageProcessor]:
    """Tokenizer and image processor, the processor's where none is given; the errors name what is missing."""
    name = model.name_or_path or type(model).__name__
    tokenizer = getattr(processor, "tokenizer", None) if tokenizer is None else tokenizer
    image_processor = getattr(processor, "image_processor", None) if image_processor is None else image_processor
    for part, argument, auto_class in (
        (tokenizer, "tokenizer", "AutoTokenizer"),
        (image_processor, "image_processor", "AutoImageProcessor"),
    ):
        if part is None:
            raise ValueError(
                f"{task} found no {argument} for {name!r}: pass `{argument}=` or `processor=`, or the checkpoint's "
                f"name for the model. `{auto_class}.from_pretrained` says why one that is there does not load."
            )
    if has_no_words(tokenizer):
        raise ValueError(f"The tokenizer of {name!r} has no words: the checkpoint lacks its files.")
    return tokenizer, image_processor
