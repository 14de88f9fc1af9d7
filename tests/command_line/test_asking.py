"""What the commands answer, beside what the pipelines do."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common.text_families import save_family
from transformers import AutoTokenizer, pipeline

import hf_attention
from hf_attention_command_line import inputs
from hf_attention_command_line.main import main


LINES = ["a red circle", "", "left of the blue square", "small star"]
QUESTIONS = ["what colour is the circle ?", "how many ?"]


@pytest.fixture
def run(folders: dict[str, str], capsys: pytest.CaptureFixture, pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command in the folder of pictures; a model goes by what it does."""
    monkeypatch.chdir(pictures)

    def run(command: str, *words: str, model: str, code: int = 0) -> list[str]:
        assert main([command, "--device", "cpu", *words, "--model", folders.get(model, model)]) == code
        output, run.errors = capsys.readouterr()
        return output.removesuffix("\n").split("\n") if output else []

    run.errors = ""
    return run


def pipe(task: str, folder: str) -> Any:
    return pipeline(task, model=folder, device="cpu")


@pytest.mark.parametrize("batch_size", ["1", "2", "8"])
def test_captions(run: Callable, folders: dict[str, str], batch_size: str) -> None:
    names = ["checks.png", "circle.png", "more/night.JPG", "stripes.png", "waves.png"]
    answers = pipe("image-to-text", folders["captioner"])(names, num_beams=2, max_new_tokens=5)
    options = ["--num_beams", "2", "--max_new_tokens", "5", "--batch_size", batch_size]
    expected = [f"{name}\t{answer['generated_text']}" for name, [answer] in zip(names, answers, strict=True)]
    assert run("caption", ".", *options, model="captioner") == expected
    assert len({line.partition("\t")[2] for line in expected}) > 1, "pictures should make a difference"
    lines = run("caption", ".", *options, "--json", model="captioner")
    assert [json.loads(line) for line in lines] == [
        {"image": name, **answer} for name, [answer] in zip(names, answers, strict=True)
    ]


def test_a_shipped_model_goes_by_its_name(run: Callable, type_in: Callable[[bytes], None]) -> None:
    type_in(b"a small red ring left of a lime crescent")
    assert run("translate", model="toy-translator") == ["pushi dovi pemi ganden zeepa haski"]


def test_an_unknown_name_is_answered_by_those_that_are_shipped(run: Callable) -> None:
    assert run("caption", "waves.png", model="my-model", code=2) == []
    expected = "the model 'my-model' is no folder here and does not load (shipped are "
    assert f"{expected}{', '.join(hf_attention.checkpoints)}): " in run.errors


