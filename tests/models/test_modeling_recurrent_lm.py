"""What the recurrent language model has of its own (prompts, carried state, dropouts), also in transformers' hands."""

import copy
import inspect
from pathlib import Path

import pytest
import torch
from common.configurations import combinations
from common.factories import END, PAD, VOCABULARY, left_padded, make_tokens
from common.reference import ReferenceDecoder
from common.remote_code import run_without_the_package
from common.strategies import NEW_TOKENS, STRATEGIES
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    PreTrainedTokenizerFast,
    TextIteratorStreamer,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_attention import RecurrentCache, RecurrentLMConfig, RecurrentLMForCausalLM, RecurrentLMModel
from hf_attention.training.data.tokenization import for_running_text, train_tokenizer


EXACT = {"rtol": 1e-9, "atol": 1e-11}
CLOSE = {"rtol": 1e-5, "atol": 2e-6}
SIZES = {"vocab_size": VOCABULARY, "embedding_size": 8, "hidden_size": 8, "attention_size": 4, "attention_window": 3}

AXES = ("rnn_type", "num_hidden_layers", "tie_word_embeddings")
CONFIGURATIONS = [
    *combinations(AXES, attention_type=None),
    {"attention_type": None, "readout_activation": "maxout", "readout_embedding": True, "embedding_size": 6},
    {"attention_type": "additive"},
    {"attention_type": "dot", "context_gate": True, "rnn_type": "gru", "num_hidden_layers": 2},
    {"attention_type": "scaled_dot", "num_attention_heads": 2, "readout_activation": "tanh"},
    {"attention_type": "general", "attention_order": "after_rnn"},
    {"attention_type": "additive", "attention_order": "after_rnn", "rnn_type": "gru", "num_hidden_layers": 2},
    {"attention_type": "scaled_dot", "attention_order": "after_rnn", "num_attention_heads": 2, "attention_window": 1},
    {"attention_type": "dot", "attention_order": "after_rnn", "input_feeding": True, "readout_embedding": True},
]
over_configurations = pytest.mark.parametrize(
    "settings",
    CONFIGURATIONS,
    ids=lambda settings: "-".join(f"{name}={value}" for name, value in settings.items() if value),
)


def make_model(**settings) -> RecurrentLMForCausalLM:
    """A tiny model in evaluation mode, with decided attention and varied tokens."""
    model = RecurrentLMForCausalLM(RecurrentLMConfig(**SIZES | settings))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 2.0 if "lm_head.weight" in name or "embed_tokens" in name or "query" in name else 0.9
            parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * scale)
        model.lm_head.bias[END] = 2.0
    return model.eval()


@pytest.mark.parametrize("window", [1, 30])
@pytest.mark.parametrize("order", ["before_rnn", "after_rnn"])
def test_windows_of_any_length_equal_a_plain_loop(window, order):
    model = make_model(attention_type="general", attention_order=order, attention_window=window).double()
    prompts, tokens = make_tokens(rows=3, length=2), make_tokens(rows=3, length=5)
    outputs = model(torch.cat([prompts, tokens], 1), output_attentions=True)
    logits, maps = ReferenceDecoder(model).behind(prompts, tokens)
    assert_close(outputs.logits[:, 2:], logits, **EXACT)
    assert_close(outputs.attentions[0][:, :, 2:], maps, **EXACT)


def held_bytes(cache: RecurrentCache) -> int:
    """The bytes of all storages that a cache keeps alive."""
    storages = {}
    cache.layers[0].map(lambda tensor: storages.setdefault(tensor.untyped_storage().data_ptr(), tensor))
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


@pytest.mark.parametrize("settings", [{}, {"attention_type": "general"}], ids=["state", "window"])
@torch.no_grad()
def test_the_cache_does_not_grow(settings):
    model = make_model(**settings)
    sizes = []
    for tokens in (10, 100):
        outputs = model.generate(
            make_tokens(2, 3), min_new_tokens=tokens, max_new_tokens=tokens, return_dict_in_generate=True
        )
        sizes.append(held_bytes(outputs.past_key_values))
    assert sizes[0] == sizes[1] > 0


