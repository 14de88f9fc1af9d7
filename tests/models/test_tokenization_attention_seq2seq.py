"""The tokenizer with two vocabularies against its two sides, and wherever transformers may load it from."""

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from common.remote_code import run_without_the_package
from transformers import AutoConfig, AutoTokenizer, DataCollatorForSeq2Seq, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import REGISTERED_TOKENIZER_CLASSES, TOKENIZER_MAPPING

from hf_attention.models.tokenization_attention_seq2seq import AttentionSeq2SeqTokenizer
from hf_attention.training.data.tokenization import train_tokenizer, with_bpe_dropout


SOURCE = ["The kettle is already boiling.", "Who took the blue umbrella?", "We can't stay."]
TARGET = ["주전자가 벌써 끓어요.", "파란 우산을 누가 가져갔어요?", "우리는 더 못 있어요."]


@pytest.fixture
def source() -> PreTrainedTokenizerFast:
    return train_tokenizer(SOURCE, "word_punct", lowercase=True)


@pytest.fixture
def target() -> PreTrainedTokenizerFast:
    return train_tokenizer(TARGET, "bpe", vocab_size=300)


@pytest.fixture
def tokenizer(source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast) -> AttentionSeq2SeqTokenizer:
    return AttentionSeq2SeqTokenizer.from_tokenizers(source, target, model_max_length=40)


@pytest.fixture
def registered() -> Iterator[type[PreTrainedConfig]]:
    """A configuration class whose tokenizer this is."""

    class TwoSidedConfig(PreTrainedConfig):
        model_type = "two_sided_for_a_test"

    AutoConfig.register(TwoSidedConfig.model_type, TwoSidedConfig)
    AutoTokenizer.register(TwoSidedConfig, AttentionSeq2SeqTokenizer)
    yield TwoSidedConfig
    CONFIG_MAPPING._extra_content.pop(TwoSidedConfig.model_type)
    TOKENIZER_MAPPING._extra_content.pop(TwoSidedConfig)
    if AttentionSeq2SeqTokenizer not in TOKENIZER_MAPPING._extra_content.values():
        REGISTERED_TOKENIZER_CLASSES.pop(AttentionSeq2SeqTokenizer.__name__)


def assert_is_both(
    tokenizer: PreTrainedTokenizerFast, source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast
) -> None:
    for text, other in zip(SOURCE, TARGET, strict=True):
        source_ids, target_ids = source(text)["input_ids"], target(other)["input_ids"]
        assert tokenizer(text)["input_ids"] == tokenizer.encode(text) == source_ids
        assert tokenizer(text_target=other)["input_ids"] == target_ids
        assert dict(tokenizer(text, text_target=other)) == {**source(text), "labels": target_ids}
        assert tokenizer.decode(target_ids, skip_special_tokens=True) == other
        assert tokenizer.decode(source_ids, skip_special_tokens=True, use_source_tokenizer=True) == text.lower()
        assert tokenizer.tokenize(text) == source.tokenize(text)
        assert tokenizer.convert_ids_to_tokens(source_ids) == source.convert_ids_to_tokens(source_ids)
        assert tokenizer.target_tokenizer.convert_ids_to_tokens(target_ids) == target.convert_ids_to_tokens(target_ids)
    assert len(tokenizer) == len(source) and len(tokenizer.target_tokenizer) == len(target)
    assert tokenizer.get_vocab() == source.get_vocab()
    assert tokenizer.all_special_ids == source.all_special_ids
    assert tokenizer.model_max_length == tokenizer.target_tokenizer.model_max_length == 40


