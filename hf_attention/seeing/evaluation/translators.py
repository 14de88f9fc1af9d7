"""Whether a translator looks at the words that it translates."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from ...scenes.toy_language import TOY_LANGUAGE, make_translations
from .arguments import EvaluationArguments


class Translations:
    """
    Translations into the toy language.

    Args:
        folder (`str`): Folder or Hub name of a translator.
        arguments (`EvaluationArguments`): Which sentences, and how many.
    """

    def __init__(self, folder: str, arguments: EvaluationArguments):
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.arguments = arguments

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """
        Lets the model read sentences and their translations.

        Returns:
            `dict[str, Any]`: The measures, by name.
        """
        arguments = self.arguments
        options = {} if arguments.variety is None else {"variety": arguments.variety}
        test = make_translations(train=0, validation=0, test=arguments.samples, seed=arguments.seed, **options)["test"]
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
