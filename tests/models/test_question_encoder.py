"""How a question is read."""

import pytest
import torch
from common.factories import make_questions
from common.reference import gru_step, lstm_step
from common.tiny_vqa import make_model
from torch.testing import assert_close


@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_the_question_is_read_word_by_word(rnn_type: str, bidirectional: bool) -> None:
    """Its vector is the last state: forwards that of the last real word, backwards that of the first."""
    model = make_model(
        backbone=None, region_size=9, encoder_rnn_type=rnn_type, encoder_bidirectional=bidirectional, joint_size=6
    ).double()
    encoder = model.get_encoder().question_encoder
    weights = dict(encoder.named_parameters())
    ids, mask = (make_questions(4)[name] for name in ("input_ids", "attention_mask"))
    _, vectors, _ = encoder(ids, mask)
    for row, vector in enumerate(vectors):
        words = encoder.embed_tokens.weight[ids[row][mask[row].bool()]]
        expected = []
        for suffix in ("", "_reverse") if bidirectional else ("",):
            state = (words.new_zeros(8),) * 2
            for word in words.flip(0) if suffix else words:
                if rnn_type == "lstm":
                    state = lstm_step(weights, f"l0{suffix}", word, *state)
                else:
                    state = (gru_step(weights, f"l0{suffix}", word, state[0]),)
            expected.append(state[0])
        assert_close(vector, torch.cat(expected))
