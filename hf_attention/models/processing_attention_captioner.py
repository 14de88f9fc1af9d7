"""Images and captions as the captioner takes them."""

import os
from collections.abc import Iterable
from typing import Any

from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import ImageInput
from transformers.processing_utils import ProcessingKwargs
from transformers.tokenization_utils_base import LARGE_INTEGER

from .pictures import layout_of, read_image
from .remote_code import CarriesCode
from .special_tokens import end_token_id, name_special_tokens


TEXT_KWARGS = (
    "padding",
    "truncation",
    "max_length",
    "pad_to_multiple_of",
    "padding_side",
    "add_special_tokens",
    "return_attention_mask",
    "return_tensors",
    "verbose",
)
# What a tokenizer that is called does not remember, and a processor does for it.
DEFAULTS_OF_TOKENIZERS = ("padding", "truncation", "max_length", "pad_to_multiple_of")


class AttentionCaptionerProcessor(CarriesCode, ProcessorMixin):
    """
    An image processor and a tokenizer in one.

    Args:
        image_processor ([`~transformers.BaseImageProcessor`]):
            Makes `pixel_values` of images of any size and mode.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Tokenizes captions; any will do. Whether or not it closes a text by itself, labels are the words and its
            end token. Where it has no `eos_token`, `bos_token` or `pad_token`, other special tokens of its own are
            named so: see [`name_special_tokens`].
    """

    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
        if tokenizer is not None:
            name_special_tokens(tokenizer)
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | Iterable[str] | None = None,
        text_target: str | Iterable[str] | None = None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            images (`PIL.Image.Image`, array, path or address, or list of them, *optional*):
                The images. Pillow images are brought into RGB, turned as their EXIF data says; what lies under a
                transparent pixel shows, and 16 bits of grey become 8.
            text (`str` or iterable of `str`, *optional*):
                What each caption begins with. It becomes `decoder_input_ids`: the start token and the words, without
                the closing token; texts of different lengths are padded on the left.
            text_target (`str` or iterable of `str`, *optional*):
                The captions to learn. They become `labels`, closed, with -100 after the end. Of an empty caption only
                the closing token is left; words that the tokenizer does not know become its unknown token.
            return_tensors (`str`, *optional*):
                `"pt"` for tensors.
            kwargs:
                Arguments of the image processor, and for the texts those of the tokenizer, as transformers' processors
                take them: `padding` (by default to the longest), `truncation`, `max_length`, `pad_to_multiple_of`,
                `add_special_tokens` (`False` leaves the start and the closing token out), `return_attention_mask` and
                `verbose`. The first four default to what the tokenizer was made with.

        Returns:
            [`~transformers.BatchFeature`] with `pixel_values`, `decoder_input_ids` (and `decoder_attention_mask` where
            texts differ in length), `labels`, as asked for.

        Raises:
            ValueError:
                Where nothing is given, an empty list, an image without pixels, a text that is no string, or an
                argument of tokenizers that does not apply; or the tokenizer has no end token.
            TypeError: Where an argument is unknown.
        """
        if images is None and text is None and text_target is None:
            raise ValueError("Pass at least one of `images`, `text` and `text_target` to the processor.")
        kwargs = self._merged_kwargs(**kwargs)
        text_kwargs = _checked_text_kwargs(kwargs["text_kwargs"])
        tensor_type = text_kwargs.pop("return_tensors", None)
        features = {}
        if images is not None:
            images = _as_rgb(images)
            features.update(self.image_processor(images, **layout_of(images) | kwargs["images_kwargs"]))
        if text is not None:
            features.update(self._texts(_as_texts(text, "text"), **text_kwargs))
        if text_target is not None:
            features["labels"] = self._labels(_as_texts(text_target, "text_target"), **text_kwargs)
        return BatchFeature(features, tensor_type=return_tensors or tensor_type)

    def _merged_kwargs(self, **kwargs) -> dict[str, dict[str, Any]]:
        """The arguments of each part, those with which the tokenizer was made among them."""
        made_with = getattr(self.tokenizer, "init_kwargs", {})
        defaults = {name: made_with[name] for name in DEFAULTS_OF_TOKENIZERS if made_with.get(name) is not None}
        merged = self._merge_kwargs(ProcessingKwargs, tokenizer_init_kwargs=defaults, **kwargs)
        known = {name for part in merged.values() if isinstance(part, dict) for name in part}
        unknown = [name for name in kwargs if name not in known and not name.endswith("_kwargs")]
        if unknown:
            raise TypeError(f"Neither image processor nor tokenizer takes `{'`, `'.join(unknown)}`.")
        return merged

    def _texts(self, texts: list[str], **text_kwargs) -> dict[str, list[list[int]]]:
        side = text_kwargs.get("padding_side", "left")
        if side != "left":
            raise ValueError(f"`padding_side` must be 'left' for `text`, which a caption goes on from, got {side!r}.")
        rows = self._encode(texts, first=self.tokenizer.bos_token_id, **text_kwargs)
        length = self._padded_length(rows, **text_kwargs)
        pads = [max(length - len(row), 0) for row in rows]
        tokens = [[self.tokenizer.pad_token_id] * pad + row for pad, row in zip(pads, rows, strict=True)]
        features = {"decoder_input_ids": tokens}
        if text_kwargs.get("return_attention_mask", any(pads)):
            mask = [[0] * pad + [1] * len(row) for pad, row in zip(pads, rows, strict=True)]
            features["decoder_attention_mask"] = mask
        return features

    def _labels(self, texts: list[str], **text_kwargs) -> list[list[int]]:
        rows = self._encode(texts, last=end_token_id(self.tokenizer), **text_kwargs)
        length = self._padded_length(rows, **text_kwargs)
        return [row + [-100] * (length - len(row)) for row in rows]

    def _encode(
        self,
        texts: list[str],
        first: int | None = None,
        last: int | None = None,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: bool | str = False,
        verbose: bool = True,
        **text_kwargs,
    ) -> list[list[int]]:
        """The tokens of each text, with the start token or the closing one, whatever the tokenizer adds by itself."""
        before = [first] if add_special_tokens and first is not None else []
        behind = [last] if add_special_tokens and last is not None else []
        length = self.tokenizer.model_max_length if max_length is None else max_length
        is_cut = truncation not in (False, "do_not_truncate") and length < LARGE_INTEGER
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            truncation=truncation if is_cut else False,
            max_length=max(length - len(before) - len(behind), 0) if is_cut else None,
            verbose=verbose,
        )
        return [before + ids + behind for ids in encoded["input_ids"]]

    def _padded_length(
        self,
        rows: list[list[int]],
        padding: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int = 1,
        **text_kwargs,
    ) -> int:
        """How long the shorter rows become."""
        if padding in (False, "do_not_pad"):
            return 0
        length = max(map(len, rows))
        if padding == "max_length":
            length = self.tokenizer.model_max_length if max_length is None else max_length
            if length >= LARGE_INTEGER:
                raise ValueError("`padding='max_length'` needs a `max_length`: the tokenizer has none of its own.")
        return -(-length // pad_to_multiple_of) * pad_to_multiple_of

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "decoder_input_ids", "decoder_attention_mask", "labels"]


def _checked_text_kwargs(text_kwargs: dict[str, Any]) -> dict[str, Any]:
    for name, value in text_kwargs.items():
        if name not in TEXT_KWARGS and value not in (None, False, 0):
            raise ValueError(
                f"`{name}={value!r}` does not apply to this processor, which makes one row of a text. Of a "
                f"tokenizer's arguments it takes {', '.join(TEXT_KWARGS)}."
            )
    checked = {name: value for name, value in text_kwargs.items() if name in TEXT_KWARGS and value is not None}
    if "max_length" in checked and checked.get("padding", False) is False:
        checked.setdefault("truncation", True)  # as a tokenizer does
    return checked


def _as_texts(text: str | Iterable[str], name: str) -> list[str]:
    texts = [text] if isinstance(text, str) or not isinstance(text, Iterable) else list(text)
    if not texts or not all(isinstance(item, str) for item in texts):
        raise ValueError(f"`{name}` must be a string or a non-empty list of strings, got {text!r}.")
    return texts


def _as_rgb(images: ImageInput) -> ImageInput:
    if isinstance(images, list | tuple):
        if not images:
            raise ValueError("`images` is an empty list.")
        return [_as_rgb(image) for image in images]
    if isinstance(images, str | os.PathLike | Image.Image):
        return read_image(images)
    if 0 in getattr(images, "shape", ()):  # of an array
        raise ValueError(f"An image has no pixels: its shape is {tuple(images.shape)}.")
    return images
