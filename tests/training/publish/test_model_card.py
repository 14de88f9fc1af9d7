import json
import re
from pathlib import Path

import pytest
from common.tiny_captioner import make_config
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import AutoConfig

from hf_attention import AttentionSeq2SeqConfig
from hf_attention.metrics.translation.translation import translation_signatures
from hf_attention.training.loop.arguments import LoopArguments
from hf_attention.training.publish.arguments import HubArguments
from hf_attention.training.publish.model_card import add_eval_results, eval_results, write_model_card
from hf_attention.training.publish.results import write_results
from hf_attention.training.tasks.backbone import BackboneArguments
from hf_attention.training.tasks.captioning.arguments import CaptionDataArguments
from hf_attention.training.tasks.translating.arguments import TextPairArguments


RESULTS = {
    "seed": 3,
    "best_epoch": 7,
    "generation": {"num_beams": 5, "length_penalty": 0.7},
    "validation": {"cider": 50.123456, "bleu_4": 20.5},
    "test": {"cider": 49.0},
    "metric_tokenizer": "words in lower case",
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in a folder, with a card of its own."""
    folder = tmp_path / "somewhere" / "data" / "pictures"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    monkeypatch.setenv("HF_ATTENTION_DATA", str(tmp_path / "somewhere"))
    return folder


def captioner_card(folder: Path, data: Path | str, results: dict | None = RESULTS, **settings) -> ModelCard:
    folder.mkdir()
    make_config().save_pretrained(folder)
    if results is not None:
        write_results(folder, results)
    arguments = [
        LoopArguments(output_dir=str(folder), learning_rate=0.25),
        CaptionDataArguments(dataset_name=str(data), test_split="held_out", dataset_config_name="small"),
        BackboneArguments(backbone="someone/backbone"),
        HubArguments(**settings),
    ]
    return write_model_card(folder, "image-to-text", arguments)


def code_of(card: ModelCard) -> list[str]:
    return re.findall("```python\n(.*?)```", card.text, re.DOTALL)


def test_metadata(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/train.py", "--dataset_name", str(data), "--note", "a b"])
    written = captioner_card(tmp_path / "captioner", data, license="mit", language=["en"])
    card = ModelCard.load(tmp_path / "captioner" / "README.md")
    assert card.data.to_dict() == written.data.to_dict()
    # Through the metadata and back, nothing is lost.
    assert ModelCardData(**card.data.to_dict()).to_dict() == card.data.to_dict()
    metadata = card.data.to_dict()
    assert metadata.pop("model-index")[0]["name"] == card.data.model_name == "captioner"
    assert metadata == {
        "base_model": ["someone/backbone"],
        "language": ["en"],
        "library_name": "transformers",
        "license": "mit",
        "metrics": ["bleu", "cider"],
        "pipeline_tag": "image-to-text",
        "tags": ["hf_attention", "attention_captioner"],
    }
    common = {
        "task_type": "image-to-text",
        "dataset_type": "pictures",
        "dataset_name": "pictures",
        "dataset_config": "small",
        "metric_args": {"signature": "words in lower case"},
    }
    cider = {"metric_type": "cider", "metric_name": "CIDEr"}
    bleu = {"metric_type": "bleu", "metric_name": "BLEU-4", "metric_value": 20.5}
    assert card.data.eval_results == [
        EvalResult(**common, **cider, metric_value=50.1235, dataset_split="validation"),
        EvalResult(**common, **bleu, dataset_split="validation"),
        EvalResult(**common, **cider, metric_value=49.0, dataset_split="held_out"),
    ]


def test_text(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/train.py", "--dataset_name", str(data), "--note", "a b"])
    settings = {"push_to_hub": True, "hub_model_id": "someone/captioner", "hub_private_repo": True}
    card = captioner_card(tmp_path / "run", data, **settings)
    assert "| CIDEr | 50.12 | 49.00 |\n| BLEU-4 | 20.50 |  |\n" in card.text
    assert "Generated with num_beams 5, length_penalty 0.7." in card.text
    assert "Words that are compared: words in lower case" in card.text
    assert "Data: pictures, licence: cc-by-4.0." in card.text
    assert "\ntrain.py --dataset_name $HF_ATTENTION_DATA/data/pictures --note 'a b'\n" in card.text
    for fact in ("| seed | 3 |", "| best epoch | 7 |", "| `learning_rate` | `0.25` |", "| transformers | 5."):
        assert fact in card.text
    with_package, without = code_of(card)
    call = 'pipeline("image-to-text", model="someone/captioner"'
    assert "import hf_attention" in with_package and f"{call})" in with_package
    assert "hf_attention" not in without and f"{call}, trust_remote_code=True)" in without
    for code in (with_package, without):
        compile(code, "card", "exec")
    # Where the machine keeps things is nobody's business, nor how the model was pushed.
    assert str(tmp_path) not in card.content and "hub_private_repo" not in card.content


def test_data_on_the_hub_and_what_is_not_known(tmp_path: Path) -> None:
    card = captioner_card(tmp_path / "run", "someone/pictures", dataset_license="mit")
    assert card.data.datasets == "someone/pictures"
    assert {result.dataset_type for result in card.data.eval_results} == {"someone/pictures"}
    assert "Data: someone/pictures, licence: mit." in card.text
    bare = captioner_card(tmp_path / "bare", "someone/pictures", results=None)
    assert bare.data.eval_results is None and "## Scores" not in bare.text
    assert "None" not in bare.content and ModelCard.load(tmp_path / "bare" / "README.md").content == bare.content


def test_a_translator_names_its_languages(tmp_path: Path) -> None:
    config = AttentionSeq2SeqConfig(vocab_size=9, source_vocab_size=9)
    config.task_specific_params = {"translation_en_to_de": {}}
    config.save_pretrained(tmp_path)
    signatures = translation_signatures()
    write_results(tmp_path, {"validation": {"bleu": 31.0, "chrf": 55.0}, "signatures": signatures})
    data = TextPairArguments(
        train_files=[str(tmp_path / "a.jsonl")],
        validation_files=["b.jsonl"],
        additional_train_files=[str(tmp_path / "more.en"), "more.de"],
        source_lang="en",
        target_lang="de",
    )
    card = write_model_card(tmp_path, "translation", [data, HubArguments()], name="me/translator", picture="map.png")
    assert card.data.language == ["en", "de"] and card.data.pipeline_tag == "translation"
    assert all('pipeline("translation_en_to_de", model="me/translator"' in code for code in code_of(card))
    assert card.data.eval_results[0].metric_args == {"signature": signatures["bleu"]}
    assert card.data.eval_results[0].dataset_name == "a.jsonl" and card.data.datasets is None
    assert "Data: a.jsonl; for training also more.en, more.de." in card.text
    assert f"BLEU: `{signatures['bleu']}`" in card.text and "](map.png)" in card.text
    # The task that the card names is one that the model has, also where the package is missing.
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["custom_pipelines"]["translation"]["names_languages"]
    assert AutoConfig.from_pretrained(tmp_path).task_specific_params == {"translation_en_to_de": {}}


def test_scores_are_added_to_a_card(tmp_path: Path) -> None:
    """One of the same metric on the same split is replaced, all else stays; without a card there is one of scores."""
    card_file = tmp_path / "README.md"
    signatures = {"bleu": "of an earlier version"}
    first = eval_results({"bleu": 30.0, "chrf": 50.0}, "translation", "rooms", None, "validation", signatures)
    card = add_eval_results(card_file, first, "toy")
    assert card.content.count("---") == 2 and card.data.library_name == "transformers"
    assert card.data.model_name == "toy"
    card_file.write_text(card_file.read_text() + "\nBy hand.\n")
    card = add_eval_results(
        card_file, eval_results({"bleu": 31.0}, "translation", "rooms", split="validation"), "other"
    )
    card = add_eval_results(card_file, eval_results({"bleu": 29.0}, "translation", "rooms", split="test"), "other")
    loaded = ModelCard.load(card_file)
    assert loaded.data.model_name == "toy" and loaded.text.endswith("By hand.\n")
    values = {(each.metric_type, each.dataset_split): each.metric_value for each in loaded.data.eval_results}
    assert values == {("bleu", "validation"): 31.0, ("chrf", "validation"): 50.0, ("bleu", "test"): 29.0}


def test_eval_results_of_metrics_that_nobody_knows() -> None:
    (result,) = eval_results({"novelty": 1 / 3}, "image-to-text", "someone/pictures", split="test")
    assert (result.metric_type, result.metric_name, result.metric_value) == ("novelty", "novelty", 0.3333)
    assert result.dataset_split == "test" and result.metric_args is None
