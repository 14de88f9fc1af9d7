"""Pushing and downloading, against the server of `hub_server`: the client is `huggingface_hub` as it is."""

import contextlib
import json
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
import torch
from common.hub_server import Hub
from common.remote_code import run_without_the_package
from common.scripts import SCRIPTS, command_line, run_script
from common.tiny_captioner import make_model, make_processor
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from PIL import Image
from safetensors.torch import load
from transformers import AutoModelForImageTextToText, Seq2SeqTrainer, Seq2SeqTrainingArguments, pipeline

from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations
from hf_attention.training.publish import hub as hub_module
from hf_attention.training.publish.arguments import HubArguments
from hf_attention.training.publish.hub import HubError, HubPublisher, prepare_repository, push_folder


MINE, OTHERS = "hf_tokenofmine", "hf_tokenofanother"
SMALL = {
    "embedding_size": 16,
    "hidden_size": 32,
    "encoder_hidden_size": 16,
    "attention_size": 16,
    "num_train_epochs": 2,
    "warmup_steps": 3,
    "vocab_size": 300,
    "batch_size": 16,
    "max_target_length": 30,
    "validation_num_beams": 1,
    "num_beams": 1,
    "dataset_name": "me/pairs",
    "source_lang": "en",
    "target_lang": TOY_LANGUAGE,
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub({MINE: "me", OTHERS: "other"}) as hub:
        yield hub


def settings(hub: Hub, folder: Path) -> dict[str, str]:
    """The environment of a client with nothing in its cache. It is read as `huggingface_hub` is imported."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": MINE,
        "HF_HOME": str(folder / "home"),
        "HF_MODULES_CACHE": str(folder / "modules"),
    }


@pytest.fixture(scope="module")
def client(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    """Calls a function in a process of its own, whose Hub is the server, and returns its result."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings(hub, tmp_path_factory.mktemp("client")).items():
            patch.setenv(name, value)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(int).result()  # starts the process, in this environment
            yield lambda function, *arguments: pool.submit(function, *arguments).result()


@contextlib.contextmanager
def token(value: str | None) -> Iterator[None]:
    """In the client's process: the token, or none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", value) if value else patch.delenv("HF_TOKEN")
        yield


def save_captioner(folder: Path) -> Path:
    torch.manual_seed(0)
    make_model().save_pretrained(folder)
    make_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_captioner(tmp_path_factory.mktemp("captioner"))


def push_captioner(name: str, weights_of: Path) -> torch.Tensor:
    """By `push_to_hub` of model and processor, a version tagged and a later one."""
    model = AutoModelForImageTextToText.from_pretrained(weights_of)
    model.push_to_hub(name)
    make_processor().push_to_hub(name)
    HfApi().create_tag(f"me/{name}", tag="v1")
    with torch.no_grad():
        model.lm_head.weight.neg_()
    model.push_to_hub(name)
    return AutoModelForImageTextToText.from_pretrained(f"me/{name}", revision="v1").lm_head.weight.detach()


WITHOUT_THE_PACKAGE = """
import json
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

name, image = sys.argv[1:]
model = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
AutoProcessor.from_pretrained(name, trust_remote_code=True)
captions = [
    pipeline("image-to-text", name, trust_remote_code=True, **revision)(image, max_new_tokens=6)
    for revision in ({}, {"revision": "v1"})
]
print(json.dumps([float(model.lm_head.weight.sum()), captions]))
"""


def test_a_stranger_loads_what_was_pushed(hub: Hub, client: Callable, captioner: Path, tmp_path: Path) -> None:
    weight = client(push_captioner, "captioner", captioner)
    model = AutoModelForImageTextToText.from_pretrained(captioner)
    assert torch.equal(weight, model.lm_head.weight)
    pushed = hub.repositories["models", "me/captioner"].find("main").files
    assert pushed["model.safetensors"].lfs and not pushed["config.json"].lfs
    assert {path.name for path in captioner.iterdir()} <= pushed.keys()

    image = tmp_path / "picture.png"
    Image.linear_gradient("L").convert("RGB").save(image)
    expected = pipeline("image-to-text", str(captioner))(str(image), max_new_tokens=6)
    assert client(caption, "me/captioner", image) != expected  # the later version
    environment = settings(hub, tmp_path / "other") | {"HF_TOKEN": ""}
    out = run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path / "other", "me/captioner", image, settings=environment)
    total, (latest, tagged) = json.loads(out.splitlines()[-1])
    assert total == pytest.approx(-float(weight.sum()))
    assert tagged == expected and latest == client(caption, "me/captioner", image)


def caption(name: str, image: Path) -> list[dict]:
    return pipeline("image-to-text", name)(str(image), max_new_tokens=6)


def test_a_private_model_needs_the_right_token(hub: Hub, client: Callable, captioner: Path, tmp_path: Path) -> None:
    assert client(prepare_repository, "secret", True) == "me/secret"
    client(push_folder, captioner, "me/secret")
    assert hub.repositories["models", "me/secret"].private
    for value, error, message in (
        (None, RepositoryNotFoundError, "Repository Not Found"),
        (OTHERS, RepositoryNotFoundError, "Repository Not Found"),
        ("hf_junk", HfHubHTTPError, "Invalid credentials"),
    ):
        with pytest.raises(error, match=message):
            client(download_as, value, "me/secret", tmp_path / str(value))
    folder = client(download_as, MINE, "me/secret", tmp_path / "mine")
    assert (Path(folder) / "model.safetensors").read_bytes() == (captioner / "model.safetensors").read_bytes()


def download_as(value: str | None, name: str, cache: Path, revision: str | None = None) -> str:
    with token(value):
        return snapshot_download(name, cache_dir=cache, revision=revision)


@pytest.mark.parametrize(
    ("value", "name", "message"),
    [
        (MINE, "other/model", r"'other/model' on the Hub cannot be written to with this token \(403\)"),
        (OTHERS, "me/open", "'me/open' on the Hub cannot be written to"),
        (None, "model", "run `hf auth login`, or set HF_TOKEN"),
        ("hf_junk", "model", "run `hf auth login`, or set HF_TOKEN"),
        (MINE, "no name!", "'no name!' is no name of a repository"),
        (MINE, "a/b/c", "'a/b/c' is no name of a repository"),
    ],
)
def test_names_that_cannot_be_written_to(client: Callable, value: str | None, name: str, message: str) -> None:
    client(prepare_repository, "open")
    with pytest.raises(HubError, match=message) as error:
        client(prepare_as, value, name)
    assert "hf_" not in str(error.value)


def prepare_as(value: str | None, name: str) -> str:
    with token(value):
        return prepare_repository(name)


@pytest.mark.parametrize(
    ("constant", "value", "message"),
    [
        ("ENDPOINT", "http://127.0.0.1:9", "the Hub cannot be reached"),
        ("HF_HUB_OFFLINE", True, "while HF_HUB_OFFLINE is set"),
    ],
)
def test_no_network(client: Callable, constant: str, value: object, message: str) -> None:
    with pytest.raises(HubError, match=message):
        client(prepare_with, constant, value)


def prepare_with(constant: str, value: object) -> str:
    """As if the environment had said so before the import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, constant, value)
        return prepare_repository("model")


