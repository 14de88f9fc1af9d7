import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from common.scores import check_card_picture, evaluate_model
from common.scripts import SCRIPTS, command_line, logged, run_script
from datasets import Dataset, DatasetDict, Image
from safetensors.torch import load_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    EfficientNetConfig,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    pipeline,
)

from hf_attention.metrics.captioning.captioning import caption_metrics
from hf_attention.models.versions import pillow_image_processor
from hf_attention.scenes import make_scenes


BACKBONE = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
NEW_MODEL = {
    "embedding_size": 16,
    "hidden_size": 32,
    "attention_size": 16,
    "memory_size": 32,
    "min_count": 1,
    "image_size": 32,
    "label_smoothing": 0,
    **dict.fromkeys(["embedding_dropout", "hidden_dropout", "readout_dropout", "memory_dropout"], 0.0),
}
TRAINING = {"warmup_steps": 3, "logging_steps": 1, "learning_rate": 1e-2, "images_per_batch": 4}
SELF_CRITICAL = {"self_critical": True, "learning_rate": 2e-3, "warmup_steps": 0, "ema_decay": 0.5}


@pytest.fixture(scope="module")
def scenes() -> DatasetDict:
    return make_scenes(train=40, validation=8, test=8, held_out=0, image_size=32)


@pytest.fixture(scope="module")
def folder(scenes: DatasetDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a backbone, as folders."""
    folder = tmp_path_factory.mktemp("inputs")
    scenes.save_to_disk(folder / "scenes")
    ResNetConfig(**BACKBONE).save_pretrained(folder / "config")
    torch.manual_seed(0)
    ResNetModel(ResNetConfig(**BACKBONE)).save_pretrained(folder / "backbone")
    # The processor crops, as many do: `image_size` must see to it that the whole picture is seen.
    crop = {"height": 16, "width": 16}
    processor = pillow_image_processor("ViTImageProcessor")(
        size={"height": 64, "width": 64}, crop_size=crop, do_center_crop=True
    )
    processor.save_pretrained(folder / "backbone")
    return folder


def settings(folder: Path, **given) -> dict:
    """The script's options: those given, and what they leave open."""
    new_model = {} if "model_name_or_path" in given else NEW_MODEL
    return {
        "dataset_name": folder / "scenes",
        "features_dir": folder / "features",
        **new_model,
        **TRAINING,
        **given,
    }


def run_here(folder: Path, **given) -> None:
    run_script("train_captioner", **settings(folder, **given))


def run_in_two_processes(folder: Path, **given) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    return subprocess.run(
        [*launcher, SCRIPTS / "train_captioner.py", *command_line(**settings(folder, **given))],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent), "ACCELERATE_USE_CPU": "true"},
    )


@pytest.fixture
def train_captioner(folder: Path) -> Callable:
    """Runs the script with the options given."""
    return partial(run_here, folder)


