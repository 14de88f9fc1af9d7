"""The picture of a translator's card."""

from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ....models.alignment import merge_words
from ....models.pipeline_text2text import Text2TextGenerationPipeline
from ....seeing.figures import plot_alignment


if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_translation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, source: str) -> "Figure | None":
    """Where a translator that attends looks for each word; `None` where it says nothing."""
    pipe = Text2TextGenerationPipeline(model=model, tokenizer=tokenizer)
    answer = pipe(source, truncation=True, output_attentions=True)[0]
    if not len(answer["attentions"]):
        return None
    words, weights, source_words = merge_words(answer["tokens"], answer["attentions"], answer["source_tokens"])
    return plot_alignment(source_words, words, weights)
