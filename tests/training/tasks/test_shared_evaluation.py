"""What several processes score together is what one scores."""

import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from common.tiny_run import tiny_model
from datasets import Dataset

from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionVQAConfig,
    AttentionVQAForQuestionAnswering,
)
from hf_attention.models.special_tokens import special_token_ids
from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations
from hf_attention.training.data.images import RegionSource
from hf_attention.training.data.texts import text_pairs
from hf_attention.training.data.tokenization import train_tokenizer
from hf_attention.training.tasks.answering.evaluation import AnsweringEvaluator
from hf_attention.training.tasks.answering.questions import Questions
from hf_attention.training.tasks.captioning.evaluation import CaptionEvaluator
from hf_attention.training.tasks.translating.evaluation import ChatEvaluator, TranslationEvaluator


def wild(model: torch.nn.Module) -> torch.nn.Module:
    """Weights so large that each input gets another text."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=2.5, generator=generator)
    return model.eval()


def evaluate(accelerator: Accelerator) -> dict[str, Any]:
    """Of seven inputs and, where there are more processes than inputs, of one."""
    rows = make_translations(train=7, validation=1, test=1)["train"]
    pairs = text_pairs(rows, source_lang="en", target_lang=TOY_LANGUAGE)
    tokenizer = train_tokenizer([*pairs["source"], *pairs["target"]], "word_punct")
    sizes = {"embedding_size": 8, "hidden_size": 12, "encoder_hidden_size": 6, "attention_size": 8}
    ids = special_token_ids(tokenizer)
    translator = wild(
        AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **ids, **sizes))
    )
    captioner = wild(tiny_model())
    regions = np.random.default_rng(0).normal(size=(7, 3, 6)).astype(np.float16)
    words = train_tokenizer([" ".join(f"w{number}" for number in range(26))], "space")
    labels = {f"w{number}": number for number in range(9)}
    answerer = wild(
        AttentionVQAForQuestionAnswering(
            AttentionVQAConfig(
                region_size=6,
                vocab_size=len(words),
                id2label={number: word for word, number in labels.items()},
                label2id=labels,
                **{**sizes, "memory_size": 7},
            )
        )
    )
    found: dict[str, Any] = {}
    for number in (7, 1):
        shown = pairs.select(range(number))
        translations = TranslationEvaluator(shown, tokenizer, accelerator, batch_size=2)
        chat = ChatEvaluator(shown, tokenizer, accelerator, batch_size=2, training_answers=pairs["target"])
        captions = CaptionEvaluator(RegionSource(regions[:number]), [["w1 w2 w3"]] * number, words, accelerator, 2)
        # Two questions about each image, which two people answered.
        questions = Questions(
            images=Dataset.from_dict({"number": range(number)}),
            image=[row // 2 for row in range(2 * number)],
            texts=[f"w{row} w{row + 1}" for row in range(2 * number)],
            answers=[[f"w{row % 9}", "w1"] for row in range(2 * number)],
        )
        answers = AnsweringEvaluator(RegionSource(regions[:number]), questions, words, accelerator, 3)
        found[str(number)] = {
            "translations": translations.texts(translator, max_length=9),
            "translation": translations(translator, max_length=9),
            "chat": chat(translator, max_length=9),
            "captions": captions.captions(captioner, max_length=9),
            "captioning": captions(captioner, max_length=9),
            "answers": answers.answers(answerer),
            "answering": answers(answerer),
        }
    return found


def evaluate_shared(process: int, port: int, folder: Path) -> None:
    """In one of two processes, as a launcher starts them."""
    os.environ |= {"RANK": str(process), "LOCAL_RANK": str(process), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    accelerator = Accelerator()
    assert (accelerator.num_processes, accelerator.process_index) == (2, process)
    (folder / f"{process}.json").write_text(json.dumps(evaluate(accelerator)))


def test_two_processes_score_what_one_does(tmp_path: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    alone = evaluate(Accelerator())
    AcceleratorState._reset_state(reset_partial_state=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Copies of this one, as new ones would import the same libraries, for seconds.
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=evaluate_shared, args=(each, port, tmp_path), daemon=True) for each in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    for process in (0, 1):
        shared = json.loads((tmp_path / f"{process}.json").read_text())
        for number, scores in alone.items():
            assert shared[number].keys() == scores.keys()
            for name, value in scores.items():
                assert shared[number][name] == (value if isinstance(value, list) else pytest.approx(value, rel=1e-5))
    for name, least in (("translations", 4), ("captions", 4), ("answers", 2)):
        assert len(set(alone["7"][name])) >= least
