"""What the evaluation of attention is told on the command line."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from datasets import Dataset

from ...arguments import COUNT, SEED, CheckedArguments, WritableFile
from ...models.ranges import Range
from ...scenes.layout import SPLITS
from ...scenes.scene import VARIETIES


@dataclass
class EvaluationArguments(CheckedArguments):
    """Models, and how much to measure them by."""

    model: list[str] = field(
        metadata={"help": "Folders, shipped models or Hub names; each kind is measured in its way."}
    )
    split: Literal[SPLITS] = field(default="held_out", metadata={"help": "Of the scenes."})
    samples: Annotated[int, COUNT] = field(default=500, metadata={"help": "How many scenes, or sentences."})
    image_size: Annotated[int, Range(32)] = field(default=64, metadata={"help": "Side of the scenes in pixels."})
    variety: Literal[VARIETIES] | None = field(
        default=None, metadata={"help": "How many colours and shapes there are; by default 6, of questions 12."}
    )
    seed: Annotated[int, SEED] = field(
        default=0, metadata={"help": "Of the scenes, the sentences and what is random."}
    )
    eval_batch_size: Annotated[int, COUNT] = field(default=50, metadata={"help": "Pictures at a time."})
    resamples: Annotated[int, COUNT] = field(
        default=10_000, metadata={"help": "Of the bootstrap; its interval is of 95 %%."}
    )
    json: Annotated[str | None, WritableFile()] = field(
        default=None, metadata={"help": "Where to write the measures too."}
    )

    def make_split(self, make: Callable[..., Any], **options: Any) -> Dataset:
        """
        Makes the scenes to measure by.

        Args:
            make (`Callable`): [`~hf_attention.scenes.make_scenes`] or [`~hf_attention.scenes.make_scene_questions`].
            options (`Any`): Go to it.

        Returns:
            `datasets.Dataset`: The split that was asked for.
        """
        if self.variety is not None:
            options["variety"] = self.variety
        sizes = dict.fromkeys(SPLITS, 0) | {self.split: self.samples}
        return make(**sizes, seed=self.seed, image_size=self.image_size, **options)[self.split]
