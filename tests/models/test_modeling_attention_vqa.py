import json
from pathlib import Path

import pytest
import torch
from common.factories import END, make_questions, take
from common.tiny_vqa import ANSWERS, make_config, make_model, make_processor
from torch.testing import assert_close
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForVisualQuestionAnswering,
    BertConfig,
    BertModel,
    ViTModel,
    pipeline,
)

from hf_attention import (
    AttentionVQAConfig,
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
    AttentionVQAModel,
)


FORMS = ("stacked", "glimpses", "bilinear", "top_down", None)
HEADS = (AttentionVQAForQuestionAnswering, AttentionVQAForConditionalGeneration)
over_forms = pytest.mark.parametrize("form", FORMS)
over_heads = pytest.mark.parametrize("head", HEADS)


def answering(form: str | None = "glimpses", **settings) -> AttentionVQAForQuestionAnswering:
    """Without a backbone, for the inputs of the common suite."""
    return make_model(backbone=None, region_size=9, attention_form=form, **settings)


@over_forms
@torch.no_grad()
def test_a_batch_equals_single_runs(form: str | None) -> None:
    model, inputs = answering(form).double(), make_questions(4)
    inputs["region_features"] = inputs["region_features"].double()
    together = model(**inputs, output_attentions=True)
    for row in range(4):
        single = dict(take(inputs, row))
        words = int(single["attention_mask"].sum())
        single["input_ids"], single["attention_mask"] = single["input_ids"][:, :words], None
        regions = single["region_mask"][0].bool()
        single["region_features"], single["region_mask"] = single["region_features"][:, regions], None
        alone = model(**single, output_attentions=True)
        assert_close(alone.logits[0], together.logits[row])
        for one, other in zip(alone.attentions, together.attentions, strict=True):
            assert_close(one[0], other[row, regions])
            assert (other[row, ~regions] == 0).all()


@over_forms
@over_heads
@torch.no_grad()
def test_what_is_masked_does_not_matter(head: type, form: str | None) -> None:
    model, inputs = make_model(head, backbone=None, region_size=9, attention_form=form), make_questions(4)
    other = {name: value.clone() for name, value in inputs.items()}
    other["region_features"][inputs["region_mask"] == 0] = 55.0
    other["input_ids"][inputs["attention_mask"] == 0] = 7
    tokens = {} if head is HEADS[0] else {"decoder_input_ids": torch.full((4, 1), 2)}
    assert torch.equal(model(**inputs, **tokens).logits, model(**other, **tokens).logits)


@over_forms
@over_heads
@torch.no_grad()
def test_permuting_regions_permutes_the_maps(head: type, form: str | None) -> None:
    model, inputs = make_model(head, backbone=None, region_size=9, attention_form=form).double(), make_questions(3)
    inputs["region_features"] = inputs["region_features"].double()
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = {**inputs, **{name: inputs[name][:, order] for name in ("region_features", "region_mask")}}
    if head is AttentionVQAForQuestionAnswering:
        outputs, others = (model(**each, output_attentions=True) for each in (inputs, permuted))
        maps, other_maps = outputs.attentions, others.attentions
    else:
        tokens = {"decoder_input_ids": torch.tensor([[2, 5, 6]] * 3), "output_attentions": True}
        outputs, others = (model(**each, **tokens) for each in (inputs, permuted))
        maps, other_maps = outputs.cross_attentions, others.cross_attentions
        order = torch.cat([order, torch.arange(5, 8)])  # the words stay where they are
    assert_close(others.logits, outputs.logits)
    for one, other in zip(maps, other_maps, strict=True):
        assert_close(other, one[..., order])


