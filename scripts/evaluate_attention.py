"""
Measures whether attention lies where it should, for any checkpoint of this package.

    python scripts/evaluate_attention.py --model runs/captioner runs/answers runs/translator --json attention.json

What is measured goes by the kind of model, on data that is made on the spot:

- a captioner writes captions of scenes. For every noun and every colour word of a (colour, shape) pair that is there:
  does the most attended region intersect the object's true box (pointing), and how much attention lies inside it?
- an answering model is asked about scenes: the same for the boxes that the answer depends on, its glimpses averaged,
  where it answers rightly.
- a translator reads captions in English whose translation into the toy language, and whose alignment, is known: the
  alignment error rate (Och & Ney 2003, section 5), each target word linked to the source word it looks at most.

Beside them stands chance, a region or a word taken at random; attention inside the box by chance is a uniform map's.

The deletion test paints over the most attended tenth of the regions, for each of these words or answers, or over as
many random ones, with the picture's mean colour. How often that changes the word, given the words before it, or the
answer, is compared: the difference has an interval by bootstrap over the pictures, which are drawn with both results.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
    AutoTokenizer,
    HfArgumentParser,
    ProcessorMixin,
)

import hf_attention  # noqa: F401  (the Auto classes then know its models)
from hf_attention.models.pictures import as_rgb
from hf_attention.models.regions import ImageRegions
from hf_attention.scenes import make_scene_questions, make_scenes
from hf_attention.scenes.scores import PAIR_PATTERN, SHAPE_OF_NOUN
from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations


DELETED_SHARE = 0.1


@dataclass
class EvaluationArguments:
    """Models, and how much to measure them by."""

    model: list[str] = field(metadata={"help": "Folders or Hub names of models; each kind is measured in its way."})
    split: str = field(default="held_out", metadata={"help": "Of the scenes: test, or held_out pairs."})
    samples: int = field(default=500, metadata={"help": "How many scenes, or sentences."})
    image_size: int = field(default=64, metadata={"help": "Side of the scenes in pixels."})
    seed: int = field(default=0, metadata={"help": "Of the scenes, the sentences and what is random."})
    eval_batch_size: int = field(default=50, metadata={"help": "Pictures at a time."})
    resamples: int = field(default=10_000, metadata={"help": "Of the bootstrap; its interval is of 95 %%."})
    json: str | None = field(default=None, metadata={"help": "Where to write the measures too."})

    def __post_init__(self) -> None:
        for name in ("samples", "eval_batch_size", "resamples"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.split not in ("train", "validation", "test", "held_out"):
            raise ValueError(f"`split` must be train, validation, test or held_out, got {self.split!r}.")


@dataclass
class Look:
    """One look at a picture: where the attention lay, where it should, and what it led to."""

    picture: int
    weights: torch.Tensor  # (regions,)
    regions: torch.Tensor  # (regions, 4), in pixels
    boxes: Sequence[Sequence[int]]
    kind: str
    subject: Any  # what it takes to repeat the look


def covered(regions: torch.Tensor, boxes: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which regions intersect any of the boxes, and the share of each region's area that lies in them, pixel by pixel.

    Args:
        regions (`torch.Tensor` of shape `(regions, 4)`): Left, top, right and bottom.
        boxes (sequence of boxes): The same, in whole pixels.

    Returns:
        `tuple`: a mask and the shares, both of shape `(regions,)`.
    """
    left, top, right, bottom = regions.double().unbind(-1)
    width, height = (int(max(regions[:, side].max(), *(box[side] for box in boxes))) + 1 for side in (2, 3))
    inside = torch.zeros(height, width, dtype=torch.float64)
    for box in boxes:
        inside[box[1] : box[3], box[0] : box[2]] = 1
    x, y = torch.arange(width).double(), torch.arange(height).double()
    across = (torch.minimum(right[:, None], x + 1) - torch.maximum(left[:, None], x)).clamp(min=0)
    down = (torch.minimum(bottom[:, None], y + 1) - torch.maximum(top[:, None], y)).clamp(min=0)
    area = torch.einsum("ry,yx,rx->r", down, inside, across)
    return area > 1e-6, area / ((right - left) * (bottom - top)).clamp(min=1e-12)


def pointing(looks: Sequence[Look]) -> dict[str, float]:
    """Pointing accuracy and attention inside the box of some looks, beside those of chance."""
    rows = []
    for look in looks:
        hits, shares = covered(look.regions, look.boxes)
        weights = look.weights.double()
        rows.append((hits[weights.argmax()].item(), hits.double().mean(), (weights * shares).sum(), shares.mean()))
    names = ("pointing", "pointing_by_chance", "attention_inside", "attention_inside_uniform")
    means = np.array(rows, dtype=float).mean(0) if rows else [math.nan] * len(names)
    return {"looks": len(looks), **dict(zip(names, map(float, means), strict=True))}


