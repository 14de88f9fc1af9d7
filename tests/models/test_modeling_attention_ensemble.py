"""Several models generate as one: the mean of their probabilities, whatever the strategy."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import test_alignment
import test_arguments
import test_cache
import test_devices
import test_generation
import test_loss
import test_modeling_attention
import test_recomputation
import test_versions
import torch
from common import tiny_captioner
from common.factories import END, FACTORIES, START, ModelFactory, suite_of
from common.remote_code import run_without_the_package
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_attention import (
    AttentionEnsembleConfig,
    AttentionEnsembleForConditionalGeneration,
    AttentionSeq2SeqTokenizer,
    attention_maps,
)


@dataclass(frozen=True)
class EnsembleFactory(ModelFactory):
    """Ensembles of two models of the sizes asked for."""

    def make_config(self, **settings) -> AttentionEnsembleConfig:
        return AttentionEnsembleConfig(members=[super().make_config(**settings).to_dict()] * 2)


KINDS = {factory.name: factory for factory in FACTORIES if factory.name in ("captioner", "seq2seq")}
AUTO_CLASSES = {"captioner": AutoModelForImageTextToText, "seq2seq": AutoModelForSeq2SeqLM}
OWN = {"model_class": AttentionEnsembleForConditionalGeneration, "end_bias": 3.5, "seed": 3}
OVER_MODELS = [EnsembleFactory(**vars(factory) | OWN) for factory in KINDS.values()]
OVER_CONFIGURATIONS = [
    {"attention_type": "scaled_dot", "num_attention_heads": 2},
    {"attention_type": "additive", "tie_word_embeddings": True},
]
globals().update(
    suite_of(
        test_alignment,
        test_arguments,
        test_cache,
        test_devices,
        test_generation,
        test_loss,
        test_modeling_attention,
        test_recomputation,
        test_versions,
    )
)
MAPS = {"output_attentions": True, "return_dict_in_generate": True}


def make_members(factory: ModelFactory) -> list[PreTrainedModel]:
    """Three models that differ in everything but their vocabulary."""
    members = [
        factory.make_model(),
        factory.make_model(rnn_type="gru", hidden_size=6, attention_type="general", attention_order="after_rnn"),
        factory.make_model(num_hidden_layers=2, embedding_size=5, attention_type="scaled_dot", num_attention_heads=2),
    ]
    generator = torch.Generator().manual_seed(1)
    for member in members[1:]:
        with torch.no_grad():
            for parameter in member.parameters():
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
    return members


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> ModelFactory:
    return KINDS[request.param]


def mean_log_probs(members: list[PreTrainedModel], inputs: dict, tokens: torch.LongTensor) -> torch.Tensor:
    """Of each next token after `tokens`, computed from the start in every member: (rows, target, vocabulary)."""
    probabilities = [member(**inputs, decoder_input_ids=tokens).logits.double().softmax(-1) for member in members]
    return (sum(probabilities) / len(members)).log()


@torch.no_grad()
def test_forward_is_the_mean_of_the_probabilities(kind: ModelFactory) -> None:
    members, inputs = make_members(kind), kind.make_inputs(3)
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    labels = torch.tensor([[5, 6, END], [7, END, -100], [8, 9, 10]])
    output = ensemble(**inputs, labels=labels, output_attentions=True)
    starts = members[0].prepare_decoder_input_ids_from_labels(labels)
    expected = mean_log_probs(members, inputs, starts)
    torch.testing.assert_close(output.logits.double(), expected, rtol=1e-5, atol=1e-5)
    real = labels != -100
    loss = -expected[real].gather(-1, labels[real].unsqueeze(-1)).mean()
    torch.testing.assert_close(output.loss.double(), loss, rtol=1e-5, atol=1e-5)
    maps = [member(**inputs, labels=labels, output_attentions=True).cross_attentions[0].mean(1) for member in members]
    torch.testing.assert_close(output.cross_attentions[0].squeeze(1), sum(maps) / 3)


@torch.no_grad()
def test_greedy_search_equals_a_loop_without_cache(kind: ModelFactory) -> None:
    members, inputs = make_members(kind), kind.make_inputs(3)
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    tokens = torch.full((3, 1), START)
    ended = torch.zeros(3, dtype=torch.bool)
    for _ in range(8):
        scores = mean_log_probs(members, inputs, tokens)[:, -1]
        scores[:, [0, 1]] = -torch.inf  # padding and the unknown token are never generated
        chosen = scores.argmax(-1).masked_fill(ended, 0)
        tokens = torch.cat([tokens, chosen.unsqueeze(1)], 1)
        ended |= chosen == END
    generated = ensemble.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert torch.equal(generated, tokens[:, : generated.shape[1]])


@torch.no_grad()
def test_a_wide_beam_finds_the_most_likely_sentence(kind: ModelFactory) -> None:
    """Every sentence of up to three words is scored one by one."""
    members, inputs = make_members(kind), kind.make_inputs(1)
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    words = range(END + 1, ensemble.config.vocab_size)
    candidates = []
    for length in (1, 2, 3):
        ends = [END] if length < 3 else [END, *words]
        sentences = [(*start, end) for start in itertools.product(words, repeat=length - 1) for end in ends]
        tokens = torch.tensor([[START, *sentence] for sentence in sentences])
        # All sentences share the one memory.
        scores = mean_log_probs(members, inputs, tokens[:, :-1]).gather(-1, tokens[:, 1:, None]).flatten(1).sum(1)
        candidates.append((scores.max(), tokens[scores.argmax()]))
    best = max(candidates, key=lambda candidate: candidate[0])[1]
    generated = ensemble.generate(
        **inputs, num_beams=90, max_new_tokens=3, length_penalty=0.0, early_stopping="never", do_sample=False
    )
    assert torch.equal(generated[0], best)


@pytest.mark.parametrize(
    "strategy",
    [
        {"num_beams": 3},
        {"num_beams": 3, "use_cache": False},
        {"do_sample": True, "num_return_sequences": 2},
        {"num_beams": 3, "num_return_sequences": 2, "do_sample": True},
        {"prompt_lookup_num_tokens": 2},
        {"assistant_model": "a member"},
    ],
    ids=str,
)
@torch.no_grad()
def test_maps_are_those_of_the_teacher_forced_pass(kind: ModelFactory, strategy: dict) -> None:
    alone = "prompt_lookup_num_tokens" in strategy or "assistant_model" in strategy
    inputs = kind.make_inputs(1 if alone else 3)
    members = make_members(kind)
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    if "assistant_model" in strategy:
        strategy = {"assistant_model": members[0]}
    outputs = ensemble.generate(**inputs, **strategy, **MAPS, max_new_tokens=6)
    maps = attention_maps(outputs)
    copies = outputs.sequences.shape[0] // next(iter(inputs.values())).shape[0]
    repeated = {name: value.repeat_interleave(copies, 0) for name, value in inputs.items()}
    forced = ensemble(**repeated, decoder_input_ids=outputs.sequences[:, :-1], output_attentions=True)
    is_token = maps.sum(-1) > 0
    assert is_token[:, 0].all()
    forced_maps = forced.cross_attentions[0].mean(1)[:, : maps.shape[1]]
    torch.testing.assert_close(maps[is_token], forced_maps[is_token], rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_ensemble_of_one_is_the_model(kind: ModelFactory) -> None:
    model, inputs = kind.make_model(), kind.make_inputs(3)
    ensemble = AttentionEnsembleForConditionalGeneration.from_members([model])
    for settings in ({}, {"num_beams": 3}):
        settings |= {"max_new_tokens": 8, "do_sample": False}
        assert torch.equal(ensemble.generate(**inputs, **settings), model.generate(**inputs, **settings))


@torch.no_grad()
def test_saved_and_loaded_by_the_auto_class(kind: ModelFactory, tmp_path) -> None:
    members, inputs = make_members(kind), kind.make_inputs(2)
    members[0].generation_config.num_beams = 2
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    ensemble.save_pretrained(tmp_path)
    loaded, info = AUTO_CLASSES[kind.name].from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is AttentionEnsembleForConditionalGeneration
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert loaded.generation_config.num_beams == 2
    assert torch.equal(loaded.generate(**inputs), ensemble.generate(**inputs))


def make_tokenizer(words: Sequence[str] = "abcdefghi") -> PreTrainedTokenizerFast:
    vocabulary = ["<pad>", "<unk>", "<s>", "</s>", *words]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


WITHOUT_THE_PACKAGE = """
from transformers import pipeline