def test_pull_requests_and_branches(hub: Hub, client: Callable, captioner: Path, tmp_path: Path) -> None:
    client(prepare_repository, "shared")
    (captioner / "checkpoint-3").mkdir()
    (captioner / "checkpoint-3" / "optimizer.safetensors").touch()
    client(run_script, "push_to_hub", captioner, "shared", "--revision", "dev", "--message", "Another")
    assert set(hub.files("me/shared")) == {".gitattributes"}
    expected = {path.name for path in captioner.iterdir() if path.is_file()}
    assert set(hub.files("me/shared", "dev")) == expected | {".gitattributes"}
    assert hub.repositories["models", "me/shared"].find("dev").title == "Another"

    client(open_pull_request, captioner, "me/shared")
    assert set(hub.files("me/shared")) == {".gitattributes"}
    assert hub.files("me/shared", "refs/pr/1") == hub.files("me/shared", "dev")
    folder = client(download_as, MINE, "me/shared", tmp_path, "refs/pr/1")
    assert expected <= {path.name for path in Path(folder).iterdir()}


def open_pull_request(folder: Path, name: str) -> None:
    with token(OTHERS):
        run_script("push_to_hub", folder, name, "--create_pr")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "required: name"),
        (["nowhere", "name"], "nowhere holds no model: there is no config.json"),
        (["MODEL", "name", "--create_pr"], "needs the whole name, user/name"),
        (["MODEL", "other/name"], "cannot be written to with this token"),
    ],
)
def test_what_the_script_refuses(client: Callable, captioner: Path, arguments: list[str], message: str) -> None:
    arguments = [str(captioner) if part == "MODEL" else part for part in arguments]
    assert message in client(refusal, arguments)