@torch.no_grad()
def test_the_memory_of_the_generating_model() -> None:
    model, inputs = make_model(HEADS[1], backbone=None, region_size=9), make_questions(3)
    outputs = model.get_encoder()(**inputs, output_attentions=True)
    regions, words = inputs["region_mask"].shape[1], inputs["input_ids"].shape[1]
    assert outputs.last_hidden_state.shape == (3, regions + words, model.config.memory_size)
    assert outputs.is_region.tolist() == [[True] * regions + [False] * words] * 3
    assert torch.equal(outputs.memory_mask, torch.cat([inputs["region_mask"], inputs["attention_mask"]], 1))
    assert [weights.shape for weights in outputs.attentions] == [(3, regions)] * 2
    # What the decoder starts from is made of the joint vector.
    start = model.get_encoder().initial_state(outputs.pooler_output).tanh()
    assert_close(outputs.initial_states, torch.stack(start.chunk(2, -1), 1))
    # Without masks every position counts.
    bare = model.get_encoder()(input_ids=inputs["input_ids"], region_features=inputs["region_features"])
    assert bare.memory_mask is None


@torch.no_grad()
def test_generation_is_led_by_the_question() -> None:
    model, inputs = make_model(HEADS[1], backbone=None, region_size=9), make_questions(1)
    logits = [
        model(**{**inputs, "input_ids": ids}, decoder_input_ids=torch.tensor([[2]])).logits
        for ids in (inputs["input_ids"], inputs["input_ids"].flip(1))
    ]
    assert not torch.allclose(*logits)


def test_images_give_the_regions() -> None:
    model = make_model().double()
    pixel_values = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    ids = torch.tensor([[4, 5, 6], [7, 8, 9]])
    with torch.no_grad():
        expected = model(input_ids=ids, pixel_values=pixel_values).logits
        features = ViTModel.forward(model.get_encoder().image_encoder.backbone, pixel_values).last_hidden_state[:, 1:]
        assert_close(model(input_ids=ids, region_features=features).logits, expected)


@over_heads
@torch.no_grad()
def test_several_questions_share_an_image(head: type) -> None:
    model, inputs = make_model(head, backbone=None, region_size=9), make_questions(6)
    more = {} if head is HEADS[0] else {"decoder_input_ids": torch.full((6, 1), 2)}
    images = {name: inputs[name][::3] for name in ("region_features", "region_mask")}
    repeated = {name: value.repeat_interleave(3, 0) for name, value in images.items()}
    shared = model(**{**inputs, **images}, **more).logits
    assert_close(shared, model(**{**inputs, **repeated}, **more).logits)


def test_normalized_regions_have_length_one() -> None:
    model, inputs = answering(normalize_regions=True), make_questions(2)
    with torch.no_grad():
        expected = model(**inputs).logits
        inputs["region_features"] *= torch.tensor([0.1, 7.0, 3.0, 0.5, 2.0])[:, None]
        assert_close(model(**inputs).logits, expected)


def test_boxes_are_part_of_the_regions() -> None:
    model, inputs = answering("top_down", box_positions=True), make_questions(2)
    boxes = torch.rand(2, 5, 4)
    with torch.no_grad():
        assert not torch.allclose(
            model(**inputs, region_boxes=boxes).logits, model(**inputs, region_boxes=boxes.flip(1)).logits
        )
    with pytest.raises(ValueError, match="region_boxes"):
        model(**inputs)


@over_heads
def test_what_is_missing_is_named(head: type) -> None:
    model, inputs = make_model(head, backbone=None, region_size=9), make_questions(3)
    more = {} if head is HEADS[0] else {"decoder_input_ids": torch.full((3, 1), 2)}
    features, ids = inputs["region_features"], inputs["input_ids"]
    with pytest.raises(ValueError, match="no question"):
        model(region_features=features, **more)
    with pytest.raises(ValueError, match="no image"):
        model(input_ids=ids, **more)
    with pytest.raises(ValueError, match="2 questions and 3 images"):
        model(input_ids=ids[:2], region_features=features, **more)
    with pytest.raises(ValueError, match="3 questions and 2 images"):
        model(input_ids=ids, region_features=features[:2], **more)
    with pytest.raises(ValueError, match=r"\[1\].*masked as a whole"):
        model(input_ids=ids, region_features=features, region_mask=torch.tensor([[1] * 5, [0] * 5, [1] * 5]), **more)
    with pytest.raises(ValueError, match="backbone_config"):
        model(input_ids=ids, pixel_values=torch.rand(3, 3, 32, 32), **more)


