"""Every benchmark runs; those that compare equal computations check that themselves, and fail if they are not."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hf_attention import AttentionSeq2SeqConfig, AttentionSeq2SeqForConditionalGeneration
from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations
from hf_attention.training.data.tokenization import train_tokenizer


BENCHMARK = Path(__file__).parent.parent / "scripts" / "benchmark.py"
TINY = ["--embedding=8", "--hidden=12", "--memory=10", "--vocabulary=50"]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sentences")
    make_translations(train=40, validation=4, test=6).save_to_disk(folder)
    return f"--dataset_name={folder}"


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("translator")
    tokenizer = train_tokenizer(
        (row["en"] for row in make_translations(train=40, validation=1, test=1)["train"]["translation"]), min_count=1
    )
    sizes = {"embedding_size": 4, "hidden_size": 8, "encoder_hidden_size": 3, "attention_size": 4}
    model = AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **sizes))
    model.generation_config.max_length = 8
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"--model={folder}"


def run(path: Path, *arguments: str, unit: str = "milliseconds") -> dict[str, float]:
    """What a benchmark measured; each ratio is that of its numbers."""
    command = [sys.executable, BENCHMARK, *arguments, "--repeats=1", "--threads=1", f"--json={path}"]
    subprocess.run(command, check=True)
    numbers = json.loads(path.read_text())
    for name, ratio in numbers["ratios"].items():
        numerator, denominator = name.split(" / ")
        assert ratio == pytest.approx(numbers[unit][numerator] / numbers[unit][denominator])
    return numbers[unit]


def test_decoder(tmp_path: Path) -> None:
    assert len(run(tmp_path / "numbers.json", "decoder", "--batch=3", "--target=4", "--positions=5", *TINY)) == 5


def test_generate(tmp_path: Path) -> None:
    arguments = ["--batches", "1", "2", "--beams=3", "--tokens=4", "--positions=5"]
    assert len(run(tmp_path / "numbers.json", "generate", *arguments, *TINY)) == 8


def test_pipelines(tmp_path: Path) -> None:
    sizes = ["--batches", "1", "2", "--tokens=3", "--size=32", "--layers=1"]
    assert len(run(tmp_path / "numbers.json", "pipelines", *sizes)) == 12


def test_train_seq2seq(sentences: str, tmp_path: Path) -> None:
    sizes = ["--vocab_size=270", "--hidden_size=12", "--encoder_hidden_size=6"]
    languages = ["--source_lang=en", f"--target_lang={TOY_LANGUAGE}"]
    assert len(run(tmp_path / "numbers.json", "train-seq2seq", sentences, *languages, *sizes)) == 5


def test_translate(sentences: str, translator: str, tmp_path: Path) -> None:
    languages = ["--source_lang=en", f"--target_lang={TOY_LANGUAGE}"]
    assert len(run(tmp_path / "numbers.json", "translate", sentences, translator, *languages, "--batch=3")) == 2


PEERS = ["peers", "--quick", "--train_batches=2", "--batch_size=4", "--batches", "2", "1", "--images=2", "--tokens=4"]


def test_peers(sentences: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """Without the packages of others, which are said to be left out; every caption and translation has 4 tokens."""
    languages = ["--source_lang=en", f"--target_lang={TOY_LANGUAGE}"]
    numbers = run(tmp_path / "numbers.json", *PEERS, sentences, *languages, unit="a second")
    assert len(numbers) == 2 + 2 * 2 * 4 + 3 * 4  # trained; written, at two sizes; captions
    assert "JoeyNMT is left out" in capfd.readouterr().out


@pytest.mark.parametrize(("option", "package", "trained"), [("joeynmt", "joeynmt", 4), ("opennmt", "onmt", 6)])
def test_peers_of_others(option: str, package: str, trained: int, tmp_path: Path) -> None:
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    folder = f"--{option}={Path(found.origin).parents[1]}"
    numbers = run(tmp_path / "numbers.json", *PEERS, folder, "--only", "training", "writing", unit="a second")
    assert sum(name.startswith("training") for name in numbers) == trained
    assert len(numbers) == trained + 2 * 4 * (3 if option == "joeynmt" else 2)


def test_peers_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    from benchmarks.peer_translators import import_peer

    with pytest.raises(SystemExit, match=f"--peer must name a folder that holds the package `nmt`, got {tmp_path}"):
        import_peer("--peer", tmp_path, "nmt.model")
    (tmp_path / "nmt").mkdir()
    (tmp_path / "nmt" / "model.py").write_text("import nothing_of_this_name")
    with pytest.raises(SystemExit, match=f"pip install --no-deps --target {tmp_path} nothing_of_this_name"):
        import_peer("--peer", tmp_path, "nmt.model")
    (tmp_path / "json").mkdir()
    with pytest.raises(SystemExit, match="json/__init__.py is imported in place of"):
        import_peer("--peer", tmp_path, "json")


LM = ["--hidden=8", "--vocabulary=50"]


def test_train_lm(tmp_path: Path) -> None:
    assert len(run(tmp_path / "numbers.json", "train-lm", "--columns=3", "--segment=4", *LM)) == 3


def test_generate_lm(tmp_path: Path) -> None:
    """The cache has the same bytes after 3 and after 9 tokens, or it fails."""
    lengths = ["--batches", "1", "2", "--tokens=4", "--prompt=2", "--lengths", "3", "9"]
    assert len(run(tmp_path / "numbers.json", "generate-lm", *lengths, *LM)) == 4


@pytest.mark.slow
def test_vqa(tmp_path: Path) -> None:
    assert len(run(tmp_path / "numbers.json", "vqa", "--questions=2", "--answers=5")) == 4


def test_loop(tmp_path: Path) -> None:
    """Both loops find the same losses, or it fails."""
    assert len(run(tmp_path / "numbers.json", "loop", "--batch=3", "--target=4", "--positions=5", *TINY)) == 2


def test_memory(tmp_path: Path) -> None:
    sizes = ["--batch=8", "--target=30", "--positions=5", "--vocabulary=20000", *TINY[:3]]
    found = run(tmp_path / "numbers.json", "memory", *sizes, unit="MiB")
    logits = 8 * 30 * 20000 * 4 / 2**20
    step, all_logits = found.values()
    # The probabilities, and the logits that are kept beside their gradient.
    assert all_logits > 2 * logits
    assert step < 0.7 * all_logits


@pytest.mark.slow
def test_compiled(tmp_path: Path) -> None:
    sizes = ["--quick", "--batches", "2", "--tokens=4", "--beams=3", "--batch_size=4", "--train_batches=2"]
    numbers = run(tmp_path / "numbers.json", "compiled", *sizes, "--backend=aot_eager", unit="a second")
    assert len(numbers) == 2 * 2 + 2


GPU = BENCHMARK.with_name("benchmark_gpu.sh")


@pytest.mark.slow
def test_what_a_gpu_is_asked_for_is_rehearsed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [GPU, "--device", "cpu", "--quick", "--json", tmp_path / "gpu.json"]
    subprocess.run(command, check=True, env=environment)
    numbers = json.loads((tmp_path / "gpu.json").read_text())
    assert numbers.keys() == {"device", "torch", "training", "writing", "captions", "compiled"}
    for part in ("training", "writing", "captions", "compiled"):
        assert all(value > 0 for value in numbers[part]["a second"].values())


def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    told = subprocess.run([GPU, "--json", tmp_path / "gpu.json"], env=environment, capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1 and "no GPU here" in told.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_cores(tmp_path: Path) -> None:
    arguments = ["cores", "--models", "answerer", "--batch=2", "--share"]
    numbers = run(tmp_path / "numbers.json", *arguments, unit="sequences/s")
    assert {name.removeprefix("answerer: ") for name in numbers} == {"one thread", "two threads", "two processes"}


def test_growth(tmp_path: Path) -> None:
    picture = tmp_path / "growth.png"
    chosen = ["--axes", "target", "regions", "--models", "captioner", "--modes", "training", f"--picture={picture}"]
    found = run(tmp_path / "numbers.json", "growth", "--quick", *chosen, unit="exponent")
    assert {"target tokens, captioner, training: time", "regions, captioner, training: time"} <= found.keys()
    assert Image.open(picture).width > 400
