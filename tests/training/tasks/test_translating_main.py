import json
import math
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from common.scores import check_card_picture, evaluate_model
from common.scripts import log, logged, run_script
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    pipeline,
)

from hf_attention import AttentionSeq2SeqTokenizer, attention_maps, checkpoint
from hf_attention.metrics.translation.translation import translation_metrics
from hf_attention.scenes.toy_language import FUNCTION_WORDS, TOY_LANGUAGE, make_translations
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.loop.run import Run
from hf_attention.training.tasks.scoring_arguments import ChatArguments
from hf_attention.training.tasks.translating.arguments import TextPairArguments
from hf_attention.training.tasks.translating.main import additional_pairs


SMALL = {
    "embedding_size": 16,
    "hidden_size": 32,
    "encoder_hidden_size": 16,
    "attention_size": 16,
    "warmup_steps": 3,
    "logging_steps": 1,
    "learning_rate": 1e-2,
    "batch_size": 16,
    "label_smoothing": 0,
    "vocab_size": 300,
    "validation_num_beams": 1,
    "max_target_length": 30,
}


@pytest.fixture(scope="module")
def sentences() -> DatasetDict:
    return make_translations(train=160, validation=8, test=8)


@pytest.fixture(scope="module")
def folder(sentences: DatasetDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sentences, as a data set and as files."""
    folder = tmp_path_factory.mktemp("inputs")
    sentences.save_to_disk(folder / "sentences")
    for split in ("train", "validation"):
        for code in ("en", TOY_LANGUAGE):
            lines = [row[code] for row in sentences[split]["translation"]]
            (folder / f"{split}.{code}").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def train_seq2seq() -> Callable:
    """Runs the script with the options given."""
    return partial(run_script, "train_seq2seq", **SMALL)


def from_dataset(folder: Path) -> dict:
    return {"dataset_name": folder / "sentences", "source_lang": "en", "target_lang": TOY_LANGUAGE}


def test_joint_vocabulary(
    sentences: DatasetDict, folder: Path, train_seq2seq: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output_dir = tmp_path / "run"
    options = {**from_dataset(folder), "output_dir": output_dir, "bpe_dropout": 0.1, "mixed_precision": "bf16"}
    train_seq2seq(**options, num_train_epochs=3, tune_generation=True, do_test=True)
    found = logged(output_dir, "loss")
    assert np.mean(found[-3:]) < 0.8 * np.mean(found[:3])

    # The folder is a model like any other, and gives the translations that were scored.
    check_card_picture(output_dir)
    results = json.loads((output_dir / "results.json").read_text())
    translator = pipeline(f"translation_en_to_{TOY_LANGUAGE}", model=str(output_dir))
    assert translator.model.generation_config.num_beams == 5
    assert translator.model.generation_config.length_penalty == results["generation"]["length_penalty"]
    pipeline(f"translation_fr_to_{TOY_LANGUAGE}", model=str(output_dir))
    assert re.search(r"parameters for translation_en_to_\S+, and none for 'translation_fr_to_", caplog.text)
    encoder, decoder = translator.model.model.encoder, translator.model.model.decoder
    assert encoder.embed_tokens.weight is decoder.embed_tokens.weight
    # Dropout of merges is for training alone.
    assert AutoTokenizer.from_pretrained(output_dir).backend_tokenizer.model.dropout is None
    rows = sentences["test"]["translation"]
    texts = [answer["translation_text"] for answer in translator([row["en"] for row in rows])]
    scores = translation_metrics(texts, [row[TOY_LANGUAGE] for row in rows])
    assert scores == pytest.approx(results["test"], abs=0.5)  # scored in bfloat16
    assert evaluate_model("translation", output_dir, **from_dataset(folder)) == pytest.approx(scores)
    with pytest.raises(ValueError, match="not empty"):
        train_seq2seq(**options)


def test_files_and_separate_vocabularies(
    sentences: DatasetDict, folder: Path, train_seq2seq: Callable, tmp_path: Path
) -> None:
    files = {
        f"{split}_files": [folder / f"{split}.en", folder / f"{split}.{TOY_LANGUAGE}"]
        for split in ("train", "validation")
    }
    options = {"tokenizer_type": "word_punct", "min_count": 1, "separate_vocabularies": True, "rnn_type": "gru"}
    train_seq2seq(**files, **options, output_dir=tmp_path, num_train_epochs=2)
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path), AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert isinstance(tokenizer, AttentionSeq2SeqTokenizer)
    assert model.config.source_vocab_size == len(tokenizer) != len(tokenizer.target_tokenizer)
    assert model.config.vocab_size == len(tokenizer.target_tokenizer)
    # A model of two epochs may have nothing to say, but it reads and answers with its own vocabularies.
    (answer,) = pipeline("translation", model=str(tmp_path))("a red circle", min_new_tokens=4)
    words = {word for row in sentences["train"]["translation"] for word in row[TOY_LANGUAGE].split()}
    assert answer["translation_text"] and set(answer["translation_text"].split()) <= words


def test_files_of_training_alone(
    folder: Path, train_seq2seq: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [folder / "train.en", folder / f"train.{TOY_LANGUAGE}"]
    train_seq2seq(train_files=files, target_lang="ja", output_dir=tmp_path, num_train_epochs=1)
    assert "holding out 16 of the 160 rows" in caplog.text
    results = json.loads((tmp_path / "results.json").read_text())["validation"]
    scores = evaluate_model("translation", tmp_path, files=files, split="validation", target_lang="ja")
    assert scores == pytest.approx(results)
    # One language is none of a translator's, by which the pipeline is named.
    assert not getattr(AutoConfig.from_pretrained(tmp_path), "task_specific_params", None)
    assert ModelCard.load(tmp_path / "README.md").data.pipeline_tag == "text2text-generation"


@pytest.mark.parametrize("as_json", [False, True])
def test_additional_pairs(
    sentences: DatasetDict, folder: Path, train_seq2seq: Callable, tmp_path: Path, as_json: bool
) -> None:
    """Training on a data set and files is training on all of it, whichever way the files have it."""
    options = {"num_train_epochs": 1}
    more = sentences["test"].select_columns("translation")
    train = concatenate_datasets([sentences["train"].select_columns("translation"), more])
    DatasetDict({"train": train, "validation": sentences["validation"]}).save_to_disk(tmp_path / "together")
    names = {**from_dataset(folder), "dataset_name": tmp_path / "together"}
    train_seq2seq(**names, **options, output_dir=tmp_path / "one")

    if as_json:
        files = [tmp_path / "more.jsonl"]
        more.to_json(files[0])
    else:
        files = [tmp_path / f"more.{code}" for code in ("en", TOY_LANGUAGE)]
        for file in files:
            file.write_text("".join(f"{row[file.suffix[1:]]}\n" for row in more["translation"]))
    train_seq2seq(**from_dataset(folder), **options, additional_train_files=files, output_dir=tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def test_additional_files_bring_their_names_or_have_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside a column `translation`, and beside columns of the user's naming."""
    file = tmp_path / "more.tsv"

    def pairs(header: str, row: str, **options) -> list[tuple[str, str]]:
        file.write_text(f"{header}\n{row}\nno pair" + header.count("\t") * "\t" + "\n")
        files = {"additional_train_files": [str(file)], "dataset_name": "x", "drop_unpaired": True}
        found = additional_pairs(TextPairArguments(**files, **options))
        return [*zip(found["source"], found["target"], strict=True)]

    languages, columns = {"source_lang": "en", "target_lang": "de"}, {"source_column": "q", "target_column": "a"}
    assert pairs("source\ttarget", "a dog\tein Hund", **languages) == [("a dog", "ein Hund")]
    assert pairs("source\ttarget", "a dog\tein Hund", **columns) == [("a dog", "ein Hund")]
    assert pairs("source\ttarget\tq\ta", "web\tx\ta dog\tein Hund", **columns) == [("a dog", "ein Hund")]
    assert "Left out 1 of 2 rows of the split 'additional_train_files'" in caplog.text
    # Two plain files have no names, whatever those of the others.
    for name, text in (("a", "a dog"), ("b", "ein Hund")):
        (tmp_path / name).write_text(text)
    files, names = [str(tmp_path / name) for name in "ab"], {"source_column": "target", "target_column": "source"}
    found = additional_pairs(TextPairArguments(dataset_name="x", additional_train_files=files, **names))
    assert found.to_list() == [{"source": "a dog", "target": "ein Hund"}]
    assert pairs("en\tde", "a dog\tein Hund", **languages) == [("a dog", "ein Hund")]
    with pytest.raises(ValueError, match="`additional_train_files`: .*columns are .'en', 'fr'."):
        pairs("en\tfr", "a dog\tun chien", **languages)


def test_additional_pairs_are_never_held_out(
    folder: Path, train_seq2seq: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What validates is data, not what a model made."""
    train_only, more = [folder / "train.en", folder / f"train.{TOY_LANGUAGE}"], tmp_path / "more.tsv"
    more.write_text("source\ttarget\n" + "made up\tinvented\n" * 300)
    options = {"train_files": train_only, "additional_train_files": [more], "max_train_samples": 20}
    train_seq2seq(**options, output_dir=tmp_path / "run", num_train_epochs=1)
    assert "holding out 16 of the 160 rows" in caplog.text
    (line,) = [line for line in log(tmp_path / "run") if "bleu" in line]
    assert line["step"] == math.ceil((20 + 300) / SMALL["batch_size"])


def test_chat(
    sentences: DatasetDict, folder: Path, train_seq2seq: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scored without references, fed words of its own, and told of what is cut."""
    options = {"task": "chat", "scheduled_sampling": 0.5, "max_source_length": 12, "num_train_epochs": 2}
    train_seq2seq(**from_dataset(folder), **options, output_dir=tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["validation"]) == {"perplexity", "distinct_2", "copied"}

    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path), AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    pieces = [len(tokenizer(row["en"])["input_ids"]) for row in sentences["train"]["translation"]]
    too_long = sum(length > 12 for length in pieces)
    assert 0 < too_long
    assert f"{too_long} of 160 sentences are longer than `max_source_length`, 12 tokens" in caplog.text

    # One sentence at a time, as many tokens as each has.
    losses, num_tokens = 0.0, 0
    for row in sentences["validation"]["translation"]:
        source = tokenizer(row["en"], truncation=True, max_length=12, return_tensors="pt")
        target = tokenizer(row[TOY_LANGUAGE], truncation=True, max_length=30, return_tensors="pt")["input_ids"]
        starts = torch.cat([torch.full((1, 1), tokenizer.bos_token_id), target[:, :-1]], 1)
        logits = model(**source, decoder_input_ids=starts).logits.detach().double()
        losses -= logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).sum().item()
        num_tokens += target.shape[1]
    assert results["validation"]["perplexity"] == pytest.approx(np.exp(losses / num_tokens), rel=1e-4)

    # The same by `evaluate`, of the data set and of files.
    scores = pytest.approx(results["validation"], rel=1e-4)
    data = {"max_target_length": 30, "split": "validation"}
    assert evaluate_model("chat", tmp_path, **from_dataset(folder), **data) == scores
    files = {}
    for split in ("train", "validation"):
        files[split] = tmp_path / f"{split}.tsv"
        rows = [f"{row['en']}\t{row[TOY_LANGUAGE]}\n" for row in sentences[split]["translation"]]
        files[split].write_text("".join(["source\ttarget\n", *rows]))
    data = {"max_target_length": 30, "source_column": "source", "target_column": "target"}
    options = {"files": [files["validation"]], "train_files": [files["train"]]}
    assert evaluate_model("chat", tmp_path, **options, **data) == scores
    for wrong, message in (
        ({**options, "train_split": "test"}, "`train_split` and `split` must differ, both are 'test'"),
        ({"files": [files["validation"]]}, "give `train_files`"),
        ({**options, "split": "validation"}, "leave out `train_files`"),
        ({**from_dataset(folder), "train_files": [files["train"]]}, "leave out `train_files`"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_model("chat", tmp_path, **wrong)


@pytest.mark.parametrize("eval_batch_size", [3, 100])
def test_a_chat_model_of_transformers_is_scored_too(tmp_path: Path, eval_batch_size: int) -> None:
    """Its loss would be the mean of a batch, whatever is said of the items."""
    questions, replies = ["how are you", "who", "where is it now", "why not"], ["fine thanks", "me", "here", "no idea"]
    tokenizer = train_tokenizer([*questions, *replies])
    config = T5Config(
        vocab_size=len(tokenizer), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config).eval()
    for each in (model, tokenizer):
        each.save_pretrained(tmp_path)
    total, num_tokens = 0.0, 0
    for question, reply in zip(questions, replies, strict=True):
        labels = tokenizer(text_target=reply, return_tensors="pt")["input_ids"]
        logits = model(**tokenizer(question, return_tensors="pt"), labels=labels).logits.double()
        total -= logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).sum().item()
        num_tokens += labels.shape[1]
    files = [tmp_path / "questions", tmp_path / "replies"]
    for file, lines in zip(files, (questions, replies), strict=True):
        file.write_text("\n".join(lines))
    held_out = {"validation_fraction": 0.5, "eval_batch_size": eval_batch_size}
    scores = evaluate_model("chat", tmp_path, files=files, train_files=files, **held_out)
    assert scores["perplexity"] == pytest.approx(np.exp(total / num_tokens), rel=1e-4)


def test_a_chat_copies_from_what_it_was_trained_on(tmp_path: Path) -> None:
    """Not from what training held out."""
    pairs = [{"source": f"question {number}", "target": f"reply {number}"} for number in range(10)]
    splits = DatasetDict(train=Dataset.from_list(pairs), test=Dataset.from_list(pairs[:2]))
    splits.save_to_disk(tmp_path / "pairs")
    columns = {"source_column": "source", "target_column": "target"}
    arguments = ChatArguments(model="any", dataset_name=str(tmp_path / "pairs"), validation_fraction=0.3, **columns)
    scored, answers = arguments.load_pairs_and_answers()
    assert scored["target"][:] == ["reply 0", "reply 1"]
    assert len(answers) == 7 and {*answers} < {pair["target"] for pair in pairs}


def test_a_resumed_run_keeps_its_tokenizer(folder: Path, train_seq2seq: Callable, tmp_path: Path) -> None:
    """Unigram training may cut words in another way each time; and here the texts are others, too."""
    options = {**from_dataset(folder), "output_dir": tmp_path, "tokenizer_type": "unigram", "min_count": 1}
    train_seq2seq(**options, num_train_epochs=1)
    before = (tmp_path / "tokenizer.json").read_text()
    # Above all the same model: what was the best stays as good as it was.
    first = json.loads((tmp_path / "results.json").read_text())["validation"]
    train_seq2seq(**options, num_train_epochs=1, lowercase=True, resume_from_checkpoint="latest")
    assert json.loads((tmp_path / "tokenizer.json").read_text()) == json.loads(before)
    assert json.loads((tmp_path / "results.json").read_text())["validation"] == first


def test_going_on_from_a_trained_model(folder: Path, train_seq2seq: Callable, tmp_path: Path) -> None:
    train_seq2seq(**from_dataset(folder), output_dir=tmp_path / "first", num_train_epochs=2)
    first = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "first")
    first.half().save_pretrained(tmp_path / "first")  # as many a model on the Hub

    options = {**from_dataset(folder), "model_name_or_path": tmp_path / "first", "batch_size": 16, "warmup_steps": 0}
    run = partial(
        run_script, "train_seq2seq", validation_num_beams=1, max_target_length=30, logging_steps=1, **options
    )
    run(output_dir=tmp_path / "still", num_train_epochs=1, learning_rate=0, hidden_dropout=0.25)
    still = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "still")
    assert still.dtype == torch.float32  # in which it is trained
    assert (still.config.hidden_dropout, still.config.hidden_size) == (0.25, SMALL["hidden_size"])
    for name, weight in first.state_dict().items():
        assert torch.equal(still.state_dict()[name], weight.float()), name
    texts = ["a red circle above a blue box", "two small green stars"]
    tokenizers = [AutoTokenizer.from_pretrained(tmp_path / name) for name in ("first", "still")]
    assert tokenizers[0](texts)["input_ids"] == tokenizers[1](texts)["input_ids"]

    run(output_dir=tmp_path / "second", num_train_epochs=2, learning_rate=1e-2)
    assert logged(tmp_path / "second", "loss")[-1] < logged(tmp_path / "still", "loss")[-1]
    wrong = {"hidden_size": 32, "vocab_size": 300, "separate_vocabularies": True, "target_embeddings": "x"}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"Leave out `{name}`: with `model_name_or_path`"):
            run(output_dir=tmp_path / "wrong", **{name: value})


