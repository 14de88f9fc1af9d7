"""Whether a model that answers questions looks at what the answer depends on."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor

from ...models.alignment import attention_maps
from ...models.regions import ImageRegions
from ...scenes import make_scene_questions
from .arguments import EvaluationArguments
from .deletion import deletion
from .pointing import Look, pointing


class Answers:
    """
    Questions about scenes.

    Args:
        folder (`str`): Folder or Hub name of a model that answers.
        arguments (`EvaluationArguments`): Which scenes, and how many.
    """

    def __init__(self, folder: str, arguments: EvaluationArguments):
        self.model = AutoModelForVisualQuestionAnswering.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.arguments = arguments
        self.questions = arguments.make_split(make_scene_questions)

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """
        Asks the model about the scenes.

        Returns:
            `dict[str, Any]`: The measures, by name.
        """
        regions = ImageRegions(self.model.config, self.processor.image_processor)
        names = list(self.questions["image_id"])
        pictures = {name: number for number, name in enumerate(dict.fromkeys(names))}
        images: list[Image.Image] = []
        looks: list[Look] = []
        right = 0
        size = self.arguments.eval_batch_size
        for start in range(0, len(names), size):
            batch = [self.questions[row] for row in range(start, min(start + size, len(names)))]
            for row in batch:
                if pictures[row["image_id"]] == len(images):
                    images.append(row["image"])
            answers, maps = self._ask([row["image"] for row in batch], [row["question"] for row in batch])
            for row, answer, weights in zip(batch, answers, maps, strict=True):
                right += answer == row["answer"]
                if answer == row["answer"] and row["boxes"]:
                    place = regions(row["image"])[0]
                    subject = row["question"], answer
                    looks.append(Look(pictures[row["image_id"]], weights, place, row["boxes"], row["kind"], subject))
        kinds = sorted({look.kind for look in looks})
        return {
            "kind": "answers",
            "answers_right": right / len(names),
            "all": pointing(looks),
            **{kind: pointing([look for look in looks if look.kind == kind]) for kind in kinds},
            "deletion": deletion(looks, images, self._has_changed, self.arguments),
        }

    def _ask(self, images: list[Image.Image], questions: list[str]) -> tuple[list[str], torch.Tensor]:
        """Answers, and where they looked: the mean over glimpses, or over the words of an answer."""
        inputs = self.processor(images=images, text=questions, return_tensors="pt")
        if not self.model.can_generate():
            outputs = self.model(**inputs, output_attentions=True)
            answers = [self.model.config.id2label[number] for number in outputs.logits.argmax(-1).tolist()]
            return answers, torch.stack(outputs.attentions).float().mean(0)
        outputs = self.model.generate(**inputs, output_attentions=True, return_dict_in_generate=True)
        maps = attention_maps(outputs)
        # The closing token, and the question's words behind the regions, are left out.
        ends = torch.tensor(self.model.end_tokens(), device=maps.device)
        mask = outputs.generated_mask & ~torch.isin(outputs.sequences[:, -maps.shape[1] :], ends)
        maps = (maps * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        texts = self.processor.batch_decode(outputs.sequences, skip_special_tokens=True)
        return [text.strip() for text in texts], maps[:, : -inputs["input_ids"].shape[1]]

    def _has_changed(self, looks: Sequence[Look], images: list[Image.Image]) -> list[bool]:
        answers, _ = self._ask(images, [look.subject[0] for look in looks])
        return [answer != look.subject[1] for answer, look in zip(answers, looks, strict=True)]