def test_each_side_is_its_own_tokenizer(
    tokenizer: AttentionSeq2SeqTokenizer, source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast
) -> None:
    assert source(SOURCE)["input_ids"] != target(SOURCE)["input_ids"]
    for each in (tokenizer, copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert_is_both(each, source, target)


def test_batches(tokenizer: AttentionSeq2SeqTokenizer, target: PreTrainedTokenizerFast) -> None:
    batch = tokenizer(SOURCE, text_target=TARGET, padding=True, return_tensors="pt")
    assert batch["labels"].equal(target(TARGET, padding=True, return_tensors="pt")["input_ids"])
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert tokenizer.batch_decode(batch["labels"], skip_special_tokens=True) == TARGET
    assert tokenizer.decode(batch["labels"][1], skip_special_tokens=True) == TARGET[1]

    short = tokenizer(SOURCE, text_target=TARGET, truncation=True, max_length=4, max_target_length=6)
    assert {len(ids) for ids in short["input_ids"]} == {4} and {len(ids) for ids in short["labels"]} == {6}
    assert all(ids[-1] == tokenizer.eos_token_id for ids in short["input_ids"] + short["labels"])


def test_collates_for_a_trainer(tokenizer: AttentionSeq2SeqTokenizer, target: PreTrainedTokenizerFast) -> None:
    examples = [dict(tokenizer(text, text_target=other)) for text, other in zip(SOURCE, TARGET, strict=True)]
    labels = DataCollatorForSeq2Seq(tokenizer)(examples)["labels"]
    expected = target(TARGET, padding=True, return_tensors="pt")
    assert labels.equal(torch.where(expected["attention_mask"] == 1, expected["input_ids"], -100))


def test_an_error_on_the_target_side_leaves_nothing_behind(
    tokenizer: AttentionSeq2SeqTokenizer, source: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ValueError, match="text input must be"):
        tokenizer(text_target=7)
    assert tokenizer.tokenize(SOURCE[0]) == source.tokenize(SOURCE[0])


def test_saves_and_loads(
    tokenizer: AttentionSeq2SeqTokenizer,
    source: PreTrainedTokenizerFast,
    target: PreTrainedTokenizerFast,
    registered: type[PreTrainedConfig],
    tmp_path: Path,
) -> None:
    tokenizer.save_pretrained(tmp_path)
    # Alone, and beside the configuration of a model.
    for _ in range(2):
        for loader in (AttentionSeq2SeqTokenizer, AutoTokenizer):
            loaded = loader.from_pretrained(tmp_path)
            assert type(loaded) is AttentionSeq2SeqTokenizer
            assert_is_both(loaded, source, target)
        registered().save_pretrained(tmp_path)
    again = tmp_path / "again"
    names = {Path(name).name for name in loaded.save_pretrained(again)}
    assert {"tokenizer.json", "target_tokenizer.json", "tokenizer_config.json"} <= names
    for path in tmp_path.glob("*tokenizer.json"):
        assert (again / path.name).read_text() == path.read_text()


def test_a_shared_vocabulary_stays_a_plain_tokenizer(
    target: PreTrainedTokenizerFast, registered: type[PreTrainedConfig], tmp_path: Path
) -> None:
    target.save_pretrained(tmp_path)
    registered().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is PreTrainedTokenizerFast
    assert loaded(text_target=TARGET)["input_ids"] == target(TARGET)["input_ids"]


WITHOUT_THE_PACKAGE = """
import json, sys

from transformers import AutoTokenizer

folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
assert type(tokenizer).__module__.startswith("transformers_modules."), type(tokenizer)
batch = tokenizer(texts[0], text_target=texts[1])
tokenizer.save_pretrained(folder + "/again")
print(json.dumps([batch["input_ids"], batch["labels"], tokenizer.batch_decode(batch["labels"])]))
"""


def test_loads_as_remote_code(
    tokenizer: AttentionSeq2SeqTokenizer,
    source: PreTrainedTokenizerFast,
    target: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "saved"
    tokenizer.save_pretrained(folder)
    printed = run_without_the_package(
        WITHOUT_THE_PACKAGE, tmp_path / "elsewhere", folder, json.dumps([SOURCE, TARGET])
    )
    labels = target(TARGET)["input_ids"]
    assert json.loads(printed) == [source(SOURCE)["input_ids"], labels, target.batch_decode(labels)]
    assert {path.name for path in (folder / "again").iterdir()} == {path.name for path in folder.iterdir()} - {"again"}
    assert_is_both(AttentionSeq2SeqTokenizer.from_pretrained(folder / "again"), source, target)


def test_refuses(source: PreTrainedTokenizerFast, target: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target tokenizer is missing"):
        AttentionSeq2SeqTokenizer(tokenizer_object=source.backend_tokenizer)
    source.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="target_tokenizer.json"):
        AttentionSeq2SeqTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="`mask_token` '<mask>' must have one id on both sides, got"):
        AttentionSeq2SeqTokenizer.from_tokenizers(source, target, mask_token="<mask>")


def test_bpe_dropout_is_for_both_sides(target: PreTrainedTokenizerFast) -> None:
    tokenizer = AttentionSeq2SeqTokenizer.from_tokenizers(target, target)
    whole = tokenizer(TARGET, text_target=TARGET)
    dropping = with_bpe_dropout(tokenizer, 1.0)(TARGET, text_target=TARGET)
    for side in ("input_ids", "labels"):
        for ids, text, merged in zip(dropping[side], TARGET, whole[side], strict=True):
            assert len(ids) == len(f" {text}".encode()) + 1 > len(merged)


def test_a_new_one_is_trained(tokenizer: AttentionSeq2SeqTokenizer) -> None:
    sources, targets = [["the cat sleeps", "the dog sleeps"]], [["die Katze", "der Hund"]]
    words = sorted(f"▁{word}" for word in ("the", "cat", "sleeps", "dog"))
    new = tokenizer.train_new_from_iterator(sources, 40)
    assert type(new) is AttentionSeq2SeqTokenizer and new.model_max_length == tokenizer.model_max_length
    assert sorted(new.get_vocab().keys() - set(new.all_special_tokens)) == words
    assert new.target_tokenizer.get_vocab() == tokenizer.target_tokenizer.get_vocab()
    new = tokenizer.train_new_from_iterator(sources, 40, text_target_iterator=targets, target_vocab_size=30)
    assert sorted(new.get_vocab().keys() - set(new.all_special_tokens)) == words
    encoded = new(text_target="der Hund")["input_ids"]
    assert encoded[-1] == new.eos_token_id and new.decode(encoded, skip_special_tokens=True).lower() == "der hund"
