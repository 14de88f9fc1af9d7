"""Models trained with tokenizers as others make them: they say their text, and stop."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.utils.data import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
    ViTImageProcessor,
)

from hf_attention import (
    AttentionCaptionerConfig,
    AttentionCaptionerForConditionalGeneration,
    AttentionCaptionerProcessor,
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionSeq2SeqTokenizer,
    special_token_ids,
)


CAPTIONS = [
    f"a {size} {colour} {shape}"
    for size in ("small", "big")
    for colour in ("red", "blue")
    for shape in ("circle", "square")
]
SIZES = {"embedding_size": 24, "hidden_size": 48, "attention_size": 24}


def make_words(specials: list[str], at_the_end: list[str], template: str | None, **names) -> PreTrainedTokenizerFast:
    words = [*specials, *sorted({word for caption in CAPTIONS for word in caption.split()}), *at_the_end]
    unknown = next(word for word in words if "unk" in word.lower())
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if template is not None:
        tokens = [(word, words.index(word)) for word in (*specials, *at_the_end)]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=tokens)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown, **names)


def make_bytes(specials: list[str], **names) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CAPTIONS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(specials)  # behind the words, as GPT-2 has it
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


END = "<|endoftext|>"
TOKENIZERS = {
    "GPT-2": lambda: make_bytes([END], bos_token=END, eos_token=END, unk_token=END, pad_token=END),
    "BERT": lambda: make_words(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        [],
        "[CLS] $A [SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ),
    "T5": lambda: make_words(["<pad>", "</s>", "<unk>"], [], "$A </s>", pad_token="<pad>", eos_token="</s>"),
    "Marian": lambda: make_words(["</s>", "<unk>"], ["<pad>"], "$A </s>", pad_token="<pad>", eos_token="</s>"),
    "Llama": lambda: make_words(["<unk>", "<s>", "</s>"], [], "<s> $A", bos_token="<s>", eos_token="</s>"),
    "bytes": lambda: make_bytes(["<end>"], eos_token="<end>"),
}
over_tokenizers = pytest.mark.parametrize("make_tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


class Examples(Dataset):
    """Rows of a batch."""

    def __init__(self, batch: dict[str, torch.Tensor | list]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["labels"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | list]:
        return {name: values[index] for name, values in self.batch.items()}


def arguments(
    folder: Path, tokenizer: PreTrainedTokenizerFast, of: type[TrainingArguments] = TrainingArguments, **more
) -> TrainingArguments:
    has_pieces = len(tokenizer) > 100  # which take longer to learn than words
    return of(
        output_dir=str(folder),
        max_steps=500 if has_pieces else 150,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=1,
        **more,
    )


def texts_of(tokenizer: PreTrainedTokenizerFast, sequences: torch.Tensor) -> list[str]:
    return [text.strip() for text in tokenizer.batch_decode(sequences, skip_special_tokens=True)]


def check_captions(
    model: AttentionCaptionerForConditionalGeneration, processor: AttentionCaptionerProcessor, features: torch.Tensor
) -> None:
    model.eval()
    end = processor.tokenizer.eos_token_id
    for num_beams in (1, 3):
        sequences = model.generate(region_features=features, max_new_tokens=30, num_beams=num_beams)
        assert texts_of(processor.tokenizer, sequences) == CAPTIONS
        # The closing token came, and nothing but padding behind it.
        assert ((sequences[:, 1:] == end).any(1)).all() and sequences.shape[1] < 30
    # A caption goes on from how it begins, alone and among longer ones.
    prompts = ["a small", "a small red", "a"]
    chosen = features[[0, 1, 4]]
    inputs = processor(text=prompts, return_tensors="pt")
    said = texts_of(processor.tokenizer, model.generate(region_features=chosen, **inputs, max_new_tokens=20))
    assert said == [CAPTIONS[0], CAPTIONS[1], CAPTIONS[4]]
    padded = processor(text=prompts, padding="max_length", max_length=16, return_tensors="pt")
    said = texts_of(processor.tokenizer, model.generate(region_features=chosen, **padded, max_new_tokens=20))
    assert said == [CAPTIONS[0], CAPTIONS[1], CAPTIONS[4]]


@over_tokenizers
def test_a_captioner_says_its_caption_and_stops(make_tokenizer: Callable, tmp_path: Path) -> None:
    """Trained by `Trainer` from a configuration that knows the size of the vocabulary alone."""
    processor = AttentionCaptionerProcessor(ViTImageProcessor(), make_tokenizer())
    torch.manual_seed(0)
    features = torch.randn(len(CAPTIONS), 3, 16)
    batch = {"region_features": features, **processor(text_target=CAPTIONS, return_tensors="pt")}
    config = AttentionCaptionerConfig(vocab_size=len(processor.tokenizer), region_size=16, memory_size=16, **SIZES)
    model = AttentionCaptionerForConditionalGeneration(config)
    training = arguments(tmp_path, processor.tokenizer)
    Trainer(model, training, train_dataset=Examples(batch), processing_class=processor).train()
    check_captions(model, processor, features)
    # What is saved says the same.
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AttentionCaptionerForConditionalGeneration.from_pretrained(tmp_path)
    check_captions(loaded, AttentionCaptionerProcessor.from_pretrained(tmp_path), features)


@over_tokenizers
def test_without_trainer_the_configuration_is_given_the_tokens(make_tokenizer: Callable) -> None:
    processor = AttentionCaptionerProcessor(ViTImageProcessor(), make_tokenizer())
    torch.manual_seed(0)
    features = torch.randn(len(CAPTIONS), 3, 16)
    labels = processor(text_target=CAPTIONS, return_tensors="pt")["labels"]
    ids = special_token_ids(processor.tokenizer)
    config = AttentionCaptionerConfig(
        vocab_size=len(processor.tokenizer), region_size=16, memory_size=16, **SIZES, **ids
    )
    model = AttentionCaptionerForConditionalGeneration(config)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        model(region_features=features, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    check_captions(model, processor, features)


@over_tokenizers
@pytest.mark.parametrize("is_plain", [True, False], ids=["plain", "ours"])
def test_a_translator_says_its_text_and_stops(make_tokenizer: Callable, is_plain: bool, tmp_path: Path) -> None:
    """With a tokenizer of its own where it closes its texts, and with all as a side of ours."""
    tokenizer = make_tokenizer()
    closes = tokenizer.eos_token is not None and tokenizer("a").input_ids[-1] == tokenizer.eos_token_id
    if is_plain and not closes:
        pytest.skip("it does not close a text")
    if not is_plain:
        tokenizer = AttentionSeq2SeqTokenizer.from_tokenizers(tokenizer, tokenizer)
        tokenizer.save_pretrained(tmp_path)
        tokenizer = AttentionSeq2SeqTokenizer.from_pretrained(tmp_path)
    sources = [" ".join(reversed(caption.split())) for caption in CAPTIONS]
    batch = {**tokenizer(sources, text_target=CAPTIONS)}
    batch = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    torch.manual_seed(0)
    config = AttentionSeq2SeqConfig(vocab_size=len(tokenizer), encoder_hidden_size=24, **SIZES)
    model = AttentionSeq2SeqForConditionalGeneration(config)
    trainer = Seq2SeqTrainer(
        model,
        arguments(tmp_path, tokenizer, Seq2SeqTrainingArguments, predict_with_generate=True, generation_max_length=30),
        train_dataset=Examples(batch),
        eval_dataset=Examples(batch),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
    )
    trainer.train()
    predictions = torch.tensor(trainer.predict(trainer.eval_dataset).predictions)
    predictions = predictions.masked_fill(predictions == -100, tokenizer.pad_token_id)
    assert texts_of(tokenizer, predictions) == CAPTIONS
    assert (predictions[:, 1:] == tokenizer.eos_token_id).any(1).all()


def test_what_is_never_generated_follows_the_special_tokens() -> None:
    config = AttentionSeq2SeqConfig(vocab_size=12, unk_token_id=1, bos_token_id=2, **SIZES, encoder_hidden_size=8)
    model = AttentionSeq2SeqForConditionalGeneration(config).eval()
    inputs = {"input_ids": torch.tensor([[5, 6, 3]]), "max_new_tokens": 6}

    def says(favourites: list[int], **kwargs) -> list[int]:
        with torch.no_grad():
            model.lm_head.bias.copy_(torch.zeros(12))
            for rank, token in enumerate(favourites):
                model.lm_head.bias[token] = 60.0 - 10 * rank
        return model.generate(**inputs, **kwargs)[0, 1:].tolist()

    assert says([0, 1, 3]) == [3]
    assert says([3, 0, 1], eos_token_id=1) == [3] * 6 and says([0, 1, 3], eos_token_id=1) == [1]
    given = GenerationConfig(eos_token_id=[0, 7])
    assert says([0, 1, 3], generation_config=given) == [0] and given.suppress_tokens is None
    assert says([0, 1, 3], suppress_tokens=[3]) == [0] * 6  # a user's own stands
    model.config.eos_token_id = 1
    assert says([0, 1, 3]) == [1]
    model.config.pad_token_id = 4
    assert says([4, 0, 1]) == [0] * 6
    model.generation_config.eos_token_id = 4
    assert says([4, 0, 1]) == [4]
    model.config.unk_token_id = None
    model.generation_config.eos_token_id = 9
    assert says([4, 1, 0]) == [1] * 6


def test_suppressed_tokens_of_an_earlier_checkpoint(tmp_path: Path) -> None:
    """They were derived from default ids, and the end has been brought into line with T5's since."""
    config = AttentionSeq2SeqConfig(vocab_size=12, unk_token_id=1, bos_token_id=2, **SIZES, encoder_hidden_size=8)
    model = AttentionSeq2SeqForConditionalGeneration(config)
    for ends, stored in ((1, [0, 1]), (3, [0, 1]), (3, [5])):
        model.config.eos_token_id = ends
        model.generation_config.suppress_tokens, model.generation_config.eos_token_id = stored, ends
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path)
        assert loaded.suppressed_tokens() == {1: [0], 3: stored}[ends]
        assert loaded.generation_config.suppress_tokens == (stored if stored == [5] else None)
        assert loaded.generation_config.eos_token_id is None  # the configuration has it


