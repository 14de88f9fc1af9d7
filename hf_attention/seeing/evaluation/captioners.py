"""Whether a captioner looks at what it names."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from ...models.regions import ImageRegions
from ...scenes import make_scenes
from ...scenes.scores import PAIR_PATTERN, SHAPE_OF_NOUN
from .arguments import EvaluationArguments
from .deletion import deletion
from .pointing import Look, pointing


class Captions:
    """
    Captions of scenes.

    Args:
        folder (`str`): Folder or Hub name of a captioner.
        arguments (`EvaluationArguments`): Which scenes, and how many.
    """

    def __init__(self, folder: str, arguments: EvaluationArguments):
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.arguments = arguments
        self.scenes = arguments.make_split(make_scenes, captions_per_scene=1)
        self.images = list(self.scenes["image"])

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """
        Lets the model caption the scenes.

        Returns:
            `dict[str, Any]`: The measures, by name.
        """
        regions = ImageRegions(self.model.config, self.processor.image_processor)
        named = 0
        looks: list[Look] = []
        size = self.arguments.eval_batch_size
        for start in range(0, len(self.images), size):
            rows = range(start, min(start + size, len(self.images)))
            images = [self.images[row] for row in rows]
            pixel_values = self._pixel_values(images)
            texts = self.processor.batch_decode(
                self.model.generate(pixel_values=pixel_values), skip_special_tokens=True
            )
            encodings = [self.processor.tokenizer(text, return_offsets_mapping=True) for text in texts]
            outputs = self._read(images, [encoding["input_ids"] for encoding in encodings])
            for number, (row, text, encoding) in enumerate(zip(rows, texts, encodings, strict=True)):
                maps = outputs.cross_attentions[-1][number].float().mean(0)
                boxes = {(thing["colour"], thing["shape"]): thing["box"] for thing in self.scenes[row]["objects"]}
                for match in PAIR_PATTERN.finditer(text):
                    named += 1
                    box = boxes.get((match[1].lower(), SHAPE_OF_NOUN[match[2].lower()]))
                    for group, kind in ((1, "colour"), (2, "noun")) if box is not None else ():
                        tokens = tokens_of(encoding["offset_mapping"], *match.span(group))
                        subject = encoding["input_ids"], tokens[0]
                        place = regions(self.images[row])[0]
                        looks.append(Look(row, maps[tokens].mean(0), place, [box], kind, subject))
        nouns = [look for look in looks if look.kind == "noun"]
        return {
            "kind": "captions",
            "pairs_named": named,
            "pairs_right": len(nouns) / max(named, 1),
            "nouns": pointing(nouns),
            "colours": pointing([look for look in looks if look.kind == "colour"]),
            "deletion": deletion(looks, self.images, self._has_changed, self.arguments),
        }

    def _read(self, images: Sequence[Image.Image], ids: Sequence[list[int]]) -> Any:
        """A pass over captions as they are."""
        length = max(map(len, ids))
        labels = torch.tensor([row + [-100] * (length - len(row)) for row in ids])
        return self.model(pixel_values=self._pixel_values(images), labels=labels, output_attentions=True)

    def _pixel_values(self, images: Sequence[Image.Image]) -> torch.Tensor:
        return self.processor(images=list(images), return_tensors="pt")["pixel_values"]

    def _has_changed(self, looks: Sequence[Look], images: list[Image.Image]) -> list[bool]:
        logits = self._read(images, [look.subject[0] for look in looks]).logits
        return [
            int(logits[number, position].argmax()) != ids[position]
            for number, (ids, position) in enumerate(look.subject for look in looks)
        ]


def tokens_of(offsets: Sequence[Sequence[int]], start: int, end: int) -> list[int]:
    """
    Finds the tokens that a part of a text is made of.

    Args:
        offsets (`Sequence[Sequence[int]]`): Where each token begins and ends.
        start, end (`int`): Where the part does.

    Returns:
        `list[int]`: Their numbers.
    """
    return [number for number, (first, last) in enumerate(offsets) if first < end and last > start]