@over_forms
def test_every_weight_is_trained(form: str | None) -> None:
    """Also in the generating model, whatever its decoder starts from."""
    inputs = make_questions(2)
    models = [(answering(form), torch.rand(2, len(ANSWERS)))]
    for start in ("joint", "memory_mean", "zeros"):
        model = make_model(HEADS[1], backbone=None, region_size=9, attention_form=form, initial_state=start)
        models.append((model, torch.tensor([[5, 6, END]] * 2)))
    for model, labels in models:
        model.train()(**inputs, labels=labels).loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@over_heads
def test_saved_and_loaded(head: type, tmp_path: Path) -> None:
    model = make_model(head, attention_form="top_down")
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [head.__name__]
    loaded = AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path)
    assert type(loaded) is head
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()
    assert config.id2label == dict(enumerate(ANSWERS))
    inputs = {"input_ids": torch.tensor([[4, 5]]), "pixel_values": torch.rand(1, 3, 32, 32)}
    # With decoder, and the question's words in the memory, where the head has them.
    for load in (AutoModel, AttentionVQAModel):
        base = load.from_pretrained(tmp_path)
        assert type(base) is type(model.model)
        assert base.state_dict().keys() == model.model.state_dict().keys()
        with torch.no_grad():
            found, expected = base.get_encoder()(**inputs), model.get_encoder()(**inputs)
        assert_close(found.last_hidden_state, expected.last_hidden_state)
        assert_close(found.pooler_output, expected.pooler_output)
    # As it is when it is saved without its head.
    base.save_pretrained(tmp_path / "base")
    assert type(AutoModel.from_pretrained(tmp_path / "base")) is type(base)


