"""Training whose embeddings start with word vectors; at a learning rate of 0 they are in the model that is saved."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from common.scripts import run_script
from safetensors.torch import load_file
from transformers import AutoTokenizer, ResNetConfig, ResNetModel

from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scene_questions, make_scenes
from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations


SIZE = 5
STILL = {"learning_rate": 0, "weight_decay": 0, "max_steps": 1, "warmup_steps": 0, "card_picture": False}
SMALL = {**STILL, "embedding_size": SIZE, "hidden_size": 8, "min_count": 1}
IMAGES = {**SMALL, "attention_size": 8, "memory_size": 8, "image_size": 32}


def vector(word: str) -> list[float]:
    return [round(((7 * len(word) + 3 * ord(word[-1]) + place) % 11 - 5) / 10, 1) for place in range(SIZE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with captions and questions as people have them, a backbone, sentences, and word vectors."""
    folder = tmp_path_factory.mktemp("inputs")
    scenes = make_scenes(train=8, validation=0, test=0, held_out=0, image_size=32)["train"]
    questions = make_scene_questions(train=8, validation=0, test=0, held_out=0, image_size=32, questions_per_scene=4)[
        "train"
    ]
    rows = [(f"{row}.png", image, scenes[row]["captions"]) for row, image in enumerate(scenes["image"])]
    write_photos(folder / "photos", "captions.txt", "caption", rows)
    asked = [(f"{row}.png", each["image"], [(each["question"], each["answer"])]) for row, each in enumerate(questions)]
    write_photos(folder / "rooms", "questions.csv", "question,answer", asked)
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    ResNetModel(ResNetConfig(**sizes)).save_pretrained(folder / "backbone")
    pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32}).save_pretrained(folder / "backbone")
    make_translations(train=24, validation=4, test=0).save_to_disk(folder / "pairs")
    (folder / "text").mkdir()
    for split in ("train", "validation"):
        (folder / "text" / f"{split}.txt").write_text("the red circle is above the blue ring\n" * 20)
    words = {word for row in scenes for text in row["captions"] for word in text.lower().split()}
    words |= {"red", "blue", "circle", "what", "color", "is", "the"}
    lines = [f"{word} {' '.join(map(str, vector(word)))}\n" for word in sorted(words)]
    (folder / "vectors.txt").write_text("".join(lines))
    return folder


def write_photos(folder: Path, name: str, header: str, rows: Iterable[tuple]) -> None:
    folder.mkdir()
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *header.split(",")])
        for picture, image, texts in rows:
            image.save(folder / picture)
            writer.writerows([picture, *([text] if isinstance(text, str) else text)] for text in texts)


def options_of(task: str, folder: Path) -> dict:
    return {
        "train_captioner": {
            **IMAGES,
            "dataset_name": folder / "photos",
            "backbone": folder / "backbone",
            "features_dir": folder / "features",
        },
        "train_vqa": {
            **IMAGES,
            "dataset_name": folder / "rooms",
            "backbone": folder / "backbone",
            "features_dir": folder / "features",
            "encoder_hidden_size": 8,
        },
        "train_lm": {**SMALL, "dataset_name": folder / "text", "columns": 2, "segment_length": 8},
        "train_seq2seq": {
            **SMALL,
            "dataset_name": folder / "pairs",
            "source_lang": "en",
            "target_lang": TOY_LANGUAGE,
            "tokenizer_type": "word_punct",
            "separate_vocabularies": True,
            "encoder_hidden_size": 4,
            "validation_num_beams": 1,
        },
    }[task]


@pytest.fixture
def train(folder: Path) -> Callable:
    """Runs a script with the options given."""
    return lambda task, **given: run_script(task, **{**options_of(task, folder), **given})


@pytest.mark.parametrize(
    ("task", "option", "table"),
    [
        ("train_captioner", "embeddings", "model.decoder.embed_tokens.weight"),
        ("train_vqa", "embeddings", "model.encoder.question_encoder.embed_tokens.weight"),
        ("train_lm", "embeddings", "model.decoder.embed_tokens.weight"),
        ("train_seq2seq", "source_embeddings", "model.encoder.embed_tokens.weight"),
    ],
)
def test_a_model_starts_with_them(
    task: str, option: str, table: str, train: Callable, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(task, **{option: folder / "vectors.txt"}, output_dir=tmp_path)
    weights = load_file(tmp_path / "model.safetensors")[table]
    vocabulary = AutoTokenizer.from_pretrained(tmp_path).get_vocab()
    ids = {token.removeprefix("▁"): index for token, index in vocabulary.items()}
    for word in ("red", "blue", "circle"):
        assert weights[ids[word]].tolist() == pytest.approx(vector(word))
    assert "of the vocabulary, and " in caplog.text


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("train_captioner", {"embedding_size": 6}, "have 5 numbers, the embeddings 6. `embedding_size` 5 takes"),
        (
            "train_captioner",
            {"model_name_or_path": "scenes-captioner"},
            "Leave out `embeddings`: with `model_name_or_path`",
        ),
        ("train_vqa", {"embedding_size": 6}, "`encoder_embedding_size` 5 takes them"),
        ("train_lm", {"model_name_or_path": "scenes-writer"}, "Leave out `embeddings`: with `model_name_or_path`"),
    ],
)
def test_what_does_not_fit_is_refused(task: str, options: dict, message: str, folder: Path, tmp_path: Path) -> None:
    given = {**options_of(task, folder), "embeddings": folder / "vectors.txt", **options}
    if "model_name_or_path" in options:
        ours = {*IMAGES, "backbone"} - STILL.keys()
        given = {name: value for name, value in given.items() if name not in ours}
    with pytest.raises(ValueError, match=message):
        run_script(task, **given, output_dir=tmp_path)


def test_one_table_takes_one_file(train: Callable, folder: Path, tmp_path: Path) -> None:
    both = dict.fromkeys(["source_embeddings", "target_embeddings"], folder / "vectors.txt")
    with pytest.raises(ValueError, match="share one: give one of them, or `separate_vocabularies`"):
        train("train_seq2seq", **both, separate_vocabularies=False, output_dir=tmp_path)
