"""The picture of a model's card: where it looks, for one example."""

import logging
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from ...extras import require_extra
from ...models.alignment import merge_words
from ...models.pipeline_image_to_text import ImageToTextPipeline
from ...models.pipeline_text2text import Text2TextGenerationPipeline
from ...models.pipeline_visual_question_answering import VisualQuestionAnsweringPipeline
from ...seeing.figures import plot_alignment, plot_caption_attention, plot_glimpses


PICTURE_FILE = "attention.png"

logger = logging.getLogger(__name__)


def draw_attention(
    model: PreTrainedModel, processor: PreTrainedTokenizerFast | ProcessorMixin, example: Any, folder: str | Path
) -> str | None:
    """
    Draws where a model looks into `attention.png`.

    Args:
        model (`PreTrainedModel`):
            A captioner, translator or answering model; of one that does not attend, nothing is
            drawn.
        processor (`PreTrainedTokenizerFast` or `ProcessorMixin`):
            Its tokenizer or processor.
        example (`Any`):
            What its pipeline is shown: an image, a sentence, or `{"image": ..., "question": ...}`.
        folder (`str` or `Path`):
            Where the file goes.

    Returns:
        `str`, *optional*: The file's name; `None` where nothing was drawn, be it that matplotlib is missing.
    """
    kind = model.config.model_type
    answers_by_class = kind == "attention_vqa" and not model.can_generate()
    if getattr(model.config, "attention_form" if answers_by_class else "attention_type") is None:
        return None
    try:
        require_extra("visualization")
    except ModuleNotFoundError as error:
        logger.warning("The model card has no picture. %s", error)
        return None
    if kind == "attention_seq2seq":
        pipe = Text2TextGenerationPipeline(model=model, tokenizer=processor)
    elif kind == "attention_vqa":
        pipe = VisualQuestionAnsweringPipeline(model=model, processor=processor)
    else:
        pipe = ImageToTextPipeline(model=model, processor=processor)
    answer = pipe(example, output_attentions=True)[0]
    if not len(answer["attentions"]):
        return None  # an empty sentence
    places = {name: answer[name] for name in ("grid", "regions") if name in answer}
    if answers_by_class:
        figure = plot_glimpses(example["image"], example["question"], answer["answer"], answer["attentions"], **places)
    else:
        words, weights, source_words = merge_words(answer["tokens"], answer["attentions"], answer.get("source_tokens"))
        if kind == "attention_seq2seq":
            figure = plot_alignment(source_words, words, weights)
        elif kind == "attention_vqa":
            figure = plot_caption_attention(example["image"], words, weights, title=example["question"], **places)
        else:
            figure = plot_caption_attention(example, words, weights, **places)
    figure.savefig(Path(folder) / PICTURE_FILE, dpi=120)
    return PICTURE_FILE
