import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from accelerate.state import AcceleratorState
from datasets import Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PILImage
from PIL import ImageOps
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, ResNetConfig, set_seed

from hf_attention import AttentionCaptionerConfig, AttentionCaptionerForConditionalGeneration
from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scenes
from hf_attention.training.data.collators import CaptionCollator
from hf_attention.training.data.features import stored_region_features
from hf_attention.training.data.images import PixelsInMemory, PixelSource, RegionSource
from hf_attention.training.data.reading import check_images, get_split, load_splits, read_image, text_lists
from hf_attention.training.data.sampling import CaptionBatchSampler, CaptionGroup, LengthBatchSampler
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.loop.checkpoints import prepare_output_dir
from hf_attention.training.loop.evaluation import tune_generation
from hf_attention.training.loop.train import make_accelerator, train
from hf_attention.training.tasks.captioning.evaluation import CaptionEvaluator
from hf_attention.training.tasks.captioning.examples import CaptionDataset, caption_labels


TEXTS = ["A dog's t-shirt , red .", "a dog runs", "The DOG sleeps !", "a cat runs"]
TINY_BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


# Tokenizers


def test_word_tokenizer(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, "word", min_count=2)
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<unk>", "<s>", "</s>"]) == [0, 1, 2, 3]
    assert set(tokenizer.get_vocab()) == {"<pad>", "<unk>", "<s>", "</s>", "a", "dog", "runs"}
    tokenizer.save_pretrained(tmp_path)
    for loaded in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = loaded("A dog , runs !")["input_ids"]
        assert loaded.convert_ids_to_tokens(ids) == ["a", "dog", "runs", "</s>"]
        assert loaded.decode(ids, skip_special_tokens=True) == "a dog runs"
        assert loaded.convert_ids_to_tokens(loaded("a bird")["input_ids"]) == ["a", "<unk>", "</s>"]


def test_word_tokenizer_keeps_inner_hyphens_and_apostrophes() -> None:
    tokenizer = train_tokenizer(TEXTS, "word")
    assert tokenizer.tokenize(TEXTS[0]) == ["a", "dog's", "t-shirt", "red"]


def test_bpe_tokenizer_gives_the_text_back(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, "bpe", vocab_size=300).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "Ein Übermut, 개!"]:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == 3
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tokenizer_type": "char"}, "`tokenizer_type` must be"),
        ({"tokenizer_type": "bpe", "vocab_size": 100}, "`vocab_size` must be at least 260"),
        ({"tokenizer_type": "word", "vocab_size": 4}, "`vocab_size` must exceed"),
        ({"tokenizer_type": "word", "min_count": 9}, "`min_count`=9"),
    ],
)
def test_tokenizer_refuses(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_tokenizer(TEXTS, **kwargs)


# Data


def test_bad_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    PILImage.new("RGB", (4, 4)).save(tmp_path / "fine.png")
    rows = {"picture": [str(tmp_path / name) for name in ("fine.png", "broken.png")], "text": ["a dog", " "]}
    dataset = Dataset.from_dict(rows, features=Features({"picture": Image(), "text": Value("string")}))
    with pytest.raises(ValueError, match=r"`image_column` is 'image', .*\['picture', 'text'\]"):
        check_images(dataset, "image")
    with pytest.raises(ValueError, match="holds Value.* not images"):
        check_images(dataset, "text")
    with pytest.raises(ValueError, match="Row 1 of the column 'text'"):
        text_lists(dataset, "text", "captions_column")
    with pytest.raises(ValueError, match=r"row 1 .*broken\.png.* cannot be decoded"):
        read_image(dataset, 1, "picture")
    assert read_image(dataset, 0, "picture").size == (4, 4)
    splits = DatasetDict(train=dataset, test=dataset.select([]))
    with pytest.raises(ValueError, match=r"no split 'validation'. It has \['test', 'train'\]"):
        get_split(splits, "validation")
    with pytest.raises(ValueError, match="'test' is empty"):
        get_split(splits, "test")


def test_texts_are_a_list_or_one_string() -> None:
    one = Dataset.from_dict({"text": ["a dog"]})
    several = Dataset.from_dict({"text": [["a dog", " ", "a cat "]]})
    assert text_lists(one, "text", "captions_column") == [["a dog"]]
    assert text_lists(several, "text", "captions_column") == [["a dog", "a cat"]]


def test_splits_load_from_a_saved_folder(tmp_path: Path) -> None:
    DatasetDict(train=Dataset.from_dict({"text": ["a"]})).save_to_disk(tmp_path / "all")
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "one")
    assert load_splits(str(tmp_path / "all"))["train"]["text"][:] == ["a"]
    with pytest.raises(ValueError, match="one split without a name"):
        load_splits(str(tmp_path / "one"))