def test_a_checkpoint_never_loads_as_the_other_head(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for head in HEADS:
        make_model(head).save_pretrained(tmp_path / head.__name__)
        make_processor().save_pretrained(tmp_path / head.__name__)
    answering_folder, generating_folder = (str(tmp_path / head.__name__) for head in HEADS)
    for load in (AutoModelForImageTextToText, AttentionVQAForConditionalGeneration):
        with pytest.raises(ValueError, match="checkpoint of AttentionVQAForQuestionAnswering"):
            load.from_pretrained(answering_folder)
    with pytest.raises(ValueError, match="checkpoint of AttentionVQAForConditionalGeneration"):
        AttentionVQAForQuestionAnswering.from_pretrained(generating_folder)
    for task in ("image-to-text", "image-text-to-text"):
        with pytest.raises(ValueError, match="checkpoint of AttentionVQAForQuestionAnswering"):
            pipeline(task, model=answering_folder)
    assert "LOAD REPORT" not in capfd.readouterr().err
    for folder, head in ((answering_folder, HEADS[0]), (generating_folder, HEADS[1])):
        for task in ("visual-question-answering", "vqa"):
            assert type(pipeline(task, model=folder).model) is head
    # Even where config.json does not say which head it is.
    config = json.loads((tmp_path / HEADS[1].__name__ / "config.json").read_text())
    (tmp_path / HEADS[1].__name__ / "config.json").write_text(json.dumps({**config, "architectures": None}))
    with pytest.raises(ValueError, match="checkpoint of AttentionVQAForConditionalGeneration"):
        AutoModelForVisualQuestionAnswering.from_pretrained(generating_folder)


def test_an_auto_class_makes_a_new_model_of_a_configuration() -> None:
    assert type(AutoModelForVisualQuestionAnswering.from_config(make_config())) is AttentionVQAForQuestionAnswering


def test_a_head_is_put_on_the_encoder(tmp_path: Path) -> None:
    """With new weights of its own, as in all of transformers."""
    make_model(AttentionVQAModel).save_pretrained(tmp_path)
    base = AttentionVQAModel.from_pretrained(tmp_path)
    for head in HEADS:
        model = head.from_pretrained(tmp_path)
        for name, tensor in base.state_dict().items():
            assert torch.equal(model.model.state_dict()[name], tensor)


@over_heads
def test_resized_vocabulary(head: type) -> None:
    model, inputs = make_model(head, backbone=None, region_size=9), make_questions(2)
    more = {} if head is HEADS[0] else {"decoder_input_ids": torch.full((2, 1), 2)}
    old = model.config.vocab_size
    with torch.no_grad():
        before = model(**inputs, **more).logits
        model.resize_token_embeddings(old + 3)
        assert_close(model(**inputs, **more).logits[..., : before.shape[-1]], before)
        inputs["input_ids"][:, 0] = old + 2
        model(**inputs, **more)
    assert model.config.vocab_size == old + 3
    assert model.get_input_embeddings().num_embeddings == old + 3


@pytest.mark.parametrize("frozen", [False, True])
def test_a_pretrained_text_encoder(frozen: bool, tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertModel(BertConfig(vocab_size=30, **sizes)).eval()
    bert.save_pretrained(tmp_path / "bert")
    vit = make_model().get_encoder().image_encoder.backbone
    vit.save_pretrained(tmp_path / "vit")
    model = AttentionVQAForQuestionAnswering.from_parts_pretrained(
        tmp_path / "vit", tmp_path / "bert", freeze_question_encoder=frozen, memory_size=7, vocab_size=30
    ).eval()
    assert model.config.region_size == 16 and model.config.question_size == 8
    ids, mask = torch.tensor([[4, 5, 6], [7, 8, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    pixel_values = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        words, vector, _ = model.get_encoder().question_encoder(ids, mask)
        alone = bert(ids[1:, :2]).last_hidden_state
        assert_close(words[1, :2], alone[0])
        assert_close(vector[1], alone[0].mean(0))
    inputs = {"input_ids": ids, "attention_mask": mask, "pixel_values": pixel_values}
    model.train()(**inputs, labels=torch.rand(2, 2)).loss.backward()
    weight = model.get_encoder().question_encoder.encoder.embeddings.word_embeddings.weight
    assert (weight.grad is None) == frozen
    assert all(p.grad is None for p in model.get_encoder().image_encoder.backbone.parameters())
    model.eval().save_pretrained(tmp_path / "saved")
    loaded = AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        assert_close(loaded(**inputs).logits, model(**inputs).logits)
    with pytest.raises(ValueError, match="either"):
        AttentionVQAForQuestionAnswering.from_parts_pretrained(config=make_config(), memory_size=7)


@pytest.mark.parametrize("name", ["stacked", "show_ask", "top_down"])
def test_the_papers_settings(name: str) -> None:
    config = getattr(AttentionVQAConfig, name)(region_size=20, memory_size=20, vocab_size=30, num_labels=4)
    model = AttentionVQAForQuestionAnswering(config).eval()
    outputs = model(input_ids=torch.tensor([[5, 6]]), region_features=torch.rand(1, 6, 20), output_attentions=True)
    assert outputs.logits.shape == (1, 4)
    assert len(outputs.attentions) == (1 if name == "top_down" else 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention_form": "hard"}, "attention_form"),
        ({"attention_form": "top_down", "num_glimpses": 2}, "num_glimpses"),
        ({"attention_form": "stacked", "joint_size": 5}, "joint_size"),
        ({"num_glimpses": 0}, "num_glimpses"),
        ({"encoder_hidden_size": 0}, "joint_size|encoder_hidden_size"),
        ({"encoder_rnn_type": "rnn"}, "encoder_rnn_type"),
        ({"question_dropout": 1.0}, "question_dropout"),
        ({"joint_dropout": -0.1}, "joint_dropout"),
        ({"problem_type": "regression"}, "problem_type"),
        ({"initial_state": "final_states"}, "initial_state"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionVQAConfig(**settings)


def test_bfloat16() -> None:
    model, inputs = answering().bfloat16(), make_questions(2)
    outputs = model(**inputs, labels=torch.rand(2, len(ANSWERS)), output_attentions=True)
    assert outputs.logits.dtype == torch.bfloat16 and outputs.loss.dtype == torch.float32
    assert outputs.attentions[0].dtype == torch.float32