def blank(image: Image.Image, regions: torch.Tensor) -> Image.Image:
    """The picture with some regions in its mean colour."""
    pixels = np.array(as_rgb(image))
    mean = pixels.reshape(-1, 3).mean(0).round().astype(np.uint8)
    for left, top, right, bottom in regions.round().int().tolist():
        pixels[top:bottom, left:right] = mean
    return Image.fromarray(pixels)


def deletion(
    looks: Sequence[Look],
    images: Sequence[Image.Image],
    has_changed: Callable[[Sequence[Look], list[Image.Image]], list[bool]],
    arguments: EvaluationArguments,
) -> dict[str, float]:
    """How often a look leads elsewhere without the most attended regions, and without random ones.

    Args:
        looks: The looks.
        images: The pictures they are of.
        has_changed: For looks and a picture for each, whether it leads to another word or answer.
        arguments: Seed, batch size and number of resamples.
    """
    rng = np.random.default_rng(arguments.seed)
    changed: dict[str, list[bool]] = {"most_attended": [], "random": []}
    for start in range(0, len(looks), arguments.eval_batch_size):
        batch = looks[start : start + arguments.eval_batch_size]
        for name, results in changed.items():
            pictures = []
            for look in batch:
                number = math.ceil(DELETED_SHARE * len(look.regions))
                chosen = (
                    look.weights.topk(number).indices
                    if name == "most_attended"
                    else torch.from_numpy(rng.choice(len(look.regions), number, replace=False))
                )
                pictures.append(blank(images[look.picture], look.regions[chosen]))
            results += has_changed(batch, pictures)
    if not looks:
        return {}
    pictures = np.array([look.picture for look in looks])
    difference = np.array(changed["most_attended"], float) - np.array(changed["random"], float)
    low, high = bootstrap(difference, pictures, arguments.resamples, rng)
    return {
        **{f"changed_without_{name}": float(np.mean(results)) for name, results in changed.items()},
        "difference": float(difference.mean()),
        "difference_low": low,
        "difference_high": high,
    }


