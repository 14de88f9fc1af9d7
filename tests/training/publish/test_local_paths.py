"""What is published names no file or folder of this machine."""

import json
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from common.tiny_captioner import make_config

from hf_attention.training.publish.local_paths import command_line, is_local, without_local_paths
from hf_attention.training.publish.model_card import write_model_card
from hf_attention.training.publish.results import write_results
from hf_attention.training.tasks.answering.arguments import Arguments as AnsweringArguments
from hf_attention.training.tasks.captioning.arguments import Arguments as CaptioningArguments
from hf_attention.training.tasks.language_modeling.arguments import Arguments as LanguageModelArguments
from hf_attention.training.tasks.translating.arguments import Arguments as TranslatingArguments


def options_of(arguments: type) -> list[tuple[type, str, bool]]:
    """The group and the name of every option that takes any text, and whether it takes several."""
    options = []
    for group in get_type_hints(arguments).values():
        for name, kind in get_type_hints(group).items():
            kinds = {kind, *get_args(kind)}
            if kinds & {str, list[str]}:
                options.append((group, name, list[str] in kinds))
    return options


TASKS = {
    "captioning": (CaptioningArguments, "image-to-text"),
    "answering": (AnsweringArguments, "visual-question-answering"),
    "translating": (TranslatingArguments, "translation"),
    "language_modeling": (LanguageModelArguments, "text-generation"),
}
WAYS = {
    "there": lambda folder: str(folder / "there"),
    "not there": lambda folder: str(folder / "not there"),
    "relative": lambda folder: "../" + str((folder / "there").relative_to(folder.parent)),
    "address": lambda folder: f"file://{folder}/there",
    "within": lambda folder: f"one={folder}/there,two",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", TASKS)
def test_no_option_publishes_where_it_points(
    task: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, pipeline_task = TASKS[task]
    secret = tmp_path / "secret"
    (secret / "there").mkdir(parents=True)
    monkeypatch.delenv("HF_ATTENTION_DATA", raising=False)
    monkeypatch.chdir(secret)
    make_config().save_pretrained(secret / "run")
    value = WAYS[way](secret)
    options = options_of(arguments)
    assert {"output_dir", "resume_from_checkpoint"} < {name for _, name, _ in options}
    words = [word for _, name, _ in options for word in (f"--{name}", value, f"--{name}={value}")]
    monkeypatch.setattr("sys.argv", [str(secret / "train.py"), *words])
    results = {"validation": {"cider": 1.0, "bleu": 1.0}, "note": value, "generation": {"of": [value]}}
    write_results(secret / "run", results)
    assert json.loads((secret / "run" / "results.json").read_text())["command"].startswith("train.py --")
    for without in ("train_files", "dataset_name"):  # one stands for the other
        groups = {group: object.__new__(group) for group, _, _ in options}  # unchecked
        for group, given in groups.items():
            for entry in fields(group):
                setattr(given, entry.name, entry.default if isinstance(entry.default, int | float) else None)
        for group, name, is_list in options:
            if name != without:
                setattr(groups[group], name, [value, value] if is_list else value)
        write_model_card(secret / "run", pipeline_task, list(groups.values()), name="someone/model")
        for name in ("README.md", "results.json"):
            text = (secret / "run" / name).read_text()
            assert "secret" not in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    "text",
    [
        "someone/model",
        "https://huggingface.co/someone/model",
        "s3://bucket/data/x",
        "cider+bleu_4",
        "1/2",
        r"\s*/\s*",
        r"in the (left|right) image\d+",
        "tokens / second",
        "BLEU|nrefs:1|case:mixed",
        "",
    ],
)
def test_what_is_no_path_stays(text: str) -> None:
    assert without_local_paths({"key": [text, 3, None]}) == {"key": [text, 3, None]}
    assert not is_local(text)


def test_a_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ATTENTION_DATA", "/mnt/corpora/")
    words = [
        "--data=/mnt/corpora/data/a",
        "--more",
        "/mnt/corpora/my data",
        "--note",
        "a b",
        "--output_dir",
        "/x/my run",
    ]
    assert command_line(["/x/train.py", *words]) == (
        "train.py --data=$HF_ATTENTION_DATA/data/a --more \"$HF_ATTENTION_DATA/my data\" --note 'a b' "
        "--output_dir 'my run'"
    )
    assert command_line(["hf-attention train captioner", "--seed", "1"]) == "hf-attention train captioner --seed 1"