def test_going_on_takes_the_languages_of_the_model(
    folder: Path, train_seq2seq: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train_seq2seq(**from_dataset(folder), output_dir=tmp_path / "first", max_steps=1)
    data = {"dataset_name": folder / "sentences"}
    run_script(
        "train_seq2seq", **data, model_name_or_path=tmp_path / "first", max_steps=1, output_dir=tmp_path / "run"
    )
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.language == ["en", TOY_LANGUAGE] and f"translation_en_to_{TOY_LANGUAGE}" in card.text
    # What the model had already, the card tells as it is.
    assert "| `hidden_size` | `32` |" in card.text and "tokenizer_type" not in card.text

    files = [folder / "validation.en", folder / f"validation.{TOY_LANGUAGE}"]
    scores = evaluate_model("translation", tmp_path / "run", **data, split="validation")
    assert evaluate_model("translation", tmp_path / "run", files=files) == pytest.approx(scores)
    assert "translates" not in caplog.text
    evaluate_model("translation", tmp_path / "run", **data, source_lang=TOY_LANGUAGE, target_lang="en")
    assert f"The model translates en into {TOY_LANGUAGE}, and is given {TOY_LANGUAGE} and en" in caplog.text
    with pytest.raises(ValueError, match="Name the texts"):
        evaluate_model("translation", tmp_path / "run", **data, source_lang=TOY_LANGUAGE)
    chat = {
        "task": "chat",
        "source_column": "en",
        "target_column": TOY_LANGUAGE,
        "train_files": [tmp_path / "chat.tsv"],
    }
    rows = (f"{en}\t{toy}" for en, toy in zip(*(file.read_text().splitlines() for file in files), strict=True))
    chat["train_files"][0].write_text("\n".join([f"en\t{TOY_LANGUAGE}", *rows]))
    options = {"model_name_or_path": tmp_path / "first", "max_steps": 1, "validation_fraction": 0.5}
    run_script("train_seq2seq", **chat, **options, output_dir=tmp_path / "chat")
    assert ModelCard.load(tmp_path / "chat" / "README.md").data.pipeline_tag == "text2text-generation"
    columns = {name: chat[name] for name in ("source_column", "target_column", "train_files")}
    options |= {"target_lang": "ja", "output_dir": tmp_path / "other"}
    run_script("train_seq2seq", **columns, **options)
    assert f"The model translates en into {TOY_LANGUAGE}, and is given ja" in caplog.text
    assert not getattr(AutoConfig.from_pretrained(tmp_path / "other"), "task_specific_params", None)

    # What training held out beside a test of another name.
    splits = DatasetDict(train=Dataset.from_csv(str(chat["train_files"][0]), sep="\t"))
    splits["final"] = splits["train"].select(range(2))
    splits.save_to_disk(tmp_path / "named")
    named = {"dataset_name": tmp_path / "named", "test_split": "final"}
    run_script(
        "train_seq2seq", **named, model_name_or_path=tmp_path / "first", max_steps=1, output_dir=tmp_path / "nth"
    )
    results = json.loads((tmp_path / "nth" / "results.json").read_text())
    scores = evaluate_model("translation", tmp_path / "nth", **named, split="validation")
    assert scores == pytest.approx(results["validation"])
    with pytest.raises(ValueError, match="Give either `dataset_name` or `files`"):
        evaluate_model("translation", tmp_path / "run", **data, files=files)
    with pytest.raises(ValueError, match="`files` are scored whole, or with `split` 'validation' .* got 'dev'"):
        evaluate_model("translation", tmp_path / "run", files=files, split="dev")


def test_what_the_run_would_remove_cannot_be_read(folder: Path, train_seq2seq: Callable, tmp_path: Path) -> None:
    run, options = tmp_path / "run", {**from_dataset(folder), "max_steps": 1}
    train_seq2seq(**options, output_dir=run)
    again = {**options, "output_dir": run, "overwrite_output_dir": True}
    for option, path in (("model_name_or_path", run / "best"), ("tokenizer_name", run / "tokenizer")):
        with pytest.raises(ValueError, match=f"`{option}` .* lies in what `overwrite_output_dir` removes"):
            run_script("train_seq2seq", **again, **{option: path})
        assert path.is_dir()
    run_script("train_seq2seq", **again, model_name_or_path=run)


def test_a_run_that_went_on_resumes(folder: Path, tmp_path: Path) -> None:
    options = {**from_dataset(folder), "model_name_or_path": "toy-translator", "num_train_epochs": 2, "batch_size": 40}
    options |= {"validation_num_beams": 1, "warmup_steps": 0, "checkpointing_steps": 3, "save_total_limit": 9}
    run_script("train_seq2seq", **options, output_dir=tmp_path / "whole")
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    run_script("train_seq2seq", **options, output_dir=tmp_path / "resumed", resume_from_checkpoint=checkpoint)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    for name, weight in whole.items():
        assert weight.equal(resumed[name]), name


def test_going_on_from_a_shipped_model(folder: Path, tmp_path: Path) -> None:
    options = {**from_dataset(folder), "model_name_or_path": "toy-translator", "learning_rate": 0, "max_steps": 1}
    run_script("train_seq2seq", **options, validation_num_beams=1, output_dir=tmp_path / "run")
    weights = load_file(Path(checkpoint("toy-translator")) / "model.safetensors")
    for name, weight in load_file(tmp_path / "run" / "model.safetensors").items():
        assert torch.equal(weight, weights[name].float()), name
    card = (tmp_path / "run" / "README.md").read_text()
    assert "base_model" not in card and "--model_name_or_path toy-translator" in card
    assert str(Path(checkpoint("toy-translator")).parent) not in (tmp_path / "run" / "config.json").read_text()


def test_dry_run(folder: Path, train_seq2seq: Callable, tmp_path: Path) -> None:
    """All that a run leaves, after two steps; nothing is asked of the Hub, for which there is no token here."""
    train_seq2seq(**from_dataset(folder), output_dir=tmp_path, dry_run=True, push_to_hub=True)
    assert len(logged(tmp_path, "loss")) == 2
    AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert {"README.md", "results.json", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("files", [False, True])
def test_streamed_run_resumes(folder: Path, train_seq2seq: Callable, tmp_path: Path, files: bool) -> None:
    """Within a buffer of the second pass."""
    data = from_dataset(folder)
    if files:
        pairs = {
            name: [folder / f"{name}.{code}" for code in ("en", TOY_LANGUAGE)] for name in ("train", "validation")
        }
        data = {f"{name}_files": paths for name, paths in pairs.items()}
    options = {"streaming": True, "shuffle_buffer": 50, "tokenizer_rows": 100, "steps_per_epoch": 9, "max_steps": 18}
    options |= {**data, "checkpointing_steps": 15, "save_total_limit": 9}
    train_seq2seq(**options, output_dir=tmp_path / "whole")
    checkpoint = tmp_path / "whole" / "checkpoint-15"
    position = json.loads((checkpoint / "batches_0.json").read_text())
    assert position["pass"] == 1 and position["done"] > 0
    train_seq2seq(**options, output_dir=tmp_path / "resumed", resume_from_checkpoint=checkpoint)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())
    assert sum("bleu" in line for line in log(tmp_path / "whole")) == 2
    found = logged(tmp_path / "whole", "loss")
    assert np.mean(found[-3:]) < 0.9 * np.mean(found[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_lang": "de"}, "'de'"),
        ({"source_column": "text"}, "`source_column` and `target_column` belong together"),
        ({"validation_split": "dev"}, "`validation_split`: the data set has no split 'dev'"),
        ({"train_files": ["x"]}, "either `dataset_name` or `train_files`"),
        ({"initial_state": "copied_states"}, "needs an encoder like the decoder"),
        ({"tokenizer_type": "word", "bpe_dropout": 0.1, "min_count": 1}, "must be a BPE tokenizer"),
        ({"scheduled_sampling": 2}, r"`scheduled_sampling` must lie in \[0, 1\], got 2"),
        ({"num_beams": 0}, "`num_beams` must be at least 1, got 0"),
        ({"eval_batch_size": 0}, "`eval_batch_size` must be at least 1, got 0"),
        ({"length_penalty": "nan"}, "`length_penalty` must be a finite number, got nan"),
        ({"metric_for_best_model": "cider"}, "`metric_for_best_model` must be one of bleu, .*ter, got 'cider'"),
        ({"metric_for_best_model": "ter"}, "`greater_is_better` must be False with .*'ter', got True"),
        ({"max_grad_norm": -1}, "`max_grad_norm` must be at least 0"),
        ({"learning_rate": -1}, "`learning_rate` must be at least 0"),
        ({"hidden_dropout": 1}, r"`hidden_dropout` must lie in \[0, 1\), got 1"),
        ({"task": "chat", "tune_generation": True}, "`task='chat'` has none"),
        ({"streaming": True}, "`streaming` needs `max_steps`"),
        ({"streaming": True, "max_steps": 3, "task": "chat"}, "which `streaming` does not keep"),
        ({"streaming": True, "max_steps": 3, "additional_train_files": ["x.tsv"]}, "leave out `streaming`"),
        ({"additional_train_files": [os.devnull, os.devnull]}, "The split 'additional_train_files' is empty"),
        ({"additional_train_files": ["x.txt"]}, "`additional_train_files`: x.txt must end in .*two files"),
        ({"additional_train_files": ["a", "b", "c"]}, "'additional_train_files' needs one file, or two .* got 3"),
    ],
)
def test_bad_arguments(folder: Path, train_seq2seq: Callable, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_seq2seq(**{**from_dataset(folder), "output_dir": tmp_path / "run", "hidden_size": 48, **options})


@pytest.mark.parametrize("options", [{"length_penalty": 0.6}, {"tune_generation": True, "do_test": True}])
def test_a_single_beam(folder: Path, train_seq2seq: Callable, tmp_path: Path, options: dict) -> None:
    train_seq2seq(**from_dataset(folder), output_dir=tmp_path, num_beams=1, num_train_epochs=1, **options)
    assert json.loads((tmp_path / "results.json").read_text())["generation"] == {
        "num_beams": 1,
        "length_penalty": 1.0,
    }
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path).generation_config.num_beams == 1


def test_the_rehearsal_changes_nothing(
    folder: Path, train_seq2seq: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**from_dataset(folder), "max_steps": 4, "hidden_dropout": 0.3}
    train_seq2seq(**options, output_dir=tmp_path / "rehearsed")
    monkeypatch.setattr(Run, "rehearse", lambda *args, **kwargs: None)
    train_seq2seq(**options, output_dir=tmp_path / "unrehearsed")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("rehearsed", "unrehearsed"))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_what_only_a_rehearsal_finds(folder: Path, train_seq2seq: Callable, tmp_path: Path) -> None:
    """There is no TER of characters."""
    options = {"metric_for_best_model": "ter", "greater_is_better": False, "bleu_tokenizer": "char"}
    with pytest.raises(ValueError, match="`metric_for_best_model` must be one of bleu, .*chrf, got 'ter'"):
        train_seq2seq(**from_dataset(folder), output_dir=tmp_path, **options)
    assert not (tmp_path / "log.jsonl").exists()


