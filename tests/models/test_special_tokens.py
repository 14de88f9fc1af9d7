"""Models trained with tokenizers as others make them: they say their text, and stop."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.utils.data import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
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


def arguments(folder: Path, of: type[TrainingArguments] = TrainingArguments, **more) -> TrainingArguments:
    return of(
        output_dir=str(folder),
        max_steps=500,
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
    Trainer(model, arguments(tmp_path), train_dataset=Examples(batch), processing_class=processor).train()
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
        arguments(tmp_path, Seq2SeqTrainingArguments, predict_with_generate=True, generation_max_length=30),
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