def test_generation_starts_as_training_does() -> None:
    config = AttentionSeq2SeqConfig(vocab_size=12, **SIZES, encoder_hidden_size=8)
    model = AttentionSeq2SeqForConditionalGeneration(config).eval()
    labels, inputs = (
        torch.tensor([[5, 6, 3], [7, 3, -100]]),
        {"input_ids": torch.tensor([[5, 3]]), "max_new_tokens": 2},
    )
    for settings, start in (({}, 0), ({"bos_token_id": 6}, 6), ({"decoder_start_token_id": 7}, 7)):
        for name, value in settings.items():
            setattr(model.config, name, value)
        assert model.prepare_decoder_input_ids_from_labels(labels).tolist() == [[start, 5, 6], [start, 7, 3]]
        assert model.generate(**inputs)[0, 0] == start
    model.generation_config.decoder_start_token_id = 8
    with pytest.raises(ValueError, match="`config` starts the decoder with 7, `generation_config` with 8"):
        model.prepare_decoder_input_ids_from_labels(labels)
    model.generation_config.decoder_start_token_id = None
    with pytest.raises(ValueError, match=r"begin with padding, 0: .* `decoder_start_token_id=0`, which is 7"):
        model.generate(**inputs, decoder_input_ids=torch.tensor([[0, 5]]))


def test_a_vocabulary_that_loses_a_special_token_is_refused() -> None:
    model = AttentionSeq2SeqForConditionalGeneration(
        AttentionSeq2SeqConfig(vocab_size=12, eos_token_id=10, **SIZES, encoder_hidden_size=8)
    )
    with pytest.raises(ValueError, match=r"`eos_token_id` must lie in \[0, vocab_size=10\), got 10"):
        model.resize_token_embeddings(10)
    model.resize_token_embeddings(11)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = make_words(["<unk>"], [], None)
    with pytest.raises(ValueError, match="set `tokenizer.eos_token`"):
        AttentionSeq2SeqTokenizer.from_tokenizers(tokenizer, tokenizer)
    processor = AttentionCaptionerProcessor(ViTImageProcessor(), tokenizer)
    with pytest.raises(ValueError, match="set `tokenizer.eos_token`"):
        processor(text_target="a")
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    assert processor(text_target="a")["labels"] == [[tokenizer.convert_tokens_to_ids("a"), tokenizer.eos_token_id]]