def test_a_ready_tokenizer_of_one_vocabulary_gives_no_two(folder: Path, tmp_path: Path) -> None:
    train_tokenizer(["a dog runs"]).save_pretrained(tmp_path / "joint")
    options = {"tokenizer_name": tmp_path / "joint", "separate_vocabularies": True}
    with pytest.raises(ValueError, match="joint' has no vocabulary a side"):
        run_script("train_seq2seq", **from_dataset(folder), output_dir=tmp_path / "run", **options)
    with pytest.raises(ValueError, match="Leave out `vocab_size`: with `tokenizer_name`"):
        run_script("train_seq2seq", **from_dataset(folder), output_dir=tmp_path / "run", **options, vocab_size=99)


@pytest.mark.slow
def test_translates_and_aligns_the_toy_language(train_seq2seq: Callable, tmp_path: Path) -> None:
    """The sentences that it has not seen are right, and the attention finds the word that each word translates."""
    make_translations(train=6000, validation=200, test=300).save_to_disk(tmp_path / "sentences")
    options = {"tokenizer_type": "word", "min_count": 1, "vocab_size": 1000, "separate_vocabularies": True}
    options |= {"embedding_size": 64, "hidden_size": 128, "rnn_type": "gru"}
    options |= {"encoder_hidden_size": 32, "attention_size": 32}  # a small encoder keeps words in their places
    options |= {"embedding_dropout": 0.1, "hidden_dropout": 0.1, "readout_dropout": 0, "memory_dropout": 0}
    options |= {
        "learning_rate": 4e-3,
        "warmup_steps": 100,
        "batch_size": 32,
        "ema_decay": 0.98,
        "max_target_length": 100,
    }
    output_dir = tmp_path / "run"
    train_seq2seq(**from_dataset(tmp_path), **options, num_train_epochs=8, output_dir=output_dir)

    tokenizer, model = AutoTokenizer.from_pretrained(output_dir), AutoModelForSeq2SeqLM.from_pretrained(output_dir)
    texts, references, found = [], [], []
    for row in load_from_disk(tmp_path / "sentences")["test"]:
        source, target = row["translation"]["en"], row["translation"][TOY_LANGUAGE].replace(",", "")
        inputs = tokenizer(source, return_tensors="pt")
        outputs = model.generate(**inputs, num_beams=1, output_attentions=True, return_dict_in_generate=True)
        texts.append(tokenizer.decode(outputs.sequences[0], skip_special_tokens=True))
        references.append(target)
        if texts[-1] == target:  # else the known alignment is another sentence's
            words = [word.strip(",") for word in source.split()]
            looked_at = attention_maps(outputs)[0].argmax(-1).tolist()
            pairs = zip(looked_at, row["alignment"], strict=False)  # the closing token has no alignment
            found += [at == word for at, word in pairs if words[word] not in FUNCTION_WORDS]
    assert translation_metrics(texts, references)["bleu"] > 95
    assert np.mean(found) > 0.9