def refusal(arguments: list[str]) -> str:
    """What the script says as it gives up."""
    with contextlib.redirect_stderr(open(os.devnull, "w")) as sink, pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr(sink, "write", said.append, raising=False)
        with pytest.raises(SystemExit):
            run_script("push_to_hub", *arguments)
    return "".join(said)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/lfs/", None), ("POST", "/commit/", None), ("POST", "/commit/", 503)],
    ids=["weights cut", "commit cut", "out of order"],
)
def test_an_interrupted_push_is_tried_again(
    hub: Hub, client: Callable, tmp_path: Path, method: str, path: str, status: int | None
) -> None:
    folder = save_captioner(tmp_path / "model")
    (folder / "new.safetensors").write_bytes(os.urandom(1000))  # so that there is always something to send
    client(prepare_repository, "interrupted")
    hub.fail(method, path, 2, status)
    client(push_without_waiting, folder, "me/interrupted")
    assert not any(failure.times for failure in hub.failures)
    files = hub.files("me/interrupted")
    assert {name: files[name] for name in files if name != ".gitattributes"} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def push_without_waiting(folder: Path, name: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_module, "WAITS", (0, 0))
        return push_folder(folder, name)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (409, "something else is being written to it at the same time"),
        (412, "it has changed since this push began"),
        (413, "it is larger than the Hub takes"),
        (422, "the Hub refuses what was sent"),
        (429, "the Hub has had too many requests"),
    ],
)
def test_a_refusal_is_told_as_what_it_is(
    hub: Hub, client: Callable, tmp_path: Path, status: int, message: str
) -> None:
    folder, name = save_captioner(tmp_path / "model"), f"refused-{status}"
    client(prepare_repository, name)
    hub.fail("POST", "/commit/", 3 if status in (409, 412, 429) else 1, status)  # only these may pass
    with pytest.raises(HubError, match=rf"'me/{name}' cannot be pushed: {message}.* \({status}: ") as error:
        client(push_without_waiting, folder, f"me/{name}")
    assert "token" not in str(error.value)
    assert not any(failure.times for failure in hub.failures)
    hub.fail("GET", "/auth-check", 1, status)
    with pytest.raises(HubError, match=message):
        client(prepare_repository, name)
    assert client(push_without_waiting, folder, f"me/{name}")


