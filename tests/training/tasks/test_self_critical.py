import copy

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from common.tiny_captioner import END, PAD, START, UNKNOWN, WORDS, make_model, make_tokenizer
from torch.testing import assert_close

from hf_attention import AttentionCaptionerForConditionalGeneration
from hf_attention.metrics.captioning.captioning import caption_metrics
from hf_attention.metrics.words import metric_words
from hf_attention.training.data.images import RegionSource
from hf_attention.training.tasks.captioning.arguments import CaptionDataArguments, SelfCriticalArguments
from hf_attention.training.tasks.captioning.bleu import BleuScorer
from hf_attention.training.tasks.captioning.cider import CiderScorer
from hf_attention.training.tasks.captioning.self_critical import SelfCriticalObjective, image_dataloader, tempered


REGIONS, SIZE = 5, 16
REFERENCES = [
    ["a red circle left of a square", "A small red circle."],
    ["a blue star", "the star is blue", "large blue star right of a square"],
    ["green square", "a green square"],
]


@pytest.fixture
def captioner() -> AttentionCaptionerForConditionalGeneration:
    torch.manual_seed(0)
    model = make_model()
    model.generation_config.max_length = 9
    return model


def make_batch(images: int = 3) -> dict[str, torch.Tensor]:
    features = torch.randn(images, REGIONS, SIZE, generator=torch.Generator().manual_seed(1))
    return {"region_features": features, "image": torch.arange(images)}


def make_objective(mixed_precision: str = "no", **arguments) -> SelfCriticalObjective:
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision=mixed_precision)
    return SelfCriticalObjective(REFERENCES, make_tokenizer(), accelerator, SelfCriticalArguments(**arguments))


def words_of(tokens: list[int]) -> list[str]:
    """A generated caption in plain words, with its end."""
    vocabulary = ["<pad>", "<unk>", "<s>", "</s>", *WORDS]
    tokens = tokens[1:]
    ended = END in tokens
    words = [vocabulary[token] for token in (tokens[: tokens.index(END)] if ended else tokens) if token > END]
    return [*words, "</s>"] if ended else words


# The reward


def test_rewards_are_the_scores_of_the_validation() -> None:
    objective = make_objective(reward_end=False)
    captions = [" ".join(metric_words(texts[-1])) for texts in REFERENCES]
    tokens = make_tokenizer()(captions, padding=True, return_tensors="pt")["input_ids"]
    tokens = torch.cat([torch.full((3, 1), START), tokens], 1)
    rewards = objective.rewards([0, 1, 2], tokens)
    assert rewards.shape == (3, 1)
    assert 10 * rewards.mean().item() == pytest.approx(caption_metrics(captions, REFERENCES)["cider"] / 10, abs=1e-4)


def test_an_end_is_rewarded() -> None:
    """Of two captions of the same words the one that ends is better, if ends count."""
    ending, going_on = [START, *make_tokenizer()("a green square")["input_ids"]], [START]
    going_on += [*ending[1:-1], PAD]
    tokens = torch.tensor([ending, going_on])
    with_end, without_end = make_objective().rewards([2], tokens)[0]
    assert with_end > 1.2 * without_end
    equal = make_objective(reward_end=False).rewards([2], tokens)[0]
    assert equal[0] == equal[1]


def test_a_sum_of_rewards() -> None:
    texts = ["a green square left of a star", "a red circle", "a small red circle", "blue star"]
    tokens = make_tokenizer()(texts, padding=True, return_tensors="pt")["input_ids"]
    tokens = torch.cat([torch.full((4, 1), START), tokens], 1)
    cider, bleu, both, twice = (
        make_objective(reward=reward).rewards([0, 1], tokens)
        for reward in ("cider", "bleu_4", "cider+bleu_4", "bleu_4+bleu_4")
    )
    assert both.shape == (2, 2) and len(both.unique()) == 4
    assert_close(both, cider + bleu)
    assert_close(twice, 2 * bleu)
    assert torch.equal(cider, make_objective().rewards([0, 1], tokens))
    scorer = BleuScorer([[[*metric_words(text), "</s>"] for text in texts] for texts in REFERENCES])
    assert_close(bleu[1], torch.tensor(scorer(1, [[*text.split(), "</s>"] for text in texts[2:]])))


