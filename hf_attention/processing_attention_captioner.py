"""Images and captions as the captioner takes them."""

from transformers import BatchFeature, ProcessorMixin
from transformers.image_utils import ImageInput


class AttentionCaptionerProcessor(ProcessorMixin):
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
        text: str | list[str] | None = None,
        text_target: str | list[str] | None = None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            images (`PIL.Image.Image`, array, or list of them, *optional*):
                The images. Pillow images are brought into RGB, turned as their EXIF data says.
            text (`str` or `list[str]`, *optional*):
                What each caption begins with. It becomes `decoder_input_ids`: the start token and the words, without
                the closing token; texts of different lengths are padded on the left.
            text_target (`str` or `list[str]`, *optional*):
                The captions to learn. They become `labels`, closed, with -100 after the end.
            return_tensors (`str`, *optional*):
                `"pt"` for tensors.
            kwargs:
                Arguments of the image processor.

        Returns:
            [`~transformers.BatchFeature`] with `pixel_values`, `decoder_input_ids` (and `decoder_attention_mask` where
            texts differ in length), `labels`, as asked for.

        Raises:
            ValueError: Where nothing is given.
        """
        if images is None and text is None and text_target is None:
            raise ValueError("Pass at least one of `images`, `text` and `text_target` to the processor.")
        features = {}
        if images is not None:
            features.update(self.image_processor(_as_rgb(images), **kwargs))
        if text is not None:
            features.update(self._prefix(text))
        if text_target is not None:
            features["labels"] = self._labels(text_target)
        return BatchFeature(features, tensor_type=return_tensors)

    def _prefix(self, text: str | list[str]) -> dict[str, list[list[int]]]:
        texts = [text] if isinstance(text, str) else list(text)
        start, pad = self.tokenizer.bos_token_id, self.tokenizer.pad_token_id
        rows = [[start, *ids] for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        length = max(map(len, rows))
        features = {"decoder_input_ids": [[pad] * (length - len(row)) + row for row in rows]}
        if any(len(row) < length for row in rows):
            features["decoder_attention_mask"] = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
        return features

    def _labels(self, text_target: str | list[str]) -> list[list[int]]:
        texts = [text_target] if isinstance(text_target, str) else list(text_target)
        rows = self.tokenizer(texts)["input_ids"]
        length = max(map(len, rows))
        return [row + [-100] * (length - len(row)) for row in rows]

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "decoder_input_ids", "decoder_attention_mask", "labels"]


def _as_rgb(images: ImageInput) -> ImageInput:
    from PIL import Image, ImageOps

    if isinstance(images, list | tuple):
        return [_as_rgb(image) for image in images]
    if isinstance(images, Image.Image):
        return ImageOps.exif_transpose(images).convert("RGB")
    return images


AttentionCaptionerProcessor.register_for_auto_class()