# Batches


@pytest.mark.parametrize("captions_per_image", [1, 2, 5])
def test_every_caption_once_an_epoch(captions_per_image: int) -> None:
    lengths = [[3, 9, 4, 7, 5], [2], [8, 8], *([[6, 5, 4, 3, 2]] * 9)]
    sampler = CaptionBatchSampler(lengths, 4, captions_per_image, mirror=True, seed=1)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
        assert len(epochs[-1]) == len(sampler)
        assert max(map(len, epochs[-1])) <= 4
        pairs = [(group.image, caption) for batch in epochs[-1] for group in batch for caption in group.captions]
        assert sorted(pairs) == [(i, j) for i, texts in enumerate(lengths) for j in range(len(texts))]
    assert epochs[0] == epochs[2] != epochs[1]
    assert {group.mirrored for batch in epochs[0] for group in batch} == {False, True}


def test_buckets_save_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 30, size=403).tolist()

    def padded(bucket_batches: int) -> int:
        sampler = LengthBatchSampler(lengths, 10, bucket_batches=bucket_batches)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(number for batch in batches for number in batch) == list(range(403))
        captions = CaptionBatchSampler([[length] for length in lengths], 10, bucket_batches=bucket_batches)
        sizes = sum(len(batch) * max(lengths[group.image] for group in batch) for batch in captions)
        assert sizes == pytest.approx(sum(len(batch) * max(lengths[i] for i in batch) for batch in batches), rel=0.1)
        return sizes

    assert padded(20) < 0.7 * padded(1)


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_keeps_batches_that_are_not_full(processes: int) -> None:
    """Where buckets end there are short batches; all processes together still see every example once."""
    sampler = LengthBatchSampler(list(range(45)), 4, bucket_batches=3)
    assert [len(batch) for batch in sampler].count(4) < len(sampler)
    shards = [BatchSamplerShard(sampler, processes, rank, even_batches=False) for rank in range(processes)]
    assert sorted(number for shard in shards for batch in shard for number in batch) == list(range(45))


def test_rows_of_an_image_follow_each_other() -> None:
    examples = [
        {"region_features": torch.full((2, 3), 1.5, dtype=torch.float16), "labels": [[5, 6, 3], [7, 3]]},
        {"region_features": torch.zeros(2, 3, dtype=torch.float16), "labels": [[8, 3]]},
    ]
    batch = CaptionCollator()(examples)
    assert batch["labels"].tolist() == [[5, 6, 3], [7, 3, -100], [8, 3, -100], [-100] * 3]
    assert batch["region_features"].dtype == torch.float32
    assert batch["region_features"][0].eq(1.5).all()


def test_images_in_memory_are_mirrored(scenes: DatasetDict) -> None:
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    stored = PixelsInMemory(scenes["train"], "image", processor)
    assert len(stored) == len(scenes["train"])
    pixels = processor(images=scenes["train"][2]["image"], return_tensors="pt")["pixel_values"][0].half()
    assert stored.inputs(2)["pixel_values"].equal(pixels)
    assert stored.inputs(2, mirrored=True)["pixel_values"].equal(pixels.flip(-1))


def test_each_caption_of_an_image_has_its_weight() -> None:
    features, labels = np.zeros((2, 3, 1), np.float16), [[[5, 6, 3], [7, 3]], [[8, 3]]]
    dataset = CaptionDataset(RegionSource(features), labels, [[0.5, 2.0], [1.0]])
    batch = CaptionCollator()([dataset[CaptionGroup(0, (1, 0), False)], dataset[CaptionGroup(1, (0,), False)]])
    assert batch["labels"].tolist() == [[7, 3, -100], [5, 6, 3], [8, 3, -100], [-100] * 3]
    assert batch["label_weights"].tolist() == [[2.0] * 3, [0.5] * 3, [1.0] * 3, [0.0] * 3]


