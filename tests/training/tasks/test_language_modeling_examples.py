"""Text as one stream, and the state that is carried along it."""

import math
from pathlib import Path

import pytest
import torch
from common.running_text import TEXTS, make_model, make_tokenizer
from torch.testing import assert_close
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_attention import RecurrentLMForCausalLM
from hf_attention.metrics.running_text import stream
from hf_attention.training.tasks.language_modeling.arguments import TextArguments
from hf_attention.training.tasks.language_modeling.examples import SegmentSampler, text_dataloader
from hf_attention.training.tasks.language_modeling.objectives import CarriedState


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(params=[None, "additive", "general"], ids=str)
def model(request, tokenizer: PreTrainedTokenizerFast) -> RecurrentLMForCausalLM:
    return make_model(tokenizer, request.param)


def test_the_tokenizer_of_a_running_text(tokenizer: PreTrainedTokenizerFast, tmp_path: Path):
    end = tokenizer.eos_token_id
    assert len(tokenizer) == 4 + len("abcd")
    assert sorted(tokenizer.get_vocab().values()) == list(range(8))
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        batch = one(["a <unk> zz", "d"], padding=True)
        assert batch["input_ids"][0][0] == end == one.bos_token_id
        assert batch["input_ids"][0][2:] == [1, 1]
        assert batch["attention_mask"][1] == [0, 0, 1, 1]
        assert one.decode(batch["input_ids"][0][1:2]) == " a"
    tokens = stream(TEXTS, tokenizer)
    assert tokens[0] == end and len(tokens) == 1 + sum(len(text.split()) + 1 for text in TEXTS)
    assert tokenizer.decode(tokens).split() == ["</s>", *" </s> ".join([*TEXTS, ""]).split()]


@pytest.mark.parametrize("random", [False, True], ids=["", "random"])
def test_segments_go_through_each_column_in_order(random: bool):
    sampler = SegmentSampler(length=1000, segment_length=35, groups=2, random=random, seed=3)
    lengths = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        segments = [segment for (segment,) in sampler]
        assert len(segments) == len(sampler) == 2 * math.ceil(1000 / 35)
        assert segments == [segment for (segment,) in sampler]
        for group in (0, 1):
            # Every other batch is the other process's.
            own = segments[group::2]
            assert {segment.group for segment in own} == {group}
            assert [segment.start for segment in own] == [0, *(segment.stop for segment in own[:-1])]
            assert own[-1].stop == 1000
        lengths.append([segment.stop - segment.start for segment in own])
    assert (lengths[0] != lengths[1]) == random
    assert len(set(lengths[0][:-1])) > 3 if random else set(lengths[0][:-1]) == {35}


def test_training_batches_go_on_from_each_other(tokenizer: PreTrainedTokenizerFast):
    arguments = TextArguments(dataset_name="", columns=2, segment_length=5)
    tokens = stream(TEXTS, tokenizer)
    for processes in (1, 2):
        batches = list(text_dataloader(TEXTS, tokenizer, arguments, processes))
        rows = [
            torch.cat([batch["shift_labels"][c] for batch in batches[p::processes]])
            for p in range(processes)
            for c in (0, 1)
        ]
        targets = torch.cat(rows)
        assert targets[targets != -100].equal(tokens[1:])
    with pytest.raises(ValueError, match="columns"):
        text_dataloader(["a"], tokenizer, TextArguments(dataset_name="", columns=9), 1)


def test_sentences_from_the_zero_state(tokenizer: PreTrainedTokenizerFast):
    arguments = TextArguments(dataset_name="", columns=4, reset_state=True)
    found = []
    for batch in text_dataloader(TEXTS, tokenizer, arguments):
        for inputs, targets in zip(batch["input_ids"], batch["shift_labels"], strict=True):
            length = int((targets != -100).sum())
            assert inputs[0] == targets[length - 1] == tokenizer.eos_token_id
            assert inputs[1:length].equal(targets[: length - 1])
            found.append(tokenizer.decode(targets[: length - 1]).strip())
    assert sorted(found) == sorted(TEXTS)


def losses_by_hand(model: RecurrentLMForCausalLM, tokens: torch.LongTensor) -> torch.Tensor:
    """In one go, with the logits of all steps."""
    with torch.no_grad():
        log_probabilities = model(tokens[None, :-1]).logits[0].double().log_softmax(-1)
    return -log_probabilities.gather(-1, tokens[1:, None])[:, 0]


def test_the_carried_state(model, tokenizer):
    """The loss of a segment is that of the same positions of one long pass, and its gradient stops where it begins."""
    model = model.double().train()
    batches = list(text_dataloader(TEXTS, tokenizer, TextArguments(dataset_name="", columns=2, segment_length=9)))
    objective = CarriedState(torch.device("cpu"))
    objective.begin_epoch(0)
    losses = [objective(model, batch, 1) for batch in batches]
    whole = {name: torch.cat([batch[name] for batch in batches], 1) for name in batches[0]}
    assert_close(sum(losses), model(**whole, num_items_in_batch=1).loss)
    assert sum(objective.num_items(batch) for batch in batches) == len(stream(TEXTS, tokenizer)) - 1
    for loss in losses:
        loss.backward()  # each graph is whole: none reaches into another that is freed already

    objective.begin_epoch(1)
    first = [objective(model, batch, 1).item() for batch in batches[:3]]
    state = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    again = CarriedState(torch.device("cpu"))
    again.load_state_dict(state)
    for batch in batches[3:]:
        assert again(model, batch, 1).item() == objective(model, batch, 1).item()
    objective.begin_epoch(2)
    assert objective.state_dict() == {}
    assert [objective(model, batch, 1).item() for batch in batches[:3]] == first