def test_a_name_near_a_shipped_one_is_not_looked_for_on_the_hub(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_attention_command_line.asking.pipeline", None)
    assert run("caption", "waves.png", model="scene-captioner", code=2) == []
    expected = "There is no model 'scene-captioner' here. Did you mean scenes-captioner?"
    assert run.errors == f"hf-attention caption: {expected}\n"


@pytest.mark.parametrize(
    ("command", "words", "model", "message"),
    [
        ("caption", ["waves.png"], "toy-translator", "is a translator: `hf-attention translate` takes it"),
        ("caption", ["waves.png"], "language-model", "goes on with texts: `hf-attention write` takes it"),
        ("translate", ["notes.txt"], "captioner", "describes pictures: `hf-attention caption` takes it"),
        ("write", ["notes.txt"], "answerer", "answers questions about pictures: `hf-attention answer` takes it"),
    ],
)
def test_a_model_for_another_command(
    run: Callable, folders: dict[str, str], command: str, words: list[str], model: str, message: str
) -> None:
    assert run(command, *words, model=model, code=2) == []
    last = run.errors.splitlines()[-1]
    assert last == f"hf-attention {command}: the model {folders.get(model, model)!r} {message}"


def test_maps_of_captions(run: Callable, folders: dict[str, str]) -> None:
    [answer] = pipe("image-to-text", folders["captioner"])("circle.png", output_attentions=True)
    record = json.loads(*run("caption", "circle.png", "--maps", model="captioner"))
    assert record.keys() == {"image", *answer}
    torch.testing.assert_close(torch.tensor(record["attentions"]), answer["attentions"])
    torch.testing.assert_close(torch.tensor(record["regions"]), answer["regions"])
    assert (record["tokens"], tuple(record["grid"])) == (answer["tokens"], answer["grid"])


@pytest.mark.parametrize("as_json", [False, True])
def test_the_rest_goes_on(run: Callable, as_json: bool) -> None:
    words = ["--json"] if as_json else []
    names = ["waves.png", "notes.txt", "a.png", "circle.png"]
    lines = run("caption", *names, "--batch_size", "4", *words, model="captioner", code=1)
    problem = "Cannot read the image 'notes.txt': it is empty, or of no format that Pillow knows."
    assert run.errors.splitlines()[-3:] == [
        f"hf-attention caption: notes.txt: {problem}",
        "hf-attention caption: a.png: there is no such file or folder",
        "hf-attention caption: 2 of 4 failed: notes.txt, a.png",
    ]
    if as_json:
        records = [json.loads(line) for line in lines]
        assert [record["image"] for record in records] == names
        assert records[1]["error"] == problem
        assert {name for name, record in zip(names, records, strict=True) if "generated_text" in record} == {
            "waves.png",
            "circle.png",
        }
    else:
        assert [line.partition("\t")[0] for line in lines] == ["waves.png", "circle.png"]


@pytest.mark.parametrize(
    ("command", "words", "model", "message"),
    [
        ("caption", ["a.png"], "captioner", "a.png: there is no such file or folder"),
        (
            "caption",
            ["waves.png"],
            "no/folder/of/mine",
            "the model 'no/folder/of/mine' is no folder here and does not load: ",
        ),
        ("caption", ["waves.png", "--device", "toaster"], "captioner", "toaster"),
        ("answer", ["waves.png", "--question", "?", "--top_k", "2"], "writer", "answers: leave out --top_k"),
        ("answer", ["waves.png", "--question", "?", "--num_beams", "2"], "answerer", "leave out --num_beams"),
        ("answer", ["-"], "answerer", "standard input cannot name the pictures and ask the questions"),
        ("translate", ["notes.txt", "--task", "translation_en"], "translator", "'translation_en' is no task"),
        ("write", ["notes.txt", "--temperature", "0.5"], "language-model", "give --do_sample"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    run: Callable, command: str, words: list[str], model: str, message: str
) -> None:
    assert run(command, *words, model=model, code=2) == []
    errors = [line for line in run.errors.splitlines() if line.startswith("hf-attention ")]
    assert len(errors) == 1 and message in errors[0], run.errors
    assert "Traceback" not in run.errors and len(errors[0]) < 400


def test_answers(run: Callable, folders: dict[str, str], type_in: Callable) -> None:
    names = ["circle.png", "waves.png"]
    answerer = pipe("visual-question-answering", folders["answerer"])
    asked = [(name, question) for name in names for question in QUESTIONS]
    answers = [answerer(image=name, question=question, top_k=2) for name, question in asked]
    words = [word for question in QUESTIONS for word in ("--question", question)]
    assert run("answer", *names, *words, model="answerer") == [
        f"{name}\t{question}\t{answer['answer']}" for (name, question), (answer, _) in zip(asked, answers, strict=True)
    ]
    lines = run("answer", *names, *words, "--top_k", "2", "--json", "--batch_size", "3", model="answerer")
    expected = [
        {"image": name, "question": question, "answer": answer["answer"], "score": pytest.approx(answer["score"])}
        for (name, question), both in zip(asked, answers, strict=True)
        for answer in both
    ]
    assert [json.loads(line) for line in lines] == expected
    # The questions, or both, out of standard input.
    type_in("\n".join([*QUESTIONS, ""]).encode())
    lines = run("answer", *names, "--json", model="answerer")
    assert [(record["image"], record["question"]) for record in map(json.loads, lines)] == [
        (name, question) for question in QUESTIONS for name in names
    ]
    type_in(f"waves.png\t{QUESTIONS[1]}\nwaves.png\n".encode())
    [line] = run("answer", model="answerer", code=1)
    assert line == f"waves.png\t{QUESTIONS[1]}\t{answers[3][0]['answer']}"
    assert "standard input, line 2: it is no picture, a tab and a question" in run.errors
    assert run("answer", "waves.png", "--question", " ", model="answerer", code=2) == []
    assert "waves.png: the question is empty" in run.errors


def test_maps_of_written_answers(run: Callable, folders: dict[str, str]) -> None:
    writer = pipe("visual-question-answering", folders["writer"])
    [answer] = writer(image="circle.png", question=QUESTIONS[0], output_attentions=True)
    record = json.loads(*run("answer", "circle.png", "--question", QUESTIONS[0], "--maps", model="writer"))
    assert record["answer"] == answer["answer"] and record["words"] == answer["words"]
    for name in ("attentions", "word_attentions"):
        torch.testing.assert_close(torch.tensor(record[name]), answer[name])


@pytest.mark.parametrize("batch_size", ["1", "3"])
def test_translations_line_by_line(
    run: Callable, folders: dict[str, str], tmp_path: Path, type_in: Callable, batch_size: str
) -> None:
    answers = pipe("translation", folders["translator"])([line for line in LINES if line])
    expected = [answer["translation_text"] for answer in answers]
    expected.insert(1, "")  # an empty line stays one
    text = "".join(f"{line}\n" for line in LINES).encode()
    (tmp_path / "text.txt").write_bytes(text)
    assert run("translate", str(tmp_path), "--batch_size", batch_size, model="translator") == expected
    type_in(text)
    lines = run("translate", "--maps", "--batch_size", batch_size, model="translator")
    records = [json.loads(line) for line in lines]
    assert [(record["text"], record.get("translation_text", "")) for record in records] == [
        *zip(LINES, expected, strict=True)
    ]
    for record in records[:1] + records[2:]:
        assert torch.tensor(record["attentions"]).shape == (len(record["tokens"]), len(record["source_tokens"]))
    # A line that cannot be read leaves an empty one, so that the lines still go with those of the text.
    type_in(text.replace(b"left", b"\xff"))
    assert run("translate", model="translator", code=1) == [*expected[:2], "", expected[3]]
    assert "standard input, line 3: it is not valid UTF-8" in run.errors


def test_long_texts_are_cut_where_that_is_asked(run: Callable, tmp_path: Path, type_in: Callable) -> None:
    folder = str(save_family("bart", tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = tokenizer.decode(range(10, 14)).split()
    long, short = (" ".join(words * times).encode() for times in (100, 1))
    type_in(long + b"\n" + short + b"\n")
    refused, answer = run("translate", model=folder, code=1)
    assert refused == "" and answer and "the model has positions for 300" in run.errors
    type_in(long + b"\n" + short + b"\n")
    cut, again = run("translate", "--truncation", model=folder)
    assert cut and again == answer


def test_other_tasks_on_texts(run: Callable, type_in: Callable) -> None:
    type_in(b"a red circle\n")
    record = json.loads(*run("translate", "--task", "text2text-generation", "--json", model="translator"))
    assert record.keys() == {"text", "generated_text"}


def test_writing(run: Callable, folders: dict[str, str], type_in: Callable) -> None:
    writer = pipe("text-generation", folders["language-model"])
    lines = [line for line in LINES if line]
    content = "\n".join(lines).encode()

    def write(*words: str) -> list[str]:
        type_in(content)
        return run("write", "--max_new_tokens", "6", *words, model="language-model")

    expected = [writer(line, max_new_tokens=6, do_sample=False)[0]["generated_text"] for line in lines]
    assert write() == expected
    drawn = [write("--do_sample", "--temperature", "1.5", "--seed", seed) for seed in "112"]
    assert drawn[0] == drawn[1] != drawn[2]


def test_somebody_types(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, typed = [], [*QUESTIONS]

    def type_a_line(prompt: str) -> str:
        prompts.append(prompt)
        if not typed:
            raise EOFError
        return typed.pop(0)

    monkeypatch.setattr("builtins.input", type_a_line)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert inputs.is_terminal()
    lines = run("answer", "circle.png", model="answerer")
    assert prompts == ["question: "] * 3
    assert len(lines) == 3 and not any("\t" in line for line in lines), "what was typed is not said again"
    assert lines[-1] == "", "below the last prompt"
    typed[:] = ["a.png", "circle.png"]
    assert len(run("caption", model="captioner", code=1)) == 2
    assert prompts[-1] == "picture: "
    assert "a.png: there is no such file or folder" in run.errors
    run("answer", model="answerer", code=2)
    assert run.errors.endswith("hf-attention answer: name a picture, or several\n")