def test_long_captions_keep_their_end() -> None:
    tokenizer = train_tokenizer(TEXTS)
    ids = tokenizer.convert_tokens_to_ids
    assert caption_labels([["a dog runs", "a dog"]], tokenizer, 3) == [
        [[ids("a"), ids("dog"), 3], [ids("a"), ids("dog"), 3]]
    ]


# Stored features


@pytest.fixture(scope="module")
def scenes() -> DatasetDict:
    return make_scenes(train=24, validation=6, test=0, held_out=0, image_size=32)


def tiny_captioner(
    vocab_size: int = 40, backbone: bool = False, **kwargs
) -> AttentionCaptionerForConditionalGeneration:
    sizes = {"embedding_size": 8, "hidden_size": 16, "attention_size": 8, "memory_size": 12}
    config = AttentionCaptionerConfig(
        vocab_size=vocab_size,
        **({"backbone_config": ResNetConfig(**TINY_BACKBONE)} if backbone else {"region_size": 6}),
        **sizes,
        **kwargs,
    )
    return AttentionCaptionerForConditionalGeneration(config)


def test_features_are_computed_once(scenes: DatasetDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, processor = (
        scenes["validation"],
        pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32}),
    )
    encoder = tiny_captioner(backbone=True).eval().get_encoder()

    def stored(**kwargs):
        arguments = {"dataset": dataset, "image_column": "image", "encoder": encoder, "image_processor": processor}
        return stored_region_features(**{**arguments, **kwargs}, folder=tmp_path, batch_size=4, show_progress=False)

    features, mirrored = stored(), stored(mirrored=True)
    images = dataset["image"][:]
    for found, pictures in ((features, images), (mirrored, [ImageOps.mirror(image) for image in images])):
        with torch.no_grad():
            expected = encoder.extract_regions(processor(images=pictures, return_tensors="pt")["pixel_values"])
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)
    assert np.abs(features - mirrored).max() > 1e-2

    changed = copy.deepcopy(encoder)
    with torch.no_grad():
        next(changed.backbone.parameters()).mul_(2)
    others = {
        "data": stored(dataset=dataset.select(range(5))),
        "weights": stored(encoder=changed),
        "processor": stored(
            image_processor=pillow_image_processor("ViTImageProcessor")(size={"height": 64, "width": 64})
        ),
        "dtype": stored(dtype=torch.bfloat16),
    }
    files = {found.filename for found in (features, mirrored, *others.values())}
    assert len(files) == len(list(tmp_path.iterdir())) == 6

    def fail(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(type(encoder), "extract_regions", fail)
    assert np.array_equal(stored(), features)


def test_interrupted_features_are_not_used(
    scenes: DatasetDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_captioner(backbone=True).eval().get_encoder()
    extract, calls = type(encoder).extract_regions, []

    def interrupt_second(self, pixel_values):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract(self, pixel_values)

    arguments = (
        scenes["validation"],
        "image",
        encoder,
        pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32}),
        tmp_path,
    )
    monkeypatch.setattr(type(encoder), "extract_regions", interrupt_second)
    with pytest.raises(KeyboardInterrupt):
        stored_region_features(*arguments, batch_size=4, show_progress=False)
    features = stored_region_features(*arguments, batch_size=4, show_progress=False)
    assert np.abs(features).sum((1, 2)).all()


def test_features_that_overflow_are_refused(scenes: DatasetDict, tmp_path: Path) -> None:
    encoder = tiny_captioner(backbone=True).eval().get_encoder()
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(math.nan)
    processor = pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    with pytest.raises(ValueError, match="row 0 are not finite"):
        stored_region_features(scenes["validation"], "image", encoder, processor, tmp_path, show_progress=False)


def test_pixel_source_mirrors(scenes: DatasetDict) -> None:
    source = PixelSource(
        scenes["train"], "image", pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})
    )
    plain, mirrored = (source.inputs(3, mirrored)["pixel_values"] for mirrored in (False, True))
    assert torch.equal(plain.flip(-1), mirrored)
    assert not torch.equal(plain, mirrored)


# The loop