@torch.no_grad()
def generate(model, tokens, mask, strategy, **kwargs):
    kwargs = {"max_new_tokens": NEW_TOKENS, **STRATEGIES[strategy], **kwargs}
    return model.generate(tokens, attention_mask=mask, return_dict_in_generate=True, **kwargs)


@over_configurations
@torch.no_grad()
def test_a_left_padded_batch_equals_single_runs(settings):
    model = make_model(**settings)
    words = make_tokens(3, 5)
    prompt, mask = left_padded(words)
    for strategy in ("greedy", "greedy uncached", "beam several"):
        together = generate(model, prompt, mask, strategy).sequences[:, 5:]
        times = together.shape[0] // 3
        for row in range(3):
            alone = generate(model, words[row : row + 1, : int(mask[row].sum())], None, strategy).sequences
            alone = alone[:, int(mask[row].sum()) :]
            rows = together[row * times : (row + 1) * times]
            assert rows[:, : alone.shape[1]].equal(alone)
            assert torch.isin(rows[:, alone.shape[1] :], torch.tensor([PAD, END])).all()


@torch.no_grad()
def test_ways_into_generate():
    model = make_model(num_hidden_layers=2)
    prompt = make_tokens(2, 6)
    expected = generate(model, prompt, None, "greedy", min_new_tokens=NEW_TOKENS).sequences
    more = {"min_new_tokens": NEW_TOKENS}
    assert generate(model, prompt, None, "greedy", prefill_chunk_size=2, **more).sequences.equal(expected)
    embeddings = model.get_input_embeddings()(prompt)
    from_embeddings = model.generate(inputs_embeds=embeddings, max_new_tokens=NEW_TOKENS, **more)
    assert from_embeddings.equal(expected[:, 6:])
    # Going on from a returned cache.
    first = generate(model, prompt, None, "greedy", min_new_tokens=3, max_new_tokens=3)
    second = generate(
        model,
        first.sequences,
        None,
        "greedy",
        past_key_values=first.past_key_values,
        min_new_tokens=NEW_TOKENS - 3,
        max_new_tokens=NEW_TOKENS - 3,
    )
    assert second.sequences.equal(expected)
    # Without a prompt: from the end of the sentence before.
    alone = model.generate(max_new_tokens=4, min_new_tokens=4)
    assert alone.equal(model.generate(torch.tensor([[END]]), max_new_tokens=4, min_new_tokens=4))
    with pytest.raises(ValueError, match="past_key_values"):
        model.generate(prompt, past_key_values=DynamicCache())


def test_the_loss_is_that_of_the_tokens_that_follow():
    model = make_model()
    tokens, mask = left_padded(make_tokens(3, 6))
    labels = tokens.masked_fill(mask == 0, -100)
    total, number = 0.0, 0
    for row in range(3):
        words = tokens[row : row + 1, mask[row].bool()]
        log_probabilities = model(words).logits.log_softmax(-1)[0, :-1]
        total -= log_probabilities.gather(-1, words[0, 1:, None]).sum()
        number += words.shape[1] - 1
    for training in (False, True):
        outputs = model.train(training)(tokens, attention_mask=mask, labels=labels)
        assert_close(outputs.loss, total / number)
        assert (outputs.logits is None) == training
        shifted = F.pad(labels[:, 1:], (0, 1), value=-100).masked_fill(mask == 0, -100)
        assert_close(model(tokens, attention_mask=mask, shift_labels=shifted).loss, total / number)
        assert_close(model(tokens, attention_mask=mask, labels=labels, num_items_in_batch=7).loss, total / 7)
        # As in transformers, what is shifted already is meant where both are given.
        both = model(tokens, attention_mask=mask, labels=tokens, shift_labels=shifted)
        assert_close(both.loss, total / number)


def test_the_state_that_is_carried_equals_one_long_forward():
    for settings in CONFIGURATIONS:
        model = make_model(**settings).double().train()
        tokens, cache = make_tokens(rows=2, length=12), RecurrentCache()
        parts = [
            model.model(part, past_key_values=cache, use_cache=True).last_hidden_state for part in tokens.split(5, 1)
        ]
        assert_close(torch.cat(parts, 1), model.model(tokens).last_hidden_state, **CLOSE)
        cache.detach()
        cache.layers[0].map(lambda tensor: assert_close(tensor.requires_grad, False))


