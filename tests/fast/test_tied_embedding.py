import pytest
import torch
from common.factories import SIZES, over_models
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from hf_attention import RecurrentLMConfig
from hf_attention.models import loss
from hf_attention.models.decoder import AttentionDecoder
from hf_attention.models.tied_embedding import embed_tied


INPUT_IDS = torch.tensor([[5, 0, 5], [2, 3, 0]])


def tied(padding_idx: int | None = 0) -> tuple[AttentionDecoder, nn.Linear]:
    config = RecurrentLMConfig(vocab_size=7, embedding_size=4, hidden_size=4)
    decoder, output_embedding = AttentionDecoder(config), nn.Linear(4, 7)
    decoder.embed_tokens = nn.Embedding(7, 4, padding_idx)
    output_embedding.weight = decoder.embed_tokens.weight
    return decoder.double(), output_embedding.double()


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_both_gradients_are_added(padding_idx: int | None):
    """Against autograd's, of a token that comes twice, and of padding, which is predicted but never read."""
    decoder, output_embedding = tied(padding_idx)
    matrix = output_embedding.weight

    def value_of(embeddings, weight):
        return (F.linear(embeddings.tanh(), weight, output_embedding.bias).sin() * torch.arange(7)).sum()

    expected = value_of(decoder.embed_tokens(INPUT_IDS), matrix)
    ids, *embeddings_and_weight = embed_tied(decoder, output_embedding, INPUT_IDS, None)
    assert ids is None
    value = value_of(*embeddings_and_weight)
    assert_close(value, expected)
    gradients = [torch.autograd.grad(of, matrix, retain_graph=True)[0] for of in (expected, value, value)]
    assert_close(gradients[1], gradients[0])
    assert_close(gradients[2], gradients[0])  # a second pass over the same graph


def test_one_of_both_may_have_no_gradient():
    decoder, output_embedding = tied()
    matrix = output_embedding.weight
    _, embeddings, weight = embed_tied(decoder, output_embedding, INPUT_IDS, None)
    [of_weight] = torch.autograd.grad(weight.square().sum(), matrix)
    assert_close(of_weight, 2 * matrix)
    _, embeddings, weight = embed_tied(decoder, output_embedding, INPUT_IDS, None)
    [of_embeddings] = torch.autograd.grad(embeddings.sum(), matrix)
    assert_close(of_embeddings, torch.tensor([0, 0, 1, 1, 0, 2, 0]).double().unsqueeze(1).expand(7, 4))


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


def untie(decoder: AttentionDecoder, output_embedding: nn.Linear) -> None:
    output_embedding.weight = nn.Parameter(output_embedding.weight.detach().clone())


@pytest.mark.parametrize(
    "change",
    [
        untie,
        lambda decoder, output: decoder.register_forward_pre_hook(lambda *call: None),
        lambda decoder, output: decoder.embed_tokens.register_forward_hook(lambda *call: None),
        lambda decoder, output: output.register_full_backward_hook(lambda *call: None),
        lambda decoder, output: setattr(decoder, "embed_tokens", Wrapper(decoder.embed_tokens)),
        lambda decoder, output: setattr(decoder.embed_tokens, "max_norm", 0.0),
        lambda decoder, output: setattr(decoder.embed_tokens, "scale_grad_by_freq", True),
        lambda decoder, output: setattr(decoder.embed_tokens, "sparse", True),
        lambda decoder, output: output.weight.requires_grad_(False),
    ],
    ids=["untied", "decoder", "embedding", "output", "wrapped", "max_norm", "scale_grad_by_freq", "sparse", "frozen"],
)
def test_modules_that_do_more_are_called(change):
    decoder, output_embedding = tied()
    change(decoder, output_embedding)
    assert embed_tied(decoder, output_embedding, INPUT_IDS, None) == (INPUT_IDS, None, None)


def test_nothing_to_add():
    with torch.no_grad():
        assert embed_tied(*tied(), INPUT_IDS, None) == (INPUT_IDS, None, None)
    embeddings = torch.randn(2, 3, 4)
    assert embed_tied(*tied(), None, embeddings) == (None, embeddings, None)
    assert embed_tied(*tied(), INPUT_IDS, embeddings) == (INPUT_IDS, embeddings, None)  # for the decoder to refuse
    assert embed_tied(Wrapper(nn.Identity()), nn.Linear(4, 7), INPUT_IDS, None) == (INPUT_IDS, None, None)


@over_models
def test_a_models_gradients_are_those_of_an_embedding_that_is_called(factory, monkeypatch):
    """With a hook it is called."""
    size = SIZES["embedding_size"]
    model = factory.make_model(tie_word_embeddings=True, readout_size=size, hidden_size=size).train()
    model, inputs = factory.to_double(model, factory.make_inputs(2))
    labels = torch.tensor([[5, 3, 5, -100], [4, 6, 5, 3]])
    if not factory.has_encoder:
        inputs = {"input_ids": labels.clamp(min=0)}
    matrices = []
    apply = loss._LinearCrossEntropy.apply
    monkeypatch.setattr(loss._LinearCrossEntropy, "apply", lambda *args: matrices.append(args[1]) or apply(*args))

    def gradients():
        value = model(**inputs, labels=labels).loss
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        return value, dict(zip(trained, torch.autograd.grad(value, trained.values(), allow_unused=True), strict=True))

    added = gradients()
    model.get_input_embeddings().register_forward_hook(lambda *call: None)
    assert_close(added, gradients())
    assert [matrix is model.lm_head.weight for matrix in matrices] == [False, True]


@over_models
def test_a_wrapped_decoder_is_trained(factory):
    model, inputs = factory.make_model().train(), factory.make_inputs(2)
    labels = torch.tensor([[5, 3, 5, -100], [4, 6, 5, 3]])
    if not factory.has_encoder:
        inputs = {"input_ids": labels.clamp(min=0)}
    expected = model(**inputs, labels=labels).loss
    model.model.decoder = Wrapper(model.model.decoder)
    assert_close(model(**inputs, labels=labels).loss, expected)
