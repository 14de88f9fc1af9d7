"""The toy language against sentences translated by hand, and the properties that make it worth learning."""

import itertools
import os
import re
from collections import Counter, defaultdict

import pytest
from datasets import DatasetDict

from hf_attention.scenes.scene import COLOURS, GROUNDS, SHAPES, SIZES, VARIETIES
from hf_attention.scenes.toy_language import FUNCTION_WORDS, TOY_LANGUAGE, ToyTranslation, make_translations, translate
from hf_attention.training.data.texts import text_pairs
from hf_attention.training.data.tokenization import train_tokenizer


@pytest.fixture(scope="module", params=VARIETIES)
def variety(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def splits(variety: int) -> DatasetDict:
    return make_translations(train=250 * variety, validation=100, test=200, seed=3, variety=variety)


@pytest.fixture(scope="module")
def translations(splits: DatasetDict) -> list[ToyTranslation]:
    return [
        ToyTranslation(row["translation"]["en"], row["translation"][TOY_LANGUAGE], tuple(row["alignment"]))
        for row in itertools.chain.from_iterable(splits.values())
    ]


@pytest.mark.parametrize(
    ("source", "target", "alignment"),
    [
        ("a red circle", "belum dova", [2, 1]),
        ("a small red ring", "pushi dovi pemi", [3, 2, 1]),
        ("an orange moon above a large lime heart", "leth morfi oriven zeepo gorvo orvi", [2, 1, 7, 6, 5, 3]),
        ("there is a blue hoop", "narf kumbo yem", [4, 3, 1]),
        ("there is a blue hoop and a red star", "narf kumbo ke mirro dova yemut", [4, 3, 5, 8, 7, 1]),
        ("a picture of a white box", "ulp lishi ti gliss", [5, 4, 2, 1]),
        ("a drawing with a white box", "ulp lishi zo brod", [5, 4, 2, 1]),
        (
            "there stands a white box above a red disc before a cloudy wall",
            "quin hespa em ulp lishi drinen dovo orvi raskut",
            [12, 11, 9, 4, 3, 8, 7, 5, 1],
        ),
        ("a red circle left of a large green square", "belum dova kavaten sillo gorvo haska", [2, 1, 8, 7, 6, 3]),
        ("a white box above a red disc", "ulp lishi drinen dovo orvi", [2, 1, 6, 5, 3]),
        (
            "a red box, a blue plus and a purple cross on a striped ground",
            "tolm zaski uk ulp dovi, evon kumba ke jalt yargo",
            [13, 12, 10, 2, 1, 5, 4, 6, 9, 8],
        ),
        (
            "there is a yellow triangle right of a red star and a green hoop below a small blue disc "
            "on a dotted ground",
            "tolm nimpi uk senka fenti mirroen dova binti ke narf sillo drinen kumbo pemo dulto yemut",
            [22, 21, 19, 4, 3, 9, 8, 5, 10, 13, 12, 18, 17, 16, 14, 1],
        ),
    ],
)
def test_translations_by_hand(source: str, target: str, alignment: list[int]) -> None:
    assert translate(source) == ToyTranslation(source, target, tuple(alignment))


@pytest.mark.parametrize(
    "caption", ["", "two dogs", "a beige circle", "a red circle beside a red box", "the red box", "a red box and"]
)
def test_other_sentences_are_refused(caption: str) -> None:
    with pytest.raises(ValueError, match="`caption` must be one that `describe` may write"):
        translate(caption)


def test_every_content_word_is_translated_once(translations: list[ToyTranslation]) -> None:
    for pair in translations:
        source, target = pair.source.split(), pair.target.split()
        assert len(pair.alignment) == len(target) == len(set(pair.alignment))
        content = {position for position, word in enumerate(source) if word.strip(",") not in FUNCTION_WORDS}
        assert content <= set(pair.alignment)
        translated = {source[position].strip(",") for position in set(pair.alignment) - content}
        assert translated <= FUNCTION_WORDS - {"a", "an", "there"}
        assert pair.source.count(",") == pair.target.count(",")


@pytest.mark.parametrize(
    "pattern",
    ["^a (picture|drawing) (of|with) ", "^there (is|stands) ", r" (on|before) a \w+ (ground|wall)$"],
)
def test_words_that_stand_together_vary_by_themselves(translations: list[ToyTranslation], pattern: str) -> None:
    """Else the translation of one could be read off the other, and no alignment would be the right one."""
    counts = Counter(match.groups() for pair in translations if (match := re.search(pattern, pair.source)))
    assert len(counts) == 2 ** len(next(iter(counts)))
    assert min(counts.values()) > 0.8 * max(counts.values()) - 10


def test_aligned_words_translate_each_other(translations: list[ToyTranslation], variety: int) -> None:
    """By stem: no two source words share one, and all forms of a source word begin with the same."""
    forms = defaultdict(set)
    for pair in translations:
        source = pair.source.split()
        for word, position in zip(pair.target.split(), pair.alignment, strict=True):
            forms[source[position].strip(",")].add(word.strip(","))
    stems = {word: os.path.commonprefix(sorted(targets)) for word, targets in forms.items()}
    assert len(set(stems.values())) == len(stems) and all(len(stem) >= 2 for stem in stems.values())
    assert not any(a.startswith(b) for a, b in itertools.permutations(stems.values(), 2))
    nouns = set(itertools.chain.from_iterable(itertools.islice(SHAPES.values(), variety)))
    assert nouns | set(itertools.islice(COLOURS, variety)) | set(SIZES) - {"medium"} | set(GROUNDS) <= forms.keys()
    for word, targets in forms.items():
        if word in nouns:
            assert len(targets) == 2, "subject and object"
        elif word in COLOURS or word in SIZES or word in ("left", "right", "above", "below"):
            assert len(targets) == 3, "three classes"


def test_endings_follow_a_class_that_the_noun_hides(translations: list[ToyTranslation], variety: int) -> None:
    nouns = set(itertools.chain.from_iterable(itertools.islice(SHAPES.values(), variety)))
    endings, noun_forms = defaultdict(set), {}
    for pair in translations:
        source, target = pair.source.split(), pair.target.split()
        where = {position: word.strip(",") for word, position in zip(target, pair.alignment, strict=True)}
        for position, word in enumerate(source):
            if word.strip(",") in COLOURS:
                noun = source[position + 1].strip(",")
                assert noun in nouns
                endings[noun].add(where[position][-1])
                if not where[position + 1].endswith("en"):
                    noun_forms[noun] = where[position + 1]
                if source[position - 1] in SIZES:
                    endings[noun].add(where[position - 1][-1])
    assert endings.keys() == nouns and all(len(letters) == 1 for letters in endings.values())
    by_class = defaultdict(set)
    for noun, (ending,) in endings.items():
        by_class[ending].add(noun_forms[noun][-1])
    assert len(by_class) == 3
    assert {ending for ending, last in by_class.items() if last == {ending}} == set(), "no class can be heard"


def test_order_must_be_learnt(translations: list[ToyTranslation]) -> None:
    """Nearly every sentence is reordered, and many over long distances."""
    assert all(list(pair.alignment) != sorted(pair.alignment) for pair in translations)
    far = [max(abs(a - b) for a, b in itertools.pairwise(pair.alignment)) > 5 for pair in translations]
    assert sum(far) > len(far) / 2


def test_splits_share_no_sentence(splits: DatasetDict, variety: int) -> None:
    sizes = {name: len(split) for name, split in splits.items()}
    assert sizes == {"train": 250 * variety, "validation": 100, "test": 200}
    for language in ("en", TOY_LANGUAGE):
        sentences = [row[language] for split in splits.values() for row in split["translation"]]
        assert len(set(sentences)) == len(sentences)


def test_depends_on_its_arguments_alone(splits: DatasetDict, variety: int) -> None:
    other = make_translations(train=50, validation=0, test=200, seed=3, variety=variety)
    assert set(other) == {"train", "test"}
    assert other["test"].to_list() == splits["test"].to_list()
    assert make_translations(train=0, validation=0, test=20, seed=4, variety=variety)["test"][:] != splits["test"][:20]
    again = make_translations(train=50, validation=100, test=200, seed=3, variety=variety)
    assert again["train"].to_list() == splits["train"].to_list()[:50]
    with pytest.raises(ValueError, match="`test` must be zero or above, got -1"):
        make_translations(test=-1)


@pytest.mark.slow
def test_there_are_enough_sentences() -> None:
    sentences = {row["en"] for row in make_translations()["train"]["translation"]}
    assert len(sentences) == 10000


def test_words_are_the_tokens_of_the_word_tokenizer(splits: DatasetDict) -> None:
    """So that the alignment of words is one of tokens too."""
    pairs = text_pairs(splits["train"], source_lang="en", target_lang=TOY_LANGUAGE)
    for side in ("source", "target"):
        tokenizer = train_tokenizer(pairs[side], "word")
        for text in pairs[side][:100]:
            assert tokenizer.tokenize(text) == [word.strip(",") for word in text.split()]
