import pytest
import torch
from common.factories import END, VOCABULARY, make_tokens, memory_mask, over_encoder_decoders, repeat
from torch.testing import assert_close

from hf_attention.models.loss import summed_token_loss


LABELS = torch.tensor([[5, 7, END, -100], [6, END, -100, -100], [9, 8, 7, END], [4, 4, END, -100]])


def hand_computed(logits: torch.Tensor, maps: torch.Tensor, mask: torch.Tensor, smoothing: float, penalty: float):
    """The summed loss, label by label; labels' rows beside rows of logits, maps `(rows, heads, target, positions)`."""
    total = 0
    for row, labels in enumerate(LABELS.tolist()):
        spent = torch.zeros(mask.shape[1])
        for step, label in enumerate(labels):
            if label == -100:
                continue
            log_probabilities = logits[row, step] - logits[row, step].exp().sum().log()
            target = torch.full((VOCABULARY,), smoothing / VOCABULARY)
            target[label] += 1 - smoothing
            total = total - (target * log_probabilities).sum()
            spent = spent + maps[row, :, step].mean(0)
        total = total + penalty * ((1 - spent) ** 2 * mask[row]).sum()
    return total


@over_encoder_decoders
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("penalty", [0.0, 0.5])
@pytest.mark.parametrize(
    "settings", [{}, {"attention_type": "scaled_dot", "num_attention_heads": 2}], ids=["additive", "heads"]
)
def test_training_loss_equals_a_computation_by_hand(factory, smoothing, penalty, settings):
    model = factory.make_model(label_smoothing=smoothing, doubly_stochastic_penalty=penalty, **settings)
    inputs = factory.make_inputs(2)  # two rows an item
    start = torch.full((4, 1), model.config.bos_token_id)
    tokens = torch.cat([start, LABELS[:, :-1].masked_fill(LABELS[:, :-1] == -100, model.config.pad_token_id)], 1)
    full = model(**repeat(inputs, 2), decoder_input_ids=tokens, output_attentions=True)
    mask = memory_mask(model, repeat(inputs, 2)).float()
    expected = hand_computed(full.logits, full.cross_attentions[0], mask, smoothing, penalty)
    num_labels = (LABELS != -100).sum()

    model.train()
    outputs = model(**inputs, labels=LABELS)
    assert outputs.logits is None
    assert_close(outputs.loss, expected / num_labels)
    for num_items in (50, torch.tensor(50)):
        assert_close(model(**inputs, labels=LABELS, num_items_in_batch=num_items).loss, expected / 50)

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(outputs.loss, parameters, allow_unused=True)
    references = torch.autograd.grad(expected / num_labels, parameters, allow_unused=True)
    for gradient, reference in zip(gradients, references, strict=True):
        assert_close(gradient, reference, rtol=1e-4, atol=1e-6)


@over_encoder_decoders
def test_evaluation_loss_is_the_plain_cross_entropy(factory):
    model = factory.make_model(label_smoothing=0.2, doubly_stochastic_penalty=0.5)
    inputs = repeat(factory.make_inputs(2), 2)
    outputs = model(**inputs, labels=LABELS, output_attentions=True)
    expected = hand_computed(
        outputs.logits, outputs.cross_attentions[0], memory_mask(model, inputs).float(), smoothing=0.0, penalty=0.0
    )
    assert_close(outputs.loss, expected / (LABELS != -100).sum())


@over_encoder_decoders
def test_what_follows_the_last_label_does_not_matter(factory):
    model, inputs = factory.make_model(doubly_stochastic_penalty=0.5).train(), factory.make_inputs(2)
    longer = torch.cat([LABELS, torch.full((4, 3), -100)], 1)
    assert_close(model(**inputs, labels=longer).loss, model(**inputs, labels=LABELS).loss)


@over_encoder_decoders
def test_a_batch_without_labels_costs_nothing(factory):
    model, inputs = factory.make_model().train(), factory.make_inputs(2)
    loss = model(**inputs, labels=torch.full((2, 3), -100)).loss
    loss.backward()
    assert loss == 0


@over_encoder_decoders
def test_given_decoder_inputs_are_taken(factory):
    model, inputs = factory.make_model(), factory.make_inputs(4)
    tokens = make_tokens(rows=4, length=4)
    outputs = model(**inputs, decoder_input_ids=tokens, labels=LABELS)
    assert_close(outputs.logits, model(**inputs, decoder_input_ids=tokens).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_token_that_is_never_to_come_has_no_gradient(dtype: torch.dtype):
    head = torch.nn.Linear(8, 10)
    with torch.no_grad():
        head.bias[0] = -torch.inf
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        summed_token_loss(torch.randn(5, 8).to(dtype), head, torch.arange(1, 6)).backward()
    assert head.weight.grad.isfinite().all() and not head.weight.grad[0].any()
    assert head.bias.grad.isfinite().all() and not head.bias.grad[0].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_to_predict(dtype: torch.dtype):
    head, states = torch.nn.Linear(8, 10), torch.randn(2, 3, 8, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        value = summed_token_loss(states, head, torch.full((2, 3), -100))
    value.backward()
    assert value == 0
    assert not any(tensor.grad.any() for tensor in (states, *head.parameters()))


@pytest.mark.parametrize("label", [-1, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_label_that_is_no_token_is_refused(dtype: torch.dtype, label: int):
    head = torch.nn.Linear(8, 10)
    states = torch.randn(2, 8, dtype=dtype)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        with pytest.raises(IndexError, match="out of bounds"):
            summed_token_loss(states, head, torch.tensor([1, label]))


@pytest.mark.parametrize(
    "register",
    [torch.nn.Module.register_full_backward_hook, torch.nn.Module.register_full_backward_pre_hook],
    ids=["backward", "backward_pre"],
)
def test_hooks_of_the_head_are_run(register):
    head, calls = torch.nn.Linear(5, VOCABULARY), []
    register(head, lambda *call: calls.append(call))
    summed_token_loss(torch.randn(4, 4, 5, requires_grad=True), head, LABELS).backward()
    assert calls


@pytest.mark.parametrize("frozen", ["weight", "bias", "states"])
def test_what_is_frozen_has_no_gradient_and_the_rest_its_own(frozen):
    head, states = torch.nn.Linear(5, VOCABULARY), torch.randn(4, 4, 5, requires_grad=True)
    tensors = {"weight": head.weight, "bias": head.bias, "states": states}

    def gradients():
        trained = [tensor for tensor in tensors.values() if tensor.requires_grad]
        return torch.autograd.grad(summed_token_loss(states, head, LABELS), trained)

    expected = dict(zip(tensors, gradients(), strict=True))
    tensors[frozen].requires_grad_(False)
    del expected[frozen]
    assert_close(gradients(), tuple(expected.values()))


def test_weights_of_the_labels_have_a_gradient():
    head, weights = torch.nn.Linear(5, VOCABULARY), torch.rand(4, 4, requires_grad=True)
    states = torch.randn(4, 4, 5)
    [gradient] = torch.autograd.grad(summed_token_loss(states, head, LABELS, token_weights=weights), weights)
    losses = torch.nn.functional.cross_entropy(head(states).transpose(1, 2), LABELS, reduction="none")
    assert_close(gradient, losses)
