"""What `forward` takes: names that transformers' own machinery does not mistake."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from common.every_model import Example, forward_inputs, over_every_model
from common.factories import ModelFactory, make_tokens, over_models
from torch import nn
from torch.testing import assert_close
from transformers.utils.generic import find_labels

from hf_attention.models.arguments import TENSORS
from hf_attention.models.declaration import DECLARATIONS
from hf_attention.models.outputs import EncoderOutput


HEADS = {head for each in DECLARATIONS.values() for head in each.model_classes() if "For" in head.__name__}


@pytest.mark.parametrize("head", sorted(HEADS, key=lambda head: head.__name__), ids=lambda head: head.__name__)
def test_trainer_finds_the_labels_and_nothing_else(head: type) -> None:
    assert find_labels(head) == ["labels"]


@over_models
def test_every_token_counts_what_its_weight_says(factory: ModelFactory) -> None:
    model, inputs = factory.make_model(), factory.make_inputs(2)
    tokens = make_tokens(2, 5)
    name = "labels" if factory.has_encoder else "input_ids"
    inputs = {**inputs, name: tokens, "labels": tokens}
    weights = torch.tensor([[0.0, 2.0, 0.0, -1.0, 0.5], [1.0, 0.0, 3.0, 0.0, 0.0]])
    for training in (False, True):
        model.train(training)
        found = model(**inputs, token_weights=weights, num_items_in_batch=1).loss
        # The sum over labels that are left alone, one after the other.
        expected = 0.0
        for row, column in weights.nonzero().tolist():
            one = torch.full_like(tokens, -100)
            one[row, column] = tokens[row, column]
            given = {"decoder_input_ids": model.prepare_decoder_input_ids_from_labels(tokens)}
            alone = {**inputs, "labels": one, **(given if factory.has_encoder else {})}
            expected = expected + weights[row, column] * model(**alone, num_items_in_batch=1).loss
        assert_close(found, expected)


@over_every_model()
@torch.no_grad()
def test_a_misspelt_name_is_an_error_that_names_it(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    given = forward_inputs(model, inputs)
    mask = torch.ones(3, 5)
    parts = [(model, given)]
    if isinstance(getattr(model, "model", None), nn.Module):  # an ensemble has no base model
        without_tokens = {k: v for k, v in given.items() if k != "decoder_input_ids"}
        has_decoder = hasattr(model.model, "decoder")
        parts.append((model.model, given if has_decoder else without_tokens))
    if model.config.is_encoder_decoder:
        parts.append((model.get_encoder(), inputs))
    for part, arguments in parts:
        for wrong in ("atention_mask", "label", "cu_seq_lens_q", "decoder_attn_mask"):
            with pytest.raises(TypeError, match=wrong):
                part(**arguments, **{wrong: mask})
        # What transformers and PEFT hand to any model, and what asks for nothing.
        known = {"tokenizer": "", "position_ids": mask.long(), "cache_position": torch.arange(5), "return_dict": True}
        part(**arguments, **known, token_type_ids=mask.long(), output_hidden_states=False, task_ids=None)


@over_models
def test_packed_texts_are_refused(factory: ModelFactory) -> None:
    model, inputs = factory.make_model(), factory.make_inputs(2)
    given = {**inputs, "labels": make_tokens(2, 5)} if factory.has_encoder else {"input_ids": make_tokens(2, 5)}
    expected = model(**given).logits
    # Counted on from padding on the left, too.
    for row in ([0, 1, 2, 3, 4], [7, 8, 9, 10, 11], [1, 1, 0, 1, 2], [0, 0, 0, 1, 2]):
        assert_close(model(**given, position_ids=torch.tensor([row] * 2)).logits, expected)
    with pytest.raises(ValueError, match="begin anew within a row"):
        model(**given, position_ids=torch.tensor([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]]))


NOT_TENSORS = ("a dog", 3, [1, 2], [[1, 2]], {"a": 1}, (None,), np.ones((3, 5)), object())


@over_every_model()
@torch.no_grad()
def test_generate_names_an_input_that_is_no_tensor_or_of_another_shape(make_example: Callable[[], Example]) -> None:
    model, inputs = make_example()
    if not model.can_generate():
        return
    for name, (shape, dtypes) in TENSORS.items():
        wrong = [*NOT_TENSORS, torch.ones(()), torch.ones(3), torch.ones(3, 2, 2, 2, 2)]
        if dtypes is not None:
            size = [2] * (shape.count(",") + 1)
            wrong += [torch.ones(size, dtype=torch.bool), torch.ones(size, dtype=torch.complex64)]
        for value in wrong:
            with pytest.raises((TypeError, ValueError), match=f"`{name}` must"):
                model.generate(**{**inputs, name: value}, max_new_tokens=2)
    rest = {name: value for name, value in inputs.items() if name != model.main_input_name}
    for value in (*NOT_TENSORS, torch.ones(3)):
        with pytest.raises((TypeError, ValueError), match="`inputs` must"):
            model.generate(value, **rest, max_new_tokens=2)
    if model.config.is_encoder_decoder:
        for value in (*NOT_TENSORS, torch.ones(3, 5, 4), EncoderOutput(), EncoderOutput(torch.ones(3, 5))):
            with pytest.raises((TypeError, ValueError), match="`encoder_outputs`"):
                model.generate(encoder_outputs=value, max_new_tokens=2)
