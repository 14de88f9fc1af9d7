"""The picture of a captioner's card."""

from typing import TYPE_CHECKING

from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from ....models.alignment import merge_words
from ....models.pipeline_image_to_text import ImageToTextPipeline
from ....seeing.figures import plot_caption_attention


if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_caption(model: PreTrainedModel, processor: ProcessorMixin, image: Image.Image) -> "Figure | None":
    """Where a captioner that attends looks for each word; `None` where it says nothing."""
    answer = ImageToTextPipeline(model=model, processor=processor)(image, output_attentions=True)[0]
    if not len(answer["attentions"]):
        return None
    words, weights, _ = merge_words(answer["tokens"], answer["attentions"])
    return plot_caption_attention(
        image, words, weights, **{name: answer[name] for name in ("grid", "regions") if name in answer}
    )
