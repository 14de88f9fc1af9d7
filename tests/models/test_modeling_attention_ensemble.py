"""Several models generate as one: the mean of their probabilities, whatever the strategy."""

import itertools
import json
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
from common.factories import END, FACTORIES, START, ModelFactory, set_bias, suite_of
from common.remote_code import run_without_the_package
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    pipeline,
)

from hf_attention import AttentionEnsembleConfig, AttentionEnsembleForConditionalGeneration, attention_maps


@dataclass(frozen=True)
class EnsembleFactory(ModelFactory):
    """Ensembles of two models of the sizes asked for, with weights of their own."""

    def make_config(self, **settings) -> AttentionEnsembleConfig:
        return AttentionEnsembleConfig(members=[super().make_config(**settings).to_dict()] * 2)

    def make_model(self, **settings) -> AttentionEnsembleForConditionalGeneration:
        model = AttentionEnsembleForConditionalGeneration(self.make_config(**settings))
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 2.0 if "lm_head.weight" in name or "embed_tokens" in name or "query" in name else 0.9
                parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * scale)
        set_bias(model, END, self.end_bias)
        return model.eval()


KINDS = {factory.name: factory for factory in FACTORIES if factory.name in ("captioner", "seq2seq")}
AUTO_CLASSES = {"captioner": AutoModelForImageTextToText, "seq2seq": AutoModelForSeq2SeqLM}
OVER_MODELS = [EnsembleFactory(**{**vars(factory), "end_bias": 3.5}) for factory in KINDS.values()]
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


def make_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = ["<pad>", "<unk>", "<s>", "</s>", *"abcdefghi"]
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
    with pytest.raises(ValueError, match="needs at least one"):
        ensemble.from_members([])
    with pytest.raises(ValueError, match="one vocabulary: `vocab_size` is 13 in the first and 14 in member 1"):
        ensemble.from_members([seq2seq.make_model(), seq2seq.make_model(vocab_size=14)])
    with pytest.raises(ValueError, match="`model_type` is 'attention_seq2seq' in the first"):
        ensemble.from_members([seq2seq.make_model(), captioner.make_model()])
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


def test_tied_members_stay_tied(tmp_path: Path) -> None:
    ensemble = AttentionEnsembleForConditionalGeneration.from_members(
        [FACTORIES[0].make_model(tie_word_embeddings=True), FACTORIES[0].make_model()]
    )
    ensemble.save_pretrained(tmp_path)
    loaded, info = AttentionEnsembleForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    heads = [member.lm_head.weight is member.model.decoder.embed_tokens.weight for member in loaded.members]
    assert heads == [True, False]
    for name, tensor in ensemble.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_member_s_field_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    AttentionEnsembleForConditionalGeneration.from_members([FACTORIES[0].make_model()]).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["members"][0]["new_gate"] = True
    settings["hf_attention_version"] = "99.0"
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="does not know .'new_gate'.*saved by hf_attention 99.0"):
        AttentionEnsembleForConditionalGeneration.from_pretrained(tmp_path)