DROPOUTS = {
    "variational_dropout": True,
    "embedding_dropout": 0.4,
    "hidden_dropout": 0.4,
    "readout_dropout": 0.4,
    "num_hidden_layers": 2,
}


def zeroed(module: torch.nn.Module, run) -> list[torch.Tensor]:
    """Which elements a dropout has set to zero, each time that it was called."""
    masks = []
    handle = module.register_forward_hook(lambda module, inputs, output: masks.append(output == 0))
    run()
    handle.remove()
    return masks


@pytest.mark.parametrize(
    "settings",
    [{}, {"rnn_type": "gru"}, {"attention_type": "dot", "attention_order": "after_rnn", "input_feeding": True}],
    ids=["lstm", "gru", "input_feeding"],
)
def test_variational_masks_are_the_same_at_every_step(settings):
    model = make_model(**DROPOUTS, **settings).train()
    decoder = model.model.decoder
    tokens = torch.full((2, 6), 5)
    for name in ("embedding_dropout", "readout_dropout"):
        (mask,) = zeroed(getattr(decoder, name), lambda: model.model(tokens))
        assert mask.any() and not mask.all()
        assert mask.equal(mask[:, :1].expand_as(mask))
        assert not mask[0].equal(mask[1])
        (other,) = zeroed(getattr(decoder, name), lambda: model.model(tokens))
        assert not other.equal(mask)


@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
@pytest.mark.parametrize("masked", [False, True], ids=["fused", "step by step"])
def test_between_layers_a_variational_mask_is_a_smaller_matrix(rnn_type, masked):
    """A unit that is off at every step is a column of zeros in the next layer's input matrix, the others doubled."""
    model = make_model(rnn_type=rnn_type, num_hidden_layers=2, variational_dropout=True, hidden_dropout=0.5).double()
    tokens = make_tokens(rows=1, length=6)
    mask = torch.ones_like(tokens) if masked else None
    rnn = model.model.decoder.rnn
    with torch.no_grad():
        result = model.train().model(tokens, attention_mask=mask).last_hidden_state
        model.eval()
        found = False
        whole = rnn.weight_ih_l1.clone()
        for code in range(2**8):
            kept = torch.tensor([code >> unit & 1 for unit in range(8)], dtype=torch.double)
            rnn.weight_ih_l1.copy_(whole * kept * 2)
            found |= torch.allclose(model.model(tokens).last_hidden_state, result)
        rnn.weight_ih_l1.copy_(whole)
    assert found


@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
@pytest.mark.parametrize("masked", [False, True], ids=["fused", "step by step"])
def test_weight_drop(rnn_type, masked, tmp_path: Path):
    """It acts in training only, on the recurrent matrix alone, and on what is stored not at all."""
    model = make_model(rnn_type=rnn_type, recurrent_weight_dropout=0.5).train()
    tokens = make_tokens(rows=2, length=5)
    mask = torch.ones_like(tokens) if masked else None
    stored = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hidden = [model.model(tokens, attention_mask=mask).last_hidden_state for _ in range(2)]
    assert not hidden[0].equal(hidden[1])
    # The first step has no state to be multiplied.
    assert_close(hidden[0][:, 0], hidden[1][:, 0])
    hidden[0].sum().backward()
    zeros = model.model.decoder.rnn.weight_hh_l0.grad == 0
    assert 0.3 < zeros.float().mean() < 0.7
    model.save_pretrained(tmp_path)
    loaded = RecurrentLMForCausalLM.from_pretrained(tmp_path)
    for name, tensor in loaded.state_dict().items():
        assert tensor.equal(stored[name]), name
    whole = make_model(rnn_type=rnn_type).eval()
    assert_close(loaded.eval()(tokens).logits, whole(tokens).logits)


