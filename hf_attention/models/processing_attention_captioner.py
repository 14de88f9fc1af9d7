"""Images and captions as the captioner takes them."""

import os
from collections.abc import Iterable

from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import ImageInput
from transformers.processing_utils import ProcessingKwargs

from .pictures import layout_of, read_image
from .remote_code import CarriesCode


class AttentionCaptionerProcessor(CarriesCode, ProcessorMixin):
    """
    An image processor and a tokenizer in one.

    Args:
        image_processor ([`~transformers.BaseImageProcessor`]):
            Makes `pixel_values` of images of any size and mode.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Tokenizes captions; it closes a text with its end-of-sentence token.
    """

    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
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
                Arguments of the image processor, and `truncation` and `max_length` for the texts, as transformers'
                processors take them. Texts are always padded to the longest.

        Returns:
            [`~transformers.BatchFeature`] with `pixel_values`, `decoder_input_ids` (and `decoder_attention_mask` where
            texts differ in length), `labels`, as asked for.

        Raises:
            ValueError: Where nothing is given, an empty list, or a text that is no string.
        """
        if images is None and text is None and text_target is None:
            raise ValueError("Pass at least one of `images`, `text` and `text_target` to the processor.")
        kwargs = self._merge_kwargs(ProcessingKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        text_kwargs = {name: kwargs["text_kwargs"].get(name) for name in ("truncation", "max_length")}
        features = {}
        if images is not None:
            images = _as_rgb(images)
            features.update(self.image_processor(images, **layout_of(images) | kwargs["images_kwargs"]))
        if text is not None:
            features.update(self._texts(_as_texts(text, "text"), **text_kwargs))
        if text_target is not None:
            features["labels"] = self._labels(_as_texts(text_target, "text_target"), **text_kwargs)
        return BatchFeature(features, tensor_type=return_tensors)

    def _texts(self, texts: list[str], **text_kwargs) -> dict[str, list[list[int]]]:
        start, pad = self.tokenizer.bos_token_id, self.tokenizer.pad_token_id
        if text_kwargs.get("max_length") is not None:
            text_kwargs["max_length"] -= 1  # the start token counts too
        rows = [[start, *ids] for ids in self.tokenizer(texts, add_special_tokens=False, **text_kwargs)["input_ids"]]
        length = max(map(len, rows))
        features = {"decoder_input_ids": [[pad] * (length - len(row)) + row for row in rows]}
        if any(len(row) < length for row in rows):
            features["decoder_attention_mask"] = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
        return features

    def _labels(self, texts: list[str], **text_kwargs) -> list[list[int]]:
        rows = self.tokenizer(texts, **text_kwargs)["input_ids"]
        length = max(map(len, rows))
        return [row + [-100] * (length - len(row)) for row in rows]

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "decoder_input_ids", "decoder_attention_mask", "labels"]


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
    return read_image(images) if isinstance(images, str | os.PathLike | Image.Image) else images
