"""The picture of an answering model's card."""

from typing import TYPE_CHECKING

from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from ....models.alignment import merge_words
from ....models.pipeline_visual_question_answering import VisualQuestionAnsweringPipeline
from ....seeing.figures import plot_caption_attention, plot_glimpses


if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_answer(
    model: PreTrainedModel, processor: ProcessorMixin, image: Image.Image, question: str
) -> "Figure | None":
    """
    Where a model that attends looks: in each glimpse, or for each word of its answer; `None` where it says nothing.
    """
    pipe = VisualQuestionAnsweringPipeline(model=model, processor=processor)
    answer = pipe(image=image, question=question, truncation=True, output_attentions=True)[0]
    if not len(answer["attentions"]):
        return None
    places = {name: answer[name] for name in ("grid", "regions") if name in answer}
    if not model.can_generate():
        return plot_glimpses(image, question, answer["answer"], answer["attentions"], **places)
    words, weights, _ = merge_words(answer["tokens"], answer["attentions"])
    return plot_caption_attention(image, words, weights, title=question, **places)