translator = pipeline("translation", sys.argv[1], trust_remote_code=True)
print(translator("a b c", min_new_tokens=3, max_new_tokens=6)[0]["translation_text"])
"""


def test_the_pipeline_translates_with_and_without_the_package(tmp_path) -> None:
    folder = tmp_path / "ensemble"
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(make_members(KINDS["seq2seq"]))
    ensemble.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    translator = pipeline("translation", model=str(folder))
    record = translator("a b c", min_new_tokens=3, max_new_tokens=6, output_attentions=True)[0]
    assert record["translation_text"]
    assert record["attentions"].shape[1] == 4
    printed = run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path / "without", folder)
    assert printed.strip() == record["translation_text"]


def test_what_does_not_go_together_is_refused() -> None:
    seq2seq, captioner = KINDS["seq2seq"], KINDS["captioner"]
    ensemble = AttentionEnsembleForConditionalGeneration
    with pytest.raises(TypeError, match="must be captioners or sequence-to-sequence models .* got str"):
        AttentionEnsembleForConditionalGeneration.from_members(["a/folder"])
    with pytest.raises(ValueError, match="needs at least one"):
        ensemble.from_members([])
    with pytest.raises(ValueError, match="one vocabulary: `vocab_size` is 13 in the first and 14 in member 1"):
        ensemble.from_members([seq2seq.make_model(), seq2seq.make_model(vocab_size=14)])
    with pytest.raises(ValueError, match="`model_type` is 'attention_seq2seq' in the first"):
        ensemble.from_members([seq2seq.make_model(), captioner.make_model()])
    with pytest.raises(ValueError, match="one dtype, got torch.bfloat16, torch.float32"):
        ensemble.from_members([seq2seq.make_model(), seq2seq.make_model().bfloat16()])
    with pytest.raises(ValueError, match="must be one of .* got 'bert'"):
        AttentionEnsembleConfig(members=[{"model_type": "bert"}])
    both = ensemble.from_members([seq2seq.make_model(), seq2seq.make_model(embedding_size=5)])
    with pytest.raises(ValueError, match="side by side, of 11 numbers, got 6"):
        both(**seq2seq.make_inputs(1), decoder_inputs_embeds=torch.zeros(1, 2, 6))
    inputs = seq2seq.make_inputs(1)
    with pytest.raises(ValueError, match="what its encoder gives, an EnsembleEncoderOutput, got EncoderOutput"):
        both(encoder_outputs=both.members[0].get_encoder()(**inputs), decoder_input_ids=torch.tensor([[START]]))
    with pytest.raises(NotImplementedError, match="one by one"):
        both.set_output_embeddings(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("settings", [{}, {"source_vocab_size": None, "share_encoder_decoder_embeddings": True}])
def test_tied_members_stay_tied(kind: ModelFactory, settings: dict, tmp_path: Path) -> None:
    if settings and kind.name == "captioner":
        pytest.skip("a captioner reads no words")
    settings = {**settings, "embedding_size": 6, "encoder_embedding_size": 6} if settings else {}
    members = [kind.make_model(tie_word_embeddings=True, **settings), kind.make_model(**settings)]
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    assert ensemble.num_parameters() == sum(member.num_parameters() for member in members)
    ensemble.save_pretrained(tmp_path)
    loaded, info = AUTO_CLASSES[kind.name].from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    heads = [member.lm_head.weight is member.model.decoder.embed_tokens.weight for member in loaded.members]
    assert heads == [True, False]
    if settings:
        assert all(
            member.get_encoder().embed_tokens.weight is member.model.decoder.embed_tokens.weight
            for member in loaded.members
        )
    for name, tensor in ensemble.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@torch.no_grad()
def test_embeddings_of_all_members_side_by_side(kind: ModelFactory) -> None:
    members, inputs = make_members(kind), kind.make_inputs(2)
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    tokens = torch.tensor([[START, 5, 6], [START, 7, 8]])
    expected = ensemble(**inputs, decoder_input_ids=tokens).logits
    embeddings = torch.cat([member.model.decoder.embed_tokens(tokens) for member in members], -1)
    torch.testing.assert_close(ensemble(**inputs, decoder_inputs_embeds=embeddings).logits, expected)
    if kind.name == "captioner":
        return
    table = ensemble.get_input_embeddings()
    assert (table.num_embeddings, table.embedding_dim) == (13, 3 * 6 - 1)
    sources = {"inputs_embeds": table(inputs["input_ids"]), "attention_mask": inputs["attention_mask"]}
    torch.testing.assert_close(ensemble(**sources, decoder_input_ids=tokens).logits, expected)
    assert torch.equal(ensemble.generate(**sources, max_new_tokens=5), ensemble.generate(**inputs, max_new_tokens=5))
    new = torch.nn.Embedding(13, table.embedding_dim)
    sources["inputs_embeds"] = new(inputs["input_ids"])
    ensemble.set_input_embeddings(new)
    results = [ensemble(**given, decoder_input_ids=tokens).logits for given in (inputs, sources)]
    torch.testing.assert_close(*results)


@torch.no_grad()
def test_resized_for_more_tokens(kind: ModelFactory, tmp_path: Path) -> None:
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(make_members(kind))
    ensemble.resize_token_embeddings(17)
    if kind.name == "seq2seq":
        ensemble.resize_source_token_embeddings(15)
        assert ensemble.get_input_embeddings().num_embeddings == 15
    assert ensemble.config.vocab_size == 17
    assert ensemble.get_output_embeddings().weight.shape[0] == 17
    ensemble.save_pretrained(tmp_path)
    loaded = AUTO_CLASSES[kind.name].from_pretrained(tmp_path)
    inputs, tokens = kind.make_inputs(2), torch.tensor([[START, 16], [START, 5]])
    logits = [model(**inputs, decoder_input_ids=tokens).logits for model in (ensemble, loaded)]
    assert logits[0].shape == (2, 2, 17)
    torch.testing.assert_close(*logits)


@pytest.mark.parametrize("end", [12, [3, 12]])
def test_special_tokens_changed_since(end: int | list[int], kind: ModelFactory, tmp_path: Path) -> None:
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(make_members(kind))
    ensemble.config.eos_token_id, ensemble.config.decoder_start_token_id = end, 5
    ensemble.save_pretrained(tmp_path)
    config = AUTO_CLASSES[kind.name].from_pretrained(tmp_path).config
    assert (config.eos_token_id, config.decoder_start_token_id, config.pad_token_id) == (end, 5, 0)
    with pytest.raises(ValueError, match="`eos_token_id` must lie in .*vocab_size=12"):
        ensemble.resize_token_embeddings(12)


def test_the_last_logits_beside_a_loss(kind: ModelFactory) -> None:
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(make_members(kind))
    inputs, labels = kind.make_inputs(2), torch.tensor([[5, 6, END], [7, END, -100]])
    whole, last = (ensemble(**inputs, labels=labels, logits_to_keep=kept) for kept in (0, 1))
    torch.testing.assert_close(last.loss, whole.loss)
    torch.testing.assert_close(last.logits, whole.logits[:, -1:])
    torch.testing.assert_close(ensemble(**inputs, labels=labels, num_items_in_batch=10).loss, whole.loss * 5 / 10)


def test_the_implementation_of_attention_reaches_the_backbones(tmp_path: Path) -> None:
    AttentionEnsembleForConditionalGeneration.from_members([tiny_captioner.make_model()] * 2).save_pretrained(tmp_path)
    for wanted in ("eager", "sdpa"):
        loaded = AutoModelForImageTextToText.from_pretrained(tmp_path, attn_implementation=wanted)
        for member in loaded.members:
            assert member.model.encoder.backbone.config._attn_implementation == wanted


def test_a_source_vocabulary_larger_than_the_target_s(tmp_path: Path) -> None:
    members = [KINDS["seq2seq"].make_model(source_vocab_size=30) for _ in range(2)]
    AttentionEnsembleForConditionalGeneration.from_members(members).save_pretrained(tmp_path)
    words = [*"abcdefghi", *(f"w{number}" for number in range(17))]
    tokenizer = AttentionSeq2SeqTokenizer.from_tokenizers(make_tokenizer(words), make_tokenizer())
    tokenizer.save_pretrained(tmp_path)
    assert pipeline("translation", model=str(tmp_path))("a w16", min_new_tokens=2, max_new_tokens=4)


def test_trainer_evaluates_and_trains_it(kind: ModelFactory, tmp_path: Path) -> None:
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(make_members(kind))
    inputs = kind.make_inputs(3)
    inputs["labels"] = torch.tensor([[5, END]] * 3)
    rows = [{name: value[row] for name, value in inputs.items()} for row in range(3)]
    arguments = TrainingArguments(str(tmp_path), num_train_epochs=1, report_to="none", use_cpu=True)
    trainer = Trainer(ensemble, arguments, train_dataset=rows, eval_dataset=rows)
    expected = ensemble(**inputs).loss.item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4)
    before = [member.lm_head.weight.clone() for member in ensemble.members]
    trainer.train()
    assert not any(
        torch.equal(member.lm_head.weight, old) for member, old in zip(ensemble.members, before, strict=True)
    )


def test_a_member_s_field_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    AttentionEnsembleForConditionalGeneration.from_members([FACTORIES[0].make_model()]).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["members"][0]["new_gate"] = True
    settings["hf_attention_version"] = "99.0"
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="does not know .'new_gate'.*saved by hf_attention 99.0"):
        AttentionEnsembleForConditionalGeneration.from_pretrained(tmp_path)


@torch.no_grad()
def test_hidden_states_of_all_members_in_turn(kind: ModelFactory) -> None:
    members, inputs = make_members(kind), kind.make_inputs(2)
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(members)
    given = {**inputs, "decoder_input_ids": torch.tensor([[START, 5], [START, 6]]), "output_hidden_states": True}
    outputs, each = ensemble(**given), [member(**given) for member in members]
    for name in ("encoder_hidden_states", "decoder_hidden_states"):
        torch.testing.assert_close(outputs[name], tuple(itertools.chain(*(output[name] for output in each))))
    generated = ensemble.generate(
        **inputs, max_new_tokens=3, min_new_tokens=3, output_hidden_states=True, return_dict_in_generate=True
    )
    assert len(generated.decoder_hidden_states) == 3
    torch.testing.assert_close(generated.encoder_hidden_states, outputs.encoder_hidden_states)


@torch.no_grad()
def test_what_its_configuration_says_to_return(kind: ModelFactory, tmp_path: Path) -> None:
    model, inputs = EnsembleFactory(**vars(kind) | OWN).make_model(), kind.make_inputs(2)
    inputs["decoder_input_ids"] = torch.tensor([[START, 5]] * 2)
    expected = model(**inputs, output_attentions=True, output_hidden_states=True)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, output_attentions=True, output_hidden_states=True)
    model.config.output_attentions = model.config.output_hidden_states = True
    for outputs in (model(**inputs), loaded(**inputs)):
        assert outputs.keys() == expected.keys() >= {"decoder_hidden_states", "encoder_hidden_states"}


def test_special_tokens_that_were_taken_away_stay_away(kind: ModelFactory, tmp_path: Path) -> None:
    model, inputs = EnsembleFactory(**vars(kind) | OWN).make_model(), kind.make_inputs(2)
    model.config.eos_token_id = model.config.unk_token_id = None
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config.eos_token_id is None and loaded.config.unk_token_id is None
    assert loaded.config.pad_token_id == model.config.pad_token_id
    assert loaded.generate(**inputs, max_new_tokens=8).shape[1] == 9
