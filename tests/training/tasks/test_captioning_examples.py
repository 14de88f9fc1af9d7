import numpy as np
import pytest
from tokenizers import processors

from hf_attention.training.data.collators import CaptionCollator
from hf_attention.training.data.images import RegionSource
from hf_attention.training.data.sampling import CaptionGroup
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.tasks.captioning.examples import CaptionDataset, caption_labels


TEXTS = ["A dog's t-shirt , red .", "a dog runs", "The DOG sleeps !", "a cat runs"]


def test_each_caption_of_an_image_has_its_weight() -> None:
    features, labels = np.zeros((2, 3, 1), np.float16), [[[5, 6, 3], [7, 3]], [[8, 3]]]
    dataset = CaptionDataset(RegionSource(features), labels, [[0.5, 2.0], [1.0]])
    batch = CaptionCollator()([dataset[CaptionGroup(0, (1, 0), False)], dataset[CaptionGroup(1, (0,), False)]])
    assert batch["labels"].tolist() == [[7, 3, -100], [5, 6, 3], [8, 3, -100], [-100] * 3]
    assert batch["token_weights"].tolist() == [[2.0] * 3, [0.5] * 3, [1.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("template", [None, "<s> $A </s>", "<s> $A"])
def test_captions_are_words_and_an_end_whatever_the_tokenizer_adds(template: str | None) -> None:
    tokenizer = train_tokenizer(TEXTS)
    expected = [[[*tokenizer.convert_tokens_to_ids(["a", "dog"]), 3]]]
    tokens = [("<s>", 2), ("</s>", 3)]
    tokenizer.backend_tokenizer.post_processor = (
        processors.Sequence([])
        if template is None
        else processors.TemplateProcessing(single=template, special_tokens=tokens)
    )
    assert caption_labels([["a dog"]], tokenizer, 9) == expected


def test_long_captions_keep_their_end() -> None:
    tokenizer = train_tokenizer(TEXTS)
    ids = tokenizer.convert_tokens_to_ids
    assert caption_labels([["a dog runs", "a dog"]], tokenizer, 3) == [
        [[ids("a"), ids("dog"), 3], [ids("a"), ids("dog"), 3]]
    ]
