import pytest
import torch
from common.factories import SIZES, over_models
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from hf_attention.tied_embedding import embed_tied


INPUT_IDS = torch.tensor([[5, 0, 5], [2, 3, 0]])


def tied(padding_idx: int | None = 0, dtype: torch.dtype = torch.float64) -> tuple[nn.Embedding, nn.Linear]:
    embedding = nn.Embedding(7, 4, padding_idx, dtype=dtype)
    output_embedding = nn.Linear(4, 7, dtype=dtype)
    output_embedding.weight = embedding.weight
    return embedding, output_embedding


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_both_gradients_are_added(padding_idx: int | None):
    """Against autograd's, of a token that comes twice, and of padding, which is predicted but never read."""
    embedding, output_embedding = tied(padding_idx)

    def loss(embeddings, weight):
        return (F.linear(embeddings.tanh(), weight, output_embedding.bias).sin() * torch.arange(7)).sum()

    expected = loss(embedding(INPUT_IDS), output_embedding.weight)
    value = loss(*embed_tied(INPUT_IDS, embedding, output_embedding))
    assert_close(value, expected)
    gradients = [torch.autograd.grad(of, embedding.weight, retain_graph=True)[0] for of in (expected, value, value)]
    assert_close(gradients[1], gradients[0])
    assert_close(gradients[2], gradients[0])  # a second pass over the same graph


def test_one_of_both_may_have_no_gradient():
    embedding, output_embedding = tied()
    embeddings, weight = embed_tied(INPUT_IDS, embedding, output_embedding)
    [of_weight] = torch.autograd.grad(weight.square().sum(), embedding.weight)
    assert_close(of_weight, 2 * embedding.weight)
    embeddings, weight = embed_tied(INPUT_IDS, embedding, output_embedding)
    [of_embeddings] = torch.autograd.grad(embeddings.sum(), embedding.weight)
    assert_close(of_embeddings, torch.tensor([0, 0, 1, 1, 0, 2, 0]).double().unsqueeze(1).expand(7, 4))


@pytest.mark.parametrize(
    "change",
    [
        lambda embedding, output: setattr(output, "weight", nn.Parameter(embedding.weight.detach().clone())),
        lambda embedding, output: embedding.register_forward_hook(lambda *call: None),
        lambda embedding, output: output.register_full_backward_hook(lambda *call: None),
        lambda embedding, output: setattr(embedding, "max_norm", 1.0),
        lambda embedding, output: setattr(embedding, "scale_grad_by_freq", True),
        lambda embedding, output: setattr(embedding, "sparse", True),
        lambda embedding, output: embedding.weight.requires_grad_(False),
    ],
    ids=["untied", "hook", "backward hook", "max_norm", "scale_grad_by_freq", "sparse", "frozen"],
)
def test_modules_that_do_more_are_called(change):
    embedding, output_embedding = tied()
    change(embedding, output_embedding)
    assert embed_tied(INPUT_IDS, embedding, output_embedding) == (None, None)


def test_nothing_to_train():
    with torch.no_grad():
        assert embed_tied(INPUT_IDS, *tied()) == (None, None)
    assert embed_tied(None, *tied()) == (None, None)


@over_models
def test_a_models_gradients_are_those_of_an_embedding_that_is_called(factory):
    """With a hook it is called."""
    size = SIZES["embedding_size"]
    model = factory.make_model(tie_word_embeddings=True, readout_size=size, hidden_size=size).train()
    model, inputs = factory.to_double(model, factory.make_inputs(2))
    labels = torch.tensor([[5, 3, 5, -100], [4, 6, 5, 3]])
    if not factory.has_encoder:
        inputs = {"input_ids": labels.clamp(min=0)}

    def gradients():
        loss = model(**inputs, labels=labels).loss
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        return loss, dict(zip(trained, torch.autograd.grad(loss, trained.values(), allow_unused=True), strict=True))

    added, calls = gradients(), []
    model.get_input_embeddings().register_forward_hook(lambda *call: calls.append(call))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert_close(added, gradients())
    assert calls