@pytest.fixture(scope="module")
def captioner(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner trained on captions, its backbone frozen."""
    output_dir = tmp_path_factory.mktemp("captioner") / "run"
    run_here(folder, backbone=folder / "backbone", output_dir=output_dir, num_train_epochs=5)
    return output_dir


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_frozen_backbone(scenes: DatasetDict, folder: Path, train_captioner: Callable, tmp_path: Path) -> None:
    output_dir = tmp_path / "run"
    options = {"backbone": folder / "backbone", "backbone_layers": [1], "output_dir": output_dir}
    train_captioner(
        **options,
        num_train_epochs=5,
        mirror=True,
        crops=2,
        tune_generation=True,
        tuning_metric="cider+bleu_4",
        no_repeat_ngram_size=2,
        do_test=True,
    )
    found = logged(output_dir, "loss")
    assert np.mean(found[-3:]) < 0.8 * np.mean(found[:3])

    # The folder is a model like any other, and gives the captions that were scored.
    check_card_picture(output_dir)
    results = json.loads((output_dir / "results.json").read_text())
    captioner = pipeline("image-to-text", model=str(output_dir))
    assert captioner.image_processor.size == {"height": 32, "width": 32}
    assert not captioner.image_processor.do_center_crop
    settings = captioner.model.generation_config.to_dict()
    assert {**settings, **results["generation"]} == settings
    assert results["generation"]["no_repeat_ngram_size"] == 2
    test = scenes["test"]
    captions = [answer[0]["generated_text"] for answer in captioner(test["image"][:])]
    assert caption_metrics(captions, test["captions"][:]) == pytest.approx(results["test"], abs=1e-3)
    assert evaluate_model("captions", output_dir, dataset_name=folder / "scenes") == pytest.approx(
        results["test"], abs=1e-3
    )
    assert results["seed"] == 0
    assert "--mirror True" in results["command"]

    # Nothing is learned in the backbone, and its features are not computed again.
    backbone = load_file(folder / "backbone" / "model.safetensors")
    model = AutoModelForImageTextToText.from_pretrained(output_dir)
    for name, weight in model.get_encoder().backbone.state_dict().items():
        assert torch.equal(weight, backbone[name]), name
    files = sorted((folder / "features").glob("[!.]*"))
    assert len(files) == 8  # training: whole and two crops, all mirrored, too; validation; test
    with pytest.raises(ValueError, match="not empty"):
        train_captioner(**options)
    options |= {"num_train_epochs": 1, "overwrite_output_dir": True}
    train_captioner(**options, attention_type="none", consensus_weights=True)
    weighted = logged(output_dir, "loss")
    assert sorted((folder / "features").glob("[!.]*")) == files
    assert AutoModelForImageTextToText.from_pretrained(output_dir).config.attention_type is None
    train_captioner(**options, attention_type="none")
    assert weighted != logged(output_dir, "loss")


def test_backbone_from_scratch(
    scenes: DatasetDict, train_captioner: Callable, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output_dir = tmp_path / "run"
    options = {"backbone_config": folder / "config", "output_dir": output_dir, "num_train_epochs": 2}
    options |= {"attention_type": "scaled_dot", "attention_order": "after_rnn", "rnn_type": "gru", "memory_size": 24}
    options |= {"tokenizer_type": "bpe", "vocab_size": 300, "num_beams": 2, "mixed_precision": "bf16"}
    train_captioner(**options)
    found = logged(output_dir, "loss")
    assert np.mean(found[-3:]) < 0.9 * np.mean(found[:3])
    processor = AutoProcessor.from_pretrained(output_dir)
    model = AutoModelForImageTextToText.from_pretrained(output_dir)
    config = model.config
    assert (config.attention_type, config.attention_order, config.rnn_type) == ("scaled_dot", "after_rnn", "gru")
    assert model.generation_config.num_beams == 2
    images = processor(images=scenes["test"]["image"][:2], return_tensors="pt")
    captions = processor.batch_decode(model.generate(**images), skip_special_tokens=True)
    assert all(captions)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["generation"]["num_beams"] == 2


@pytest.mark.parametrize("frozen", [True, False])
def test_streamed_run_resumes(folder: Path, train_captioner: Callable, tmp_path: Path, frozen: bool) -> None:
    """Within a buffer, images mirrored and cropped as before; a frozen backbone sees them as they come."""
    backbone = {"backbone": folder / "backbone"} if frozen else {"backbone_config": folder / "config"}
    options = {"streaming": True, "shuffle_buffer": 15, "tokenizer_rows": 30, "steps_per_epoch": 7, "max_steps": 14}
    options |= {**backbone, "mirror": True, "crops": 2, "checkpointing_steps": 12, "save_total_limit": 9}
    train_captioner(**options, output_dir=tmp_path / "whole")
    checkpoint = tmp_path / "whole" / "checkpoint-12"
    assert json.loads((checkpoint / "batches_0.json").read_text())["done"] > 0
    train_captioner(**options, output_dir=tmp_path / "resumed", resume_from_checkpoint=checkpoint)
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "resumed")
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


def test_captions_of_a_streamed_picture_are_scored_together(
    scenes: DatasetDict, folder: Path, train_captioner: Callable, tmp_path: Path
) -> None:
    """Each a row in the file; as where they are not streamed."""
    for split in ("train", "validation"):
        place = tmp_path / "photos" / split
        place.mkdir(parents=True)
        lines = ["file_name,text"]
        for number, row in enumerate(scenes[split].select(range(6))):
            row["image"].save(place / f"{number}.png")
            lines += [f'{number}.png,"{text}"' for text in (row["captions"][0], f"picture {number}")]
        (place / "metadata.csv").write_text("\n".join(lines))
    photos, output_dir = {"dataset_name": tmp_path / "photos"}, tmp_path / "run"
    options = {"backbone_config": folder / "config", "streaming": True, "max_steps": 1, "steps_per_epoch": 1}
    train_captioner(**photos, **options, output_dir=output_dir)
    results = json.loads((output_dir / "results.json").read_text())
    scores = evaluate_model("captions", output_dir, **photos, split="validation")
    assert scores == pytest.approx(results["validation"])


@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_self_critical(captioner: Path, train_captioner: Callable, tmp_path: Path, baseline: str) -> None:
    options = {**SELF_CRITICAL, "model_name_or_path": captioner, "baseline": baseline, "num_train_epochs": 2}
    options |= {"mirror": True, "save_total_limit": 2, "mixed_precision": "bf16", "validation_num_beams": 2}
    train_captioner(**options, output_dir=tmp_path / "run")
    rewards = [-loss for loss in logged(tmp_path / "run", "loss")]
    assert len(rewards) == 20 and all(0 <= reward <= 10 for reward in rewards) and max(rewards) > 0
    before, after = weights_of(captioner), weights_of(tmp_path / "run")
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed and not any("backbone" in name for name in changed)

    # Resumed after the first epoch, a run ends as the undisturbed one, samples included.
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoint-20")
    train_captioner(**options, output_dir=tmp_path / "again", resume_from_checkpoint="latest")
    assert logged(tmp_path / "again", "loss")[-10:] == logged(tmp_path / "run", "loss")[-10:]
    for name, weight in weights_of(tmp_path / "again").items():
        assert torch.equal(weight, after[name]), name


@pytest.mark.parametrize("self_critical", [False, True])
def test_a_pretrained_backbone_is_trained(
    captioner: Path, train_captioner: Callable, tmp_path: Path, self_critical: bool
) -> None:
    options = {"model_name_or_path": captioner, "train_backbone": True, "backbone_learning_rate": 1e-3}
    options |= SELF_CRITICAL if self_critical else {}
    train_captioner(**options, output_dir=tmp_path / "run", max_steps=4)
    before, after = weights_of(captioner), weights_of(tmp_path / "run")
    backbone = [name for name in after if "backbone" in name]
    statistics = [name for name in backbone if "running_" in name]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)
    trained = [name for name in backbone if name.endswith(("weight", "bias"))]
    assert trained and not any(torch.equal(before[name], after[name]) for name in trained)
    config = AutoModelForImageTextToText.from_pretrained(tmp_path / "run").config
    assert not config.freeze_backbone and config.freeze_batch_norms


def test_bad_images_are_left_out_if_asked(
    scenes: DatasetDict, folder: Path, train_captioner: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoded = scenes.cast_column("image", Image(decode=False))

    def damage(row: dict, number: int) -> dict:
        if number == 3:
            row["image"] = {"bytes": row["image"]["bytes"][:60], "path": "broken.png"}
        return row

    encoded["train"] = encoded["train"].map(damage, with_indices=True, features=encoded["train"].features)
    encoded.cast_column("image", Image()).save_to_disk(tmp_path / "data")
    options = {"backbone": folder / "backbone", "dataset_name": tmp_path / "data", "num_train_epochs": 1}
    with pytest.raises(ValueError, match=r"The image of row 3 \(broken.png\) cannot be decoded"):
        train_captioner(**options, output_dir=tmp_path / "run")
    train_captioner(**options, output_dir=tmp_path / "run", overwrite_output_dir=True, skip_bad_images=True)
    assert "Left out: The image of row 3 (broken.png)" in caplog.text
    assert "Left out 1 of 40 images" in caplog.text
    assert (tmp_path / "run" / "results.json").is_file()


def test_a_single_beam(folder: Path, captioner: Path, train_captioner: Callable, tmp_path: Path) -> None:
    """Of a new model, and of one that was saved with several and a penalty."""
    assert AutoModelForImageTextToText.from_pretrained(captioner).generation_config.length_penalty == 0.7
    for name, options in {
        "new": {"backbone": folder / "backbone"},
        "trained": {"model_name_or_path": captioner},
    }.items():
        train_captioner(**options, output_dir=tmp_path / name, num_beams=1, num_train_epochs=1)
        settings = AutoModelForImageTextToText.from_pretrained(tmp_path / name).generation_config
        assert (settings.num_beams, settings.length_penalty) == (1, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric_for_best_model": "bleu"}, "`metric_for_best_model` must be one of cider, .*rouge_l, got 'bleu'"),
        ({"max_eval_samples": -1}, "`max_eval_samples` must be at least 1, got -1"),
        ({"bucket_batches": -1}, "`bucket_batches` must be at least 1, got -1"),
        ({"image_column": "photo"}, r"`image_column` is 'photo', but .*'image', 'image_id', 'captions'"),
        ({"captions_column": "caption"}, "`captions_column` is 'caption', but"),
        (
            {"validation_split": "dev"},
            r"`validation_split`: .* no split 'dev'. It has \['test', 'train', 'validation'\]",
        ),
        ({"attention_type": "none", "context_gate": True}, "`context_gate` needs attention"),
        ({"backbone_learning_rate": 1e-4}, "needs `train_backbone`"),
        ({"backbone_config": "x"}, "either `backbone`"),
        (
            {"tuning_metric": "cider+bleu"},
            "`tuning_metric` must be one of cider, .*rouge_l, or .*, got 'bleu'.",
        ),
        ({"reward": "rouge_l+cider"}, r"`reward` must be one of cider, bleu_4, or a sum as a\+b, got 'rouge_l'"),
        ({"reward": "cider+bleu_4"}, "`reward`: only with `self_critical`"),
        ({"image_size": 0}, "`image_size` must be at least 1, got 0"),
        ({"self_critical": True}, "`self_critical` goes on from a trained captioner"),
        ({"self_critical": True, "consensus_weights": True}, "`consensus_weights` needs all captions at once"),
    ],
)
def test_bad_arguments(
    folder: Path, train_captioner: Callable, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_captioner(backbone=folder / "backbone", output_dir=tmp_path / "run", **options)


@pytest.mark.parametrize(
    "options", [{"hidden_size": 64}, {"min_count": 2}, {"image_size": 32}, {"backbone_layers": [1]}]
)
def test_a_trained_captioner_is_as_it_is(captioner: Path, train_captioner: Callable, tmp_path: Path, options) -> None:
    with pytest.raises(ValueError, match=f"Leave out `{next(iter(options))}`: with `model_name_or_path`"):
        train_captioner(model_name_or_path=captioner, output_dir=tmp_path / "run", **options)


@pytest.mark.slow
def test_self_critical_in_two_processes(folder: Path, captioner: Path, tmp_path: Path) -> None:
    options = {**SELF_CRITICAL, "model_name_or_path": captioner, "num_train_epochs": 1, "mixed_precision": "bf16"}
    result = run_in_two_processes(folder, **options, output_dir=tmp_path / "run")
    assert result.returncode == 0, result.stderr
    # 40 images, 4 a batch and process.
    rewards = [-loss for loss in logged(tmp_path / "run", "loss")]
    assert len(rewards) == 5 and all(0 < reward <= 10 for reward in rewards)
    before, after = weights_of(captioner), weights_of(tmp_path / "run")
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(folder: Path, train_captioner: Callable, tmp_path: Path) -> None:
    options = {"backbone": folder / "backbone", "num_train_epochs": 2}
    train_captioner(**options, output_dir=tmp_path / "one", gradient_accumulation_steps=2)
    result = run_in_two_processes(folder, **options, output_dir=tmp_path / "two")
    assert result.returncode == 0, result.stderr
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(
            weight, two[name], rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
    scores = [json.loads((tmp_path / name / "results.json").read_text())["validation"] for name in ("one", "two")]
    assert scores[0] == pytest.approx(scores[1], abs=1)


def test_a_data_set_as_others_have_it(
    scenes: DatasetDict, folder: Path, train_captioner: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A training split alone, a row for each caption, columns of other names, and captions that are missing."""
    rows = [
        {"photo": row["image"], "text": None if number == 3 else row["captions"][number % 2]}
        for row in scenes["train"].select(range(12))
        for number in range(4)
    ]
    DatasetDict(train=Dataset.from_list(rows).cast_column("photo", Image())).save_to_disk(tmp_path / "others")
    options = {"dataset_name": tmp_path / "others", "backbone": folder / "backbone", "num_train_epochs": 1}
    with pytest.raises(ValueError, match="`drop_uncaptioned`"):
        train_captioner(**options, output_dir=tmp_path / "run")
    options |= {"drop_uncaptioned": True, "validation_fraction": 0.25}
    train_captioner(**options, output_dir=tmp_path / "run")
    for said in (
        "no column 'image': took the column 'photo'",
        "no column 'captions': took the column 'text'",
        "holding out 12 of the 48 rows",
        "Left out 9 of 36 rows",
    ):
        assert said in caplog.text
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    options = {"dataset_name": tmp_path / "others", "drop_uncaptioned": True}
    held_out = evaluate_model("captions", tmp_path / "run", **options, split="validation", validation_fraction=0.25)
    assert held_out == pytest.approx(results["validation"])
    assert evaluate_model("captions", tmp_path / "run", **options, split="train") != held_out


@pytest.mark.parametrize("script", ["train_captioner", "train_vqa"])
def test_what_the_backbone_does_not_have_is_named_before_data_are_read(script: str, tmp_path: Path) -> None:
    ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=32, patch_size=8).save_pretrained(
        tmp_path
    )
    EfficientNetConfig(image_size=260).save_pretrained(tmp_path / "other")
    for backbone, size, nearest in ((tmp_path, 48, "is 32x32"), (tmp_path / "other", 300, "are 288x288 and 320x320")):
        for option in ("backbone", "backbone_config"):
            options = {option: backbone, "image_size": size, "dataset_name": "no/such", "output_dir": tmp_path / "run"}
            with pytest.raises(ValueError, match=f"`image_size` must .* got {size}x{size} .* {nearest}"):
                run_script(script, **options)
    options = {"backbone": tmp_path, "backbone_layers": [1, 2], "dataset_name": "no/such"}
    with pytest.raises(ValueError, match="`backbone_layers` must be among the 2 hidden states .* got 2"):
        run_script(script, **options, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