def test_without_dropout_training_and_evaluation_agree():
    model = make_model(num_hidden_layers=2, variational_dropout=True, recurrent_weight_dropout=0.0)
    tokens = make_tokens(2, 5)
    assert_close(model.train().model(tokens).last_hidden_state, model.eval().model(tokens).last_hidden_state)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"attention_window": 0}, "attention_window"),
        ({"memory_size": 5}, "memory_size"),
        ({"coverage": True}, "coverage"),
        ({"memory_dropout": 0.1}, "memory_dropout"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder"),
        ({"initial_state": "memory_mean"}, "initial_state"),
        ({"recurrent_weight_dropout": 1.0}, "recurrent_weight_dropout"),
        ({"readout_layer": False, "attention_type": "dot"}, "attention_type.*readout_layer"),
        ({"readout_layer": False, "readout_size": 9}, "readout_size.*readout_layer"),
    ],
)
def test_configurations_without_meaning_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        RecurrentLMConfig(**SIZES | settings)


def test_configurations_of_the_papers(tmp_path: Path):
    for config in (RecurrentLMConfig.zaremba(), RecurrentLMConfig.awd_lstm()):
        config.save_pretrained(tmp_path)
        assert RecurrentLMConfig.from_pretrained(tmp_path).to_dict() | {"auto_map": None} == config.to_dict() | {
            "auto_map": None
        }
    model = RecurrentLMForCausalLM(RecurrentLMConfig.zaremba())
    assert model.model.decoder.readout is None
    # An embedding, two layers of four gates with two biases, and the output's bias.
    assert model.num_parameters() == 10000 * 650 + 2 * (4 * 650 * (2 * 650 + 2)) + 10000


def test_auto_classes(tmp_path: Path):
    model = make_model(attention_type="general")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is RecurrentLMForCausalLM
    assert type(AutoModel.from_pretrained(tmp_path)) is RecurrentLMModel
    tokens = make_tokens(2, 5)
    assert loaded(tokens).logits.equal(model(tokens).logits)


def test_resized_embeddings():
    model = make_model(tie_word_embeddings=True)
    tokens = make_tokens(2, 5)
    expected = model(tokens).logits
    model.resize_token_embeddings(VOCABULARY + 3)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert_close(model(tokens).logits[..., :VOCABULARY], expected)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return for_running_text(train_tokenizer(["a b c d e f g", "h i"], "space"))


def test_pipeline(tokenizer: PreTrainedTokenizerFast):
    model = make_model()
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    texts = ["a b c", "d", "e f g a b"]
    together = generator(texts, batch_size=3, max_new_tokens=5, do_sample=False)
    for text, records in zip(texts, together, strict=True):
        (record,) = generator(text, max_new_tokens=5, do_sample=False)
        assert records[0]["generated_text"] == record["generated_text"]
        assert record["generated_text"].startswith(text)
        ids = model.generate(torch.tensor([tokenizer(text)["input_ids"]]), max_new_tokens=5, do_sample=False)
        assert record["generated_text"] == tokenizer.decode(ids[0], skip_special_tokens=True).strip()


@pytest.mark.parametrize("tokenizer_type", ["word", "word_punct", "space", "bpe", "unigram"])
def test_a_text_goes_on_behind_its_last_word(tokenizer_type: str):
    tokenizer = for_running_text(train_tokenizer(["the cat sat", "the mat", "a cat"] * 20, tokenizer_type, 300))
    model = make_model(vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id)
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    continuation = tokenizer("the mat", add_special_tokens=False)["input_ids"]

    prompt = tokenizer("a cat")["input_ids"]

    def only(_, ids: torch.Tensor) -> list[int]:
        return [continuation[len(ids) - len(prompt)]]

    (record,) = generator(
        "a cat", max_new_tokens=len(continuation), do_sample=False, prefix_allowed_tokens_fn=only, eos_token_id=-1
    )
    assert record["generated_text"] == "a cat the mat"


def test_streaming(tokenizer: PreTrainedTokenizerFast):
    model = make_model()
    inputs = tokenizer("a b", return_tensors="pt")
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=10)
    outputs = model.generate(inputs["input_ids"], max_new_tokens=6, do_sample=False, streamer=streamer)
    assert "".join(streamer).split() == tokenizer.decode(outputs[0, 3:]).split()