# The gradient


@pytest.mark.parametrize("baseline", ["others", "greedy"])
@pytest.mark.parametrize("temperature", [0.5, 1.3])
def test_the_gradient_is_that_of_the_definition(captioner, baseline, temperature, monkeypatch) -> None:
    objective = make_objective(baseline=baseline, temperature=temperature, samples_per_image=4)
    batch = make_batch()
    generated = []
    generate = captioner.generate
    monkeypatch.setattr(captioner, "generate", lambda **kwargs: generated.append(generate(**kwargs)) or generated[-1])
    assert objective.num_items(batch) == 12
    loss = objective(captioner.train(), batch, num_items=20)
    loss.backward()

    samples = generated[0]
    scorer = CiderScorer([[[*metric_words(text), "</s>"] for text in texts] for texts in REFERENCES])
    rewards = torch.tensor([scorer(row // 4, [words_of(tokens)])[0] for row, tokens in enumerate(samples.tolist())])
    assert len(rewards.unique()) > 3  # else there is nothing to learn
    assert loss.item() == pytest.approx(-rewards.sum().item() / 20, rel=1e-5)
    reference = copy.deepcopy(captioner).eval()
    reference.zero_grad()
    greedy = reference.generate(region_features=batch["region_features"], num_beams=1, do_sample=False)
    expected = 0
    for row, tokens in enumerate(samples.tolist()):
        image = row // 4
        if baseline == "greedy":
            compared = scorer(image, [words_of(greedy[image].tolist())])[0]
        else:
            compared = sum(rewards[other] for other in range(4 * image, 4 * image + 4) if other != row) / 3
        features = batch["region_features"][image : image + 1]
        logits = reference(region_features=features, decoder_input_ids=samples[row : row + 1, :-1]).logits[0]
        logits[:, [PAD, UNKNOWN]] = -torch.inf  # never generated
        log_probabilities = (logits / temperature).log_softmax(-1)
        length = tokens.index(END) if END in tokens else len(tokens) - 1
        chosen = sum(log_probabilities[step, tokens[step + 1]] for step in range(length))
        expected = expected - (rewards[row] - compared) * chosen
    (expected / 20).backward()
    trained = 0
    for (name, found), wanted in zip(captioner.named_parameters(), reference.parameters(), strict=True):
        if wanted.grad is not None:
            assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-6, msg=name)
            trained += wanted.grad.abs().sum() > 0
    assert trained > 10


def test_samples_are_drawn_from_the_policy(captioner) -> None:
    """Its log-probabilities are those that `generate()` knows, and its first words come as often as they say."""
    captioner.generation_config.update(
        num_beams=3, length_penalty=0.7, temperature=3.0, top_k=1, no_repeat_ngram_size=1
    )
    objective = make_objective()
    inputs = {"region_features": make_batch()["region_features"]}
    plain = captioner(**inputs, decoder_input_ids=torch.full((3, 1), START)).logits[:, 0].float()
    plain[:, [PAD, UNKNOWN]] = -torch.inf
    expected = (plain / 0.5).softmax(-1)
    torch.manual_seed(0)
    with tempered(captioner, 0.5):
        tokens = objective._generate(captioner, inputs, samples=2000)
        greedy = objective._generate(captioner, inputs)
    first = tokens[:, 1].unflatten(0, (3, 2000))
    for image in range(3):
        shares = torch.bincount(first[image], minlength=expected.shape[1]) / 2000
        assert_close(shares, expected[image], rtol=0, atol=0.04)
    assert any(row.count(token) > 1 for row in tokens[:, 1:].tolist() for token in row if token > END)
    # A temperature changes no order.
    assert torch.equal(greedy, captioner.generate(**inputs, num_beams=1, no_repeat_ngram_size=0))
    # Nothing is left behind.
    again = captioner(**inputs, decoder_input_ids=torch.full((3, 1), START)).logits[:, 0]
    assert torch.equal(again[:, END:], plain[:, END:]) and again.isfinite().all()
    assert captioner.generation_config.num_beams == 3


def test_there_is_no_dropout_and_no_smoothing(captioner) -> None:
    other = copy.deepcopy(captioner)
    for module in other.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    other.config.label_smoothing = 0.3
    gradients = []
    for model in (captioner, other):
        torch.manual_seed(0)
        make_objective()(model.train(), make_batch(), 15).backward()
        assert all(module.training for module in model.model.decoder.modules())
        gradients.append(model.lm_head.weight.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("weights", "expected"), [([1.0, 1.0, 1.0], 1.0), ([0.0, 0.0, 0.0], 0.0), ([-2.0, -2.0, -2.0], -2.0)]
)
def test_weights_of_labels(captioner, weights, expected) -> None:
    labels = torch.tensor([[5, END, -100]])
    inputs = {"region_features": make_batch(1)["region_features"], "labels": labels}
    found = captioner(**inputs, token_weights=torch.tensor([weights]))
    assert found.logits is None
    assert_close(found.loss, captioner(**inputs).loss * expected)


@pytest.mark.parametrize("settings", [{}, {"attention_order": "after_rnn", "rnn_type": "gru"}])
def test_all_is_trained_in_bfloat16(settings) -> None:
    """Sampling leaves no casts of weights behind that would know no gradient."""
    torch.manual_seed(0)
    model = make_model(**settings)
    model.generation_config.max_length = 9
    objective = make_objective("bf16")
    prepared = objective.accelerator.prepare(model)
    objective(prepared.train(), make_batch(), 15).backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in model.named_parameters() if "backbone" not in name}  # features were given
    assert all(model.get_parameter(name).grad.any() for name in trained)


def test_the_reward_grows(captioner) -> None:
    objective = make_objective(samples_per_image=10)
    optimizer = torch.optim.Adam([p for p in captioner.parameters() if p.requires_grad], 0.05)
    torch.manual_seed(0)
    losses = []
    for _ in range(60):
        loss = objective(captioner.train(), make_batch(), 30)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 2 * sum(losses[:10])


def test_batches_hold_every_image_once() -> None:
    features = torch.arange(10.0).reshape(10, 1, 1).half().numpy()
    arguments = CaptionDataArguments(dataset_name="x", images_per_batch=4, mirror=True)
    batches = list(image_dataloader(RegionSource(features, -features), arguments, seed=0))
    assert sorted(len(batch["image"]) for batch in batches) == [2, 4, 4]
    images = torch.cat([batch["image"] for batch in batches])
    shown = torch.cat([batch["region_features"] for batch in batches]).flatten()
    assert images.dtype == torch.long and sorted(images.tolist()) == list(range(10))
    assert torch.equal(shown.abs(), images.float()) and 0 < (shown < 0).sum() < 9


def test_batches_show_crops() -> None:
    features = 10 * np.arange(200, dtype=np.float16)[:, None, None]
    crops = [RegionSource(features + 1, features - 1), RegionSource(features + 2, features - 2)]
    arguments = CaptionDataArguments(dataset_name="x", images_per_batch=200, mirror=True, crops=2)
    [batch] = image_dataloader(RegionSource(features, features + 5, crops), arguments, seed=0)
    views = batch["region_features"].flatten() - 10 * batch["image"]
    assert set(views.tolist()) == {0, 5, 1, -1, 2, -2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples_per_image": 1}, "`samples_per_image` must be at least 2 with `baseline` 'others', got 1"),
        ({"samples_per_image": 0, "baseline": "greedy"}, "at least 1"),
        ({"temperature": 0.0}, "`temperature` must be above 0, got 0.0"),
        ({"reward": "bleu_4+rouge_l+meteor"}, "`reward` must be one of cider, bleu_4, or .*, got 'meteor', 'rouge_l'"),
        ({"reward": ""}, "`reward` must be .*, got ''"),
        ({"reward": "cider bleu_4"}, "`reward` must be .*, got 'cider bleu_4'"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelfCriticalArguments(**arguments)
