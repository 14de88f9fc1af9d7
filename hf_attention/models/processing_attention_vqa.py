"""Images, questions and answers as the answering model takes them."""

from collections.abc import Iterable

from transformers import BatchFeature
from transformers.image_utils import ImageInput

from .processing_attention_captioner import AttentionCaptionerProcessor


class AttentionVQAProcessor(AttentionCaptionerProcessor):
    """
    An image processor and a tokenizer in one.

    Args:
        image_processor ([`~transformers.BaseImageProcessor`]):
            Makes `pixel_values` of images of any size and mode.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Tokenizes questions as it does any text, and for the generating head the answers, as
            [`AttentionCaptionerProcessor`] does captions.
    """

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
            images (`PIL.Image.Image`, array, or list of them, *optional*):
                The images. Pillow images are brought into RGB, turned as their EXIF data says; what lies under a
                transparent pixel shows, and 16 bits of grey become 8.
            text (`str` or iterable of `str`, *optional*):
                The question about each image. They become `input_ids` and `attention_mask`, padded to the longest. Of
                an empty question, or one of spaces, only the tokenizer's special tokens are left; words that it does
                not know become its unknown token.
            text_target (`str` or iterable of `str`, *optional*):
                The answers that the generating head is to learn. They become `labels`, closed, with -100 after the
                end.
            return_tensors (`str`, *optional*):
                `"pt"` for tensors.
            kwargs:
                Arguments of the image processor, and for the texts those of the tokenizer, as
                [`AttentionCaptionerProcessor`] takes them; `padding_side` and `return_attention_mask` are the
                questions'. A text of any length is read as a whole unless they say otherwise.

        Returns:
            [`~transformers.BatchFeature`] with `pixel_values`, `input_ids`, `attention_mask`, `labels`, as asked for.

        Raises:
            ValueError: Where nothing is given, an empty list, a text that is no string, or questions and images in
                different numbers.
        """
        features = super().__call__(images, text, text_target, return_tensors, **kwargs)
        if images is not None and text is not None:
            num_images, num_questions = len(features["pixel_values"]), len(features["input_ids"])
            if num_images != num_questions:
                raise ValueError(
                    f"Every question needs its image: got {num_questions} questions and {num_images} images."
                )
        return features

    def _texts(self, texts: list[str], **text_kwargs) -> dict[str, list[list[int]]]:
        encoded = self.tokenizer(texts, **{"padding": "longest", **text_kwargs})
        return {name: encoded[name] for name in ("input_ids", "attention_mask") if name in encoded}

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "input_ids", "attention_mask", "labels"]
