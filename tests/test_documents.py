"""What the documents say to type: every command is parsed, every block of Python runs."""

import argparse
import ast
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from common import tiny_captioner, tiny_vqa
from common.onnx import needs_onnx
from common.scripts import SCRIPTS
from PIL import Image
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    MobileNetV2Config,
    MobileNetV2Model,
)

from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    RecurrentLMConfig,
    RecurrentLMForCausalLM,
)
from hf_attention.arguments import OptionParser
from hf_attention.models.special_tokens import special_token_ids
from hf_attention.seeing.document_pictures import blocks_of_python
from hf_attention.training.data.tokenization import for_running_text, train_tokenizer
from hf_attention_command_line.main import main as run_command


ROOT = SCRIPTS.parent
PAGES = [
    *ROOT.glob("README*.md"),
    ROOT / "CONTRIBUTING.md",
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("model_cards/*.md"),
    *ROOT.glob("hf_attention/checkpoints/*/*.md"),
]
# The other asks for transformers 4.57 before all else.
EXPLAINED = sorted(path for path in SCRIPTS.glob("*.py") if path.stem != "record_pipeline_answers")
# By tests of their own, which train, or compare a translated page with the one that is run.
RUN_ELSEWHERE = ("trainer", "your_own_photos", "lecture", "lecture.ko", "README.ko")
LEFT_OUT = ("…", "...")


def text_of(path: Path) -> str:
    """A page, or the docstring of a script; lines that go on are joined."""
    text = path.read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(text)) or "" if path.suffix == ".py" else text
    return text.replace("\\\n", " ")


def commands(pattern: str, *paths: Path) -> list[Any]:
    """What a pattern finds in pages or scripts, as parameters of a test."""
    return [
        pytest.param(found, id=f"{path.stem}-{number}")
        for path in paths
        for number, found in enumerate(re.findall(pattern, text_of(path)))
    ]


class Parsed(BaseException):
    """Ends a script when it has parsed its arguments."""


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from every_parser(each)