@pytest.fixture(autouse=True)
def fresh_accelerate() -> None:
    """Accelerate keeps the precision of its first use for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


class Data:
    """A captioner's data, with region features that are the counts of the colours in the first caption."""

    def __init__(self, scenes: Dataset):
        self.captions = scenes["captions"][:]
        self.tokenizer = train_tokenizer(text for texts in self.captions for text in texts)
        colours = ["red", "green", "blue", "yellow", "purple", "white"]
        features = [[texts[0].split().count(colour) for colour in colours] for texts in self.captions]
        self.source = RegionSource(np.array(features, dtype=np.float16)[:, None].repeat(2, 1))
        self.labels = caption_labels(self.captions, self.tokenizer, 30)

    def dataloader(self, captions_per_image: int = 2) -> DataLoader:
        lengths = [[len(ids) for ids in texts] for texts in self.labels]
        sampler = CaptionBatchSampler(lengths, 6, captions_per_image)
        return DataLoader(
            CaptionDataset(self.source, self.labels), batch_sampler=sampler, collate_fn=CaptionCollator()
        )

    def model(self, **kwargs) -> AttentionCaptionerForConditionalGeneration:
        set_seed(0)
        return tiny_captioner(len(self.tokenizer), **kwargs)


@pytest.fixture(scope="module")
def data(scenes: DatasetDict) -> Data:
    return Data(scenes["train"])


def loop_arguments(folder: Path, **kwargs) -> LoopArguments:
    defaults = {"num_train_epochs": 2, "learning_rate": 1e-2, "warmup_steps": 2, "logging_steps": 5}
    return LoopArguments(output_dir=str(folder), **{**defaults, **kwargs})


def run(model: nn.Module, arguments: LoopArguments, dataloader: DataLoader, **kwargs):
    prepare_output_dir(arguments)
    return train(model, arguments, dataloader, make_accelerator(arguments), **kwargs)


def log_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_loss_falls_and_the_model_is_kept(data: Data, tmp_path: Path) -> None:
    result = run(data.model(), loop_arguments(tmp_path, num_train_epochs=6), data.dataloader())
    losses = [line["loss"] for line in log_lines(tmp_path) if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    model = AttentionCaptionerForConditionalGeneration.from_pretrained(result.best_model).eval()
    evaluator = CaptionEvaluator(
        data.source, data.captions, data.tokenizer, make_accelerator(loop_arguments(tmp_path)), 7
    )
    fresh = evaluator(data.model().eval())
    assert evaluator(model)["bleu_1"] > fresh["bleu_1"] + 10
    assert len(evaluator.captions(model, num_beams=2)) == len(data.captions)


def test_nan_stops_and_names_the_step(data: Data, tmp_path: Path) -> None:
    features = data.source.features.copy()
    features[5] = np.nan
    poisoned = CaptionDataset(RegionSource(features), data.labels)
    sampler = CaptionBatchSampler([[len(ids) for ids in texts] for texts in data.labels], 6, 5)
    step = 1 + next(i for i, batch in enumerate(sampler) if any(group.image == 5 for group in batch))
    dataloader = DataLoader(poisoned, batch_sampler=sampler, collate_fn=CaptionCollator())
    with pytest.raises(FloatingPointError, match=rf"loss is nan .* at step {step} \(epoch 1, batch {step} of it\)"):
        run(data.model(), loop_arguments(tmp_path), dataloader)


def test_generation_is_tuned_by_one_score_or_the_sum_of_several() -> None:
    scores = {(3, 0.5): (50, 22), (3, 1.0): (52, 21), (5, 0.5): (51, 22.5), (5, 1.0): (40, 23)}

    def evaluator(model: None, num_beams: int, length_penalty: float) -> dict[str, float]:
        return dict(zip(("cider", "bleu_4"), scores[num_beams, length_penalty], strict=True))

    def chosen(metric: str) -> tuple[int, float]:
        settings, best = tune_generation(None, evaluator, metric, num_beams=(3, 5), length_penalties=(0.5, 1.0))
        assert best == evaluator(None, **settings)
        return settings["num_beams"], settings["length_penalty"]

    assert [chosen(metric) for metric in ("cider", "bleu_4", "cider+bleu_4")] == [(3, 1.0), (5, 1.0), (5, 0.5)]
    with pytest.raises(ValueError, match="must be of cider, bleu_4, got meteor"):
        chosen("cider+meteor")