def test_a_training_step_with_weight_drop_in_bfloat16_is_close_to_one_in_float32():
    model = make_model(recurrent_weight_dropout=1e-9).train()
    tokens = make_tokens(rows=4, length=9)

    def gradients() -> torch.Tensor:
        model.zero_grad()
        loss = model(tokens, labels=tokens).loss
        assert loss.dtype == torch.float32
        loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        rough = gradients()
    assert torch.cosine_similarity(exact, rough, 0) > 0.99


def test_models_are_copied_whole():
    model = make_model(recurrent_weight_dropout=0.5).train()
    model.model(make_tokens(2, 3))
    twin = copy.deepcopy(model).eval()
    tokens = make_tokens(2, 4)
    assert_close(twin(tokens).logits, model.eval()(tokens).logits)


TRAINER_TEXTS = ["a b c d", "b", "c d e", "d e f g h", "h i a", "f a b"] * 2


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_of_the_trainer(tokenizer, tmp_path: Path, smoothing: float, accumulation: int, checkpointing: bool):
    """By the trainer's own label smoothing it is that of the definition, over several accumulated batches too."""
    model = make_model().double()
    rows = [tokenizer(text) for text in TRAINER_TEXTS]
    total, number = 0.0, 0
    with torch.no_grad():
        for row in rows:
            tokens = torch.tensor([row["input_ids"]])
            log_probabilities = model(tokens).logits[0, :-1].log_softmax(-1)
            targets = (1 - smoothing) * F.one_hot(tokens[0, 1:], VOCABULARY) + smoothing / VOCABULARY
            total -= (targets * log_probabilities).sum().item()
            number += tokens.shape[1] - 1

    def collate(batch: list) -> dict[str, torch.Tensor]:
        batch = tokenizer.pad(batch, return_tensors="pt", padding_side="right")
        return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=len(rows) // accumulation,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=checkpointing,
        label_smoothing_factor=smoothing,
        max_steps=2,
        logging_steps=1,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows, data_collator=collate)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(total / number, rel=1e-5)
    assert losses[1] < losses[0]
    assert trainer.evaluate()["eval_loss"] < losses[0]


def answers(folder: str, **trust) -> dict[str, torch.Tensor]:
    """What is compared; it also runs without the package."""
    model = AutoModelForCausalLM.from_pretrained(folder, **trust)
    tokens = torch.tensor([[3, 5, 6, 7], [3, 8, 4, 9]])
    with torch.no_grad():
        tensors = {"logits": model(tokens).logits, "loss": model(tokens, labels=tokens).loss}
        tensors["hidden"] = AutoModel.from_pretrained(folder, **trust)(tokens).last_hidden_state
    tensors["greedy"] = model.generate(tokens, max_new_tokens=6)
    tensors["beam"] = model.generate(tokens, max_new_tokens=6, num_beams=3)
    text = pipeline("text-generation", folder, device="cpu", **trust)("a b", max_new_tokens=6, do_sample=False)
    tensors["text"] = torch.tensor(list(text[0]["generated_text"].encode()))
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


WITHOUT_THE_PACKAGE = """
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForCausalLM, pipeline

ANSWERS
folder, out = sys.argv[1:]
save_file(answers(folder, trust_remote_code=True), out + "/tensors.safetensors")
AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).save_pretrained(out + "/again")
"""


def test_the_same_answers_without_the_package(tokenizer, tmp_path: Path):
    folder = tmp_path / "saved"
    make_model(attention_type="additive", num_hidden_layers=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    expected = answers(str(folder))
    out = tmp_path / "out"
    run_without_the_package(WITHOUT_THE_PACKAGE.replace("ANSWERS", inspect.getsource(answers)), out, folder, out)
    found = load_file(out / "tensors.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_close(found[name], tensor, msg=lambda text, name=name: f"{name}: {text}")
    assert type(AutoModelForCausalLM.from_pretrained(out / "again")) is RecurrentLMForCausalLM