def bootstrap(values: np.ndarray, groups: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % interval of the mean of values, by resampling the groups that they belong to."""
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    low, high = np.quantile(drawn @ sums / (drawn @ counts), [0.025, 0.975])
    return float(low), float(high)


def tokens_of(offsets: Sequence[Sequence[int]], start: int, end: int) -> list[int]:
    """The tokens that a part of a text is made of."""
    return [number for number, (first, last) in enumerate(offsets) if first < end and last > start]


def in_batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Captions:
    """Captions of scenes."""

    def __init__(self, folder: str, arguments: EvaluationArguments):
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.arguments = arguments
        self.scenes = _scenes(make_scenes, arguments, captions_per_scene=1)
        self.images = list(self.scenes["image"])

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        regions = ImageRegions(self.model.config, self.processor.image_processor)
        named = 0
        looks: list[Look] = []
        for rows in in_batches(range(len(self.images)), self.arguments.eval_batch_size):
            images = [self.images[row] for row in rows]
            pixel_values = _pixel_values(self.processor, images)
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
        return self.model(pixel_values=_pixel_values(self.processor, images), labels=labels, output_attentions=True)

    def _has_changed(self, looks: Sequence[Look], images: list[Image.Image]) -> list[bool]:
        logits = self._read(images, [look.subject[0] for look in looks]).logits
        return [
            int(logits[number, position].argmax()) != ids[position]
            for number, (ids, position) in enumerate(look.subject for look in looks)
        ]


class Answers:
    """Questions about scenes."""

    def __init__(self, folder: str, arguments: EvaluationArguments):
        self.model = AutoModelForVisualQuestionAnswering.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.arguments = arguments
        self.questions = _scenes(make_scene_questions, arguments)

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        regions = ImageRegions(self.model.config, self.processor.image_processor)
        names = list(self.questions["image_id"])
        pictures = {name: number for number, name in enumerate(dict.fromkeys(names))}
        images: list[Image.Image] = []
        looks: list[Look] = []
        right = 0
        for rows in in_batches(range(len(names)), self.arguments.eval_batch_size):
            batch = [self.questions[row] for row in rows]
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
        maps = hf_attention.attention_maps(outputs)
        # The closing token, and the question's words behind the regions, are left out.
        mask = outputs.generated_mask & (outputs.sequences[:, -maps.shape[1] :] != self.model.config.eos_token_id)
        maps = (maps * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        texts = self.processor.batch_decode(outputs.sequences, skip_special_tokens=True)
        return [text.strip() for text in texts], maps[:, : -inputs["input_ids"].shape[1]]

    def _has_changed(self, looks: Sequence[Look], images: list[Image.Image]) -> list[bool]:
        answers, _ = self._ask(images, [look.subject[0] for look in looks])
        return [answer != look.subject[1] for answer, look in zip(answers, looks, strict=True)]


class Translations:
    """Translations into the toy language."""

    def __init__(self, folder: str, arguments: EvaluationArguments):
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.arguments = arguments

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        test = make_translations(train=0, validation=0, test=self.arguments.samples, seed=self.arguments.seed)["test"]
        right = linked = words = 0
        by_chance = 0.0
        for row in test:
            source, target = row["translation"]["en"], row["translation"][TOY_LANGUAGE]
            links = self._links(source, target)
            right += sum(link == position for link, position in zip(links, row["alignment"], strict=True))
            linked += sum(link is not None for link in links)
            words += len(links)
            by_chance += len(links) / len(source.split())
        return {
            "kind": "translations",
            "target_words": words,
            "alignment_error_rate": 1 - 2 * right / (linked + words),
            "alignment_error_rate_by_chance": 1 - by_chance / words,
        }

    def _links(self, source: str, target: str) -> list[int | None]:
        """For each target word the source word that is looked at most; `None` for the end of the sentence."""
        encoded = self.tokenizer(source, return_offsets_mapping=True)
        of_source = _word_of_token(source, encoded["offset_mapping"])
        target_tokenizer = getattr(self.tokenizer, "target_tokenizer", self.tokenizer)
        labels = target_tokenizer(target, return_offsets_mapping=True)
        of_target = _word_of_token(target, labels["offset_mapping"])
        outputs = self.model(
            input_ids=torch.tensor([encoded["input_ids"]]),
            attention_mask=torch.tensor([encoded["attention_mask"]]),
            labels=torch.tensor([labels["input_ids"]]),
            output_attentions=True,
        )
        maps = outputs.cross_attentions[-1][0].float().mean(0)
        # One column more for what belongs to no word.
        columns = torch.tensor([len(source.split()) if word is None else word for word in of_source])
        by_word = maps.new_zeros(len(maps), len(source.split()) + 1).index_add_(1, columns, maps)
        links: list[int | None] = []
        for word in range(len(target.split())):
            rows = [number for number, other in enumerate(of_target) if other == word]
            best = int(by_word[rows].mean(0).argmax()) if rows else len(source.split())
            links.append(best if best < len(source.split()) else None)
        return links


def _word_of_token(text: str, offsets: Sequence[Sequence[int]]) -> list[int | None]:
    """For each token the word, among those that spaces separate, that it is part of; a space goes with the next."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    return [next((word for word, last in enumerate(ends) if start < end <= last), None) for start, end in offsets]


def _pixel_values(processor: ProcessorMixin, images: Sequence[Image.Image]) -> torch.Tensor:
    return processor(images=list(images), return_tensors="pt")["pixel_values"]


def _scenes(make: Callable[..., Any], arguments: EvaluationArguments, **options: Any) -> Any:
    sizes = {"train": 0, "validation": 0, "test": 0, "held_out": 0, arguments.split: arguments.samples}
    return make(**sizes, seed=arguments.seed, image_size=arguments.image_size, **options)[arguments.split]


# What is measured of a model, by its type; an ensemble is measured as its members are.
MEASURES: dict[str, type] = {
    "attention_captioner": Captions,
    "attention_vqa": Answers,
    "attention_seq2seq": Translations,
}


def measure(folder: str, arguments: EvaluationArguments) -> dict[str, Any]:
    """All measures of one model."""
    config = AutoConfig.from_pretrained(folder)
    if config.model_type == "attention_ensemble":
        config = config.member_configs()[0]
    if config.model_type not in MEASURES:
        raise ValueError(f"{folder!r} is of type {config.model_type!r}, which is none of {', '.join(MEASURES)}.")
    name = "attention_form" if config.model_type == "attention_vqa" else "attention_type"
    if getattr(config, name) is None:
        raise ValueError(f"{folder!r} does not attend: its configuration says `{name}=None`.")
    return MEASURES[config.model_type](folder, arguments).measure()


def print_table(measures: dict[str, Any]) -> None:
    """A line for each measure; chance beside it."""
    for name, value in measures.items():
        if isinstance(value, dict) and "pointing" in value:
            print(
                f"  {name:<10} pointing {value['pointing']:6.1%} (chance {value['pointing_by_chance']:.1%})   "
                f"attention inside {value['attention_inside']:6.1%} (uniform {value['attention_inside_uniform']:.1%})"
                f"   {value['looks']} looks"
            )
        elif isinstance(value, dict) and value:
            print(
                f"  {name:<10} changed without the most attended tenth {value['changed_without_most_attended']:.1%}, "
                f"without as many random regions {value['changed_without_random']:.1%}: difference "
                f"{value['difference']:.1%} [{value['difference_low']:.1%}, {value['difference_high']:.1%}]"
            )
        elif isinstance(value, float):
            print(f"  {name.replace('_', ' ')} {value:.1%}")


def main(argv: list[str] | None = None) -> None:
    [arguments] = HfArgumentParser(EvaluationArguments, description=__doc__).parse_args_into_dataclasses(argv)
    results = {}
    for folder in arguments.model:
        results[folder] = measure(folder, arguments)
        print(f"{folder} ({results[folder]['kind']})")
        print_table(results[folder])
    print(json.dumps(results))
    if arguments.json is not None:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