def parse_only(
    line: str,
    arguments: list[str],
    run: Callable[[list[str]], object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Runs what reads these words until they are read. Of a line with something left out, nothing is required."""
    is_whole = not set(LEFT_OUT) & set(arguments)

    def parse_and_end(parse):
        def parse_and_end(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
            if not is_whole:
                for action in (action for each in every_parser(parser) for action in each._actions):
                    action.required = False
            parse(parser, *args, **kwargs)
            raise Parsed

        return parse_and_end

    for parser_class, name in (
        (argparse.ArgumentParser, "parse_args"),
        (OptionParser, "read"),
    ):
        monkeypatch.setattr(parser_class, name, parse_and_end(getattr(parser_class, name)))
    try:
        run([each for each in arguments if each not in LEFT_OUT])
    except Parsed:
        return
    except SystemExit:
        pytest.fail(f"{line}\n{capsys.readouterr().err}")
    pytest.fail(f"{line}: nothing was parsed")


SCRIPT_LINES = r"(?:python|accelerate launch|torchrun)(?: -\S+(?: \d+)?)* scripts/(\w+\.py[^`\n]*)"


@pytest.mark.parametrize("line", commands(SCRIPT_LINES, *PAGES, *EXPLAINED))
def test_commands_of_scripts_are_parsed(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    script, *arguments = shlex.split(line.split("  #")[0])

    def run(arguments: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")

    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.chdir(tmp_path)
    parse_only(line, arguments, run, monkeypatch, capsys)


COMMAND_LINES = r"(?m)(?:^|\| )(?:hf-attention|accelerate launch(?: -\S+(?: \d+)?)* -m hf_attention) ([^`\n|<>]+)"


@pytest.mark.parametrize("line", commands(COMMAND_LINES, *PAGES))
def test_lines_of_the_command_are_parsed(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def end(arguments: argparse.Namespace | None = None) -> None:
        raise Parsed

    monkeypatch.setattr("hf_attention_command_line.asking.ask", end)
    monkeypatch.setattr("hf_attention_command_line.environment.environment", end)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.chdir(tmp_path)
    parse_only(line, shlex.split(line.split("  #")[0]), run_command, monkeypatch, capsys)


def test_scripts_explain_themselves_without_extras() -> None:
    """In one process, as each of them imports the same libraries, for seconds."""
    code = f"""
import runpy, sys

sys.modules.update(dict.fromkeys(["gradio", "matplotlib", "pycocoevalcap", "sacrebleu"]))
sys.path.insert(0, {str(SCRIPTS)!r})
for script in {list(map(str, EXPLAINED))}:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, script
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    explained = re.findall(r"^usage: (\w+)\.py", result.stdout, re.MULTILINE)
    assert explained == [script.stem for script in EXPLAINED]


@pytest.mark.parametrize("target", commands(r"\bmake ([a-z][a-z-]*)\b(?=[`\s])(?! [a-z]+ (?:of|a)\b)", *PAGES))
def test_targets_of_make_are_there(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_tests_that_are_named_are_there() -> None:
    """In one process, as whatever collects tests imports the same libraries."""
    text = "".join(map(text_of, PAGES))
    lines = sorted(set(re.findall(r'make test(?:-\w+)? ARGS="([^"]*)"', text)))
    options = {word for line in lines for word in shlex.split(line) if line.startswith("--") and word.startswith("--")}
    selections = [shlex.split(line) for line in lines if not line.startswith("--")]
    assert options and selections
    script = ROOT / "tests" / "versions" / "run.py"
    told = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option in told for option in options)
    code = f"""
import pytest

for words in {selections}:
    print("SELECTED", words, pytest.main(["--collect-only", "-q", "-m", "not slow", *words]) == 0)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert re.findall("^SELECTED (.*)", result.stdout, re.MULTILINE) == [f"{words} True" for words in selections]


@pytest.mark.parametrize("extras", commands(r'pip install (?:-e )?"(?:\.|hf_attention)\[([\w,]+)\]"', *PAGES))
def test_extras_are_there(extras: str) -> None:
    assert set(extras.split(",")) <= set(metadata("hf_attention").get_all("Provides-Extra"))


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


# The blocks of Python


SENTENCES = ["a small red ring above a blue box", "two dogs play in the snow", "how are you ?", "the cat"]


def save_translator(folder: Path) -> None:
    tokenizer = train_tokenizer(SENTENCES, min_count=1)
    sizes = {"embedding_size": 6, "hidden_size": 8, "encoder_hidden_size": 4, "attention_size": 4}
    AttentionSeq2SeqForConditionalGeneration(
        AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **special_token_ids(tokenizer), **sizes)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_writer(folder: Path) -> None:
    tokenizer = for_running_text(train_tokenizer(SENTENCES, min_count=1))
    config = RecurrentLMConfig(vocab_size=len(tokenizer), embedding_size=6, hidden_size=6)
    RecurrentLMForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders by what the pages call them: a task, an Auto class, a name on the Hub."""
    root = tmp_path_factory.mktemp("models")
    for name, parts in (
        ("captioner", (tiny_captioner.make_model(), tiny_captioner.make_processor())),
        ("answerer", (tiny_vqa.make_model(), tiny_vqa.make_processor())),
    ):
        for part in parts:
            part.save_pretrained(root / name)
    save_translator(root / "translator")
    save_writer(root / "writer")
    MobileNetV2Model(MobileNetV2Config(image_size=32, depth_multiplier=0.1, min_depth=2)).save_pretrained(
        root / "backbone"
    )
    folders = {
        "captioner": ("image-to-text", "AutoModelForImageTextToText", "AutoProcessor"),
        "answerer": ("visual-question-answering",),
        "translator": ("translation_en_to_de", "translation", "text2text-generation"),
        "writer": ("text-generation",),
        "backbone": ("google/mobilenet_v2_1.0_224",),
    }
    return {name: str(root / folder) for folder, names in folders.items() for name in names}


def with_folders(block: str, models: dict[str, str]) -> str:
    """The block, with folders for the names that stand for a model of the reader's."""

    def folder_of(match: re.Match) -> str:
        return f"{match[0].removesuffix(match[2])}{models[match[1]]!r}"

    block = re.sub(r'pipeline\("([\w-]+)", model=("path-or-hub-id")', folder_of, block)
    block = re.sub(r'(\w+)\.from_pretrained\(("path-or-hub-id")', folder_of, block)
    block = block.replace('"google/mobilenet_v2_1.0_224"', repr(models["google/mobilenet_v2_1.0_224"]))
    assert "path-or-hub-id" not in block
    return block


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.stem not in RUN_ELSEWHERE],
    ids=lambda page: f"{page.parent.name}-{page.stem}",
)
def test_blocks_of_python_run(
    page: Path, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.stem == "export":
        needs_onnx()
    image = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    for name in ("photo.jpg", "a.jpg", "b.jpg", "room.jpg"):
        image.save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    captioner = tiny_captioner.make_model()
    # What a page takes for granted: the reader's own picture, models and tokenizer.
    names = {
        "image": image,
        "another": captioner,
        "third": captioner,
        "inputs": dict(tiny_captioner.make_processor()(image, return_tensors="pt")),
        "tokenizer": train_tokenizer(SENTENCES, min_count=1),
    }
    if page.stem == "export":
        names["model"] = AutoModelForSeq2SeqLM.from_pretrained(models["translation"])
        names["tokenizer"] = AutoTokenizer.from_pretrained(models["translation"])
    if page.stem == "pipelines":
        pytest.importorskip("gradio", reason="a page of gradio needs the extra `demo`")
    torch.manual_seed(0)
    for block in blocks_of_python(page):
        exec(compile(with_folders(block, models), page.name, "exec"), names)


def test_the_first_block_of_the_readme_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    block = blocks_of_python(ROOT / "README.md")[0]
    assert "checkpoint(" in block
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)\s+# (.*)", block)