def test_a_push_that_fails_loses_nothing(hub: Hub, client: Callable, tmp_path: Path) -> None:
    folder = save_captioner(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    client(prepare_repository, "failing")
    hub.fail("POST", "/commit/", 3)
    with pytest.raises(HubError, match="'me/failing' cannot be pushed: the Hub cannot be reached"):
        client(push_without_waiting, folder, "me/failing")
    assert set(hub.files("me/failing")) == {".gitattributes"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    # The weights are there already: they are not sent again.
    hub.requests.clear()
    client(push_without_waiting, folder, "me/failing")
    assert not any(request.startswith("PUT") for request in hub.requests)
    assert set(hub.files("me/failing")) == {".gitattributes", *before}


def test_a_run_is_pushed_as_it_goes_and_at_the_end(hub: Hub, client: Callable, tmp_path: Path) -> None:
    client(publish, "every_save", tmp_path / "run", True)
    titles = commit_titles(hub, "me/run")
    assert titles[0] == "End of training" and set(titles[1:]) == {"Training in progress", "initial commit"}
    weights = load(hub.files("me/run")["model.safetensors"])["lm_head.weight"]
    assert torch.equal(weights, torch.full_like(weights, 2.0))
    assert not (tmp_path / "run" / hub_module._SNAPSHOT).exists()
    # The state that was pushed in between is the one that was saved, though the folder was replaced meanwhile.
    first = hub.repositories["models", "me/run"].find("main")
    while first.title != "Training in progress":
        first = first.parent
    weights = load(first.files["model.safetensors"].content)["lm_head.weight"]
    assert torch.equal(weights, torch.full_like(weights, 1.0))

    client(publish, "end", tmp_path / "other", True)
    assert commit_titles(hub, "me/other") == ["End of training", "initial commit"]
    client(publish, "end", tmp_path / "worker", False)
    assert ("models", "me/worker") not in hub.repositories


def publish(strategy: str, output_dir: Path, is_main_process: bool) -> None:
    """What a training script does, on the main process or another one."""
    arguments = HubArguments(push_to_hub=True, hub_strategy=strategy, hub_private_repo=True)
    publisher = HubPublisher(arguments, output_dir, is_main_process)
    model = make_model()
    save = publisher.pushing(lambda model, folder: model.save_pretrained(folder))
    fill(model, 1.0)
    save(model, output_dir / "best")
    fill(model, 2.0)
    model.save_pretrained(output_dir)
    (output_dir / "best" / "model.safetensors").unlink()
    publisher.finish()


def fill(model: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        model.lm_head.weight.fill_(value)


def commit_titles(hub: Hub, name: str) -> list[str]:
    titles, commit = [], hub.repositories["models", name].find("main")
    while commit is not None:
        titles.append(commit.title)
        commit = commit.parent
    return titles


def test_a_last_push_that_fails_says_how_to_push_later(hub: Hub, client: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "my runs" / "last"
    hub.fail("POST", "/commit/", 1, 403)
    with pytest.raises(HubError, match=r"whole in .*my runs/last. Push it later: (.*)") as error:
        client(publish, "end", folder, True)
    command = shlex.split(str(error.value).rpartition(": ")[2])
    assert command == ["python", "scripts/push_to_hub.py", str(folder), "me/last"]
    client(run_script, "push_to_hub", *command[2:])
    assert hub.files("me/last")["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_the_trainer_pushes(hub: Hub, client: Callable, tmp_path: Path) -> None:
    client(train_with_trainer, tmp_path / "trained")
    files = hub.files("me/trained")
    assert {"model.safetensors", "modeling_attention_captioner.py", "processor_config.json", "README.md"} <= set(files)
    assert "library_name: transformers" in files["README.md"].decode()


def train_with_trainer(output_dir: Path) -> None:
    processor = make_processor()
    rows = [{"image": Image.new("RGB", (32, 32), color), "caption": f"a {color} square"} for color in ("red", "blue")]

    def collate(batch: list[dict]) -> dict:
        texts = [row["caption"] for row in batch]
        return processor(images=[row["image"] for row in batch], text_target=texts, return_tensors="pt")

    arguments = Seq2SeqTrainingArguments(
        output_dir,
        max_steps=2,
        save_steps=1,
        push_to_hub=True,
        hub_always_push=True,
        use_cpu=True,
        remove_unused_columns=False,
        report_to="none",
    )
    trainer = Seq2SeqTrainer(make_model(), arguments, collate, train_dataset=rows, processing_class=processor)
    trainer.train()
    trainer.push_to_hub()


@pytest.fixture(scope="module")
def run(hub: Hub, client: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of the training script, which has its data from the Hub and pushes there, and its output."""
    client(push_sentences, "me/pairs")
    folder = tmp_path_factory.mktemp("runs") / "translator"
    arguments = command_line(**SMALL, output_dir=folder, hub_model_id="me/translator", hub_strategy="every_save")
    result = subprocess.run(
        [sys.executable, SCRIPTS / "train_seq2seq.py", *map(str, arguments), "--push_to_hub", "--do_test"],
        env=os.environ
        | settings(hub, tmp_path_factory.mktemp("client"))
        | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_DEBUG": "1", "TRANSFORMERS_VERBOSITY": "debug"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr
    return folder, result.stdout + result.stderr


def push_sentences(name: str) -> None:
    make_translations(train=160, validation=8, test=8).push_to_hub(name)


@pytest.mark.slow
def test_no_token_is_told(hub: Hub, run: tuple[Path, str]) -> None:
    folder, output = run
    assert MINE not in output
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10 and not any(MINE.encode() in content for content in files)
    assert not any(MINE.encode() in content for content in hub.files("me/translator").values())


@pytest.mark.slow
def test_a_script_trains_from_the_hub_and_pushes_there(hub: Hub, run: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = run
    assert commit_titles(hub, "me/translator")[0] == "End of training"
    files = hub.files("me/translator")
    for path in folder.iterdir():
        if path.is_file():
            assert files.pop(path.name) == path.read_bytes()
    assert set(files) == {".gitattributes"}  # no checkpoint, and nothing of the best model twice

    # The card's own words, where there is nothing else: no package, no token, no cache.
    with_package, without = re.findall("```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert "import hf_attention" in with_package and "hf_attention" not in without
    environment = settings(hub, tmp_path / "out") | {"HF_TOKEN": ""}
    out = run_without_the_package("import sys\n" + without, tmp_path / "out", settings=environment)
    assert "translation_text" in out


def test_a_name_without_rights_is_refused_before_the_training(hub: Hub, client: Callable, tmp_path: Path) -> None:
    arguments = command_line(**SMALL, output_dir=tmp_path / "run", hub_model_id="other/translator")
    hub.requests.clear()
    with pytest.raises(HubError, match="'other/translator' on the Hub cannot be written to"):
        client(run_script, "train_seq2seq", *arguments, "--push_to_hub")
    assert not any("pairs" in request for request in hub.requests)  # it came before the data
    with pytest.raises(ValueError, match="`hub_model_id` needs `push_to_hub`"):
        client(run_script, "train_seq2seq", *arguments)


def test_a_card_that_the_hub_does_not_take_is_found_before_the_training(
    hub: Hub, client: Callable, tmp_path: Path
) -> None:
    client(push_sentences, "me/pairs")
    arguments = command_line(**SMALL, output_dir=tmp_path / "run", license="")
    with pytest.raises(HubError, match='The Hub does not take the model card of this run: .*"license.*must be set'):
        client(run_script, "train_seq2seq", *arguments, "--push_to_hub")
    assert not (tmp_path / "run" / "log.jsonl").exists()
