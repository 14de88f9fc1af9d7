from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from common import tiny_models, tiny_vqa_models
from common.made import Made
from common.tiny_vqa import WORDS, make_model, make_processor
from datasets import Dataset
from PIL import Image
from transformers import (
    AutoModelForVisualQuestionAnswering,
    AutoTokenizer,
    BertConfig,
    RobertaConfig,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset
from transformers.utils import logging

from hf_attention import (
    AttentionVQAForConditionalGeneration,
    AttentionVQAForQuestionAnswering,
    VisualQuestionAnsweringPipeline,
)
from hf_attention.models.versions import AutoImageProcessor


PICTURES = list(tiny_models.make_pictures().values())
QUESTIONS = tiny_vqa_models.QUESTIONS
OWN_QUESTIONS = ["what colour is the circle", "how many ?"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    folders = Made(lambda name: str(tiny_models.save_tiny_model(name, root, tiny_vqa_models.MODELS)))
    torch.manual_seed(0)
    for name, model in (
        ("answering", make_model()),
        ("softmax", make_model(problem_type="single_label_classification")),
        ("generating", make_model(AttentionVQAForConditionalGeneration)),
    ):
        folders[name] = str(root / name)
        model.save_pretrained(folders[name])
        make_processor().save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def vilt(folders: dict[str, str]) -> VisualQuestionAnsweringPipeline:
    return pipeline("visual-question-answering", model=folders["vilt"], device="cpu")


@pytest.fixture(scope="module")
def answering(folders: dict[str, str]) -> VisualQuestionAnsweringPipeline:
    return pipeline("vqa", model=folders["answering"], device="cpu")


@pytest.fixture(scope="module")
def generating(folders: dict[str, str]) -> VisualQuestionAnsweringPipeline:
    return pipeline("vqa", model=folders["generating"], device="cpu", max_new_tokens=6)


def assert_same_answers(got: list, expected: list) -> None:
    assert len(got) == len(expected)
    for records, others in zip(got, expected, strict=True):
        assert [record["answer"] for record in records] == [other["answer"] for other in others]
        scores, other_scores = ([each["score"] for each in side if "score" in each] for side in (records, others))
        assert scores == pytest.approx(other_scores, rel=1e-5)


@pytest.mark.parametrize("name", ["vilt", "blip"])
@torch.no_grad()
def test_answers_equal_direct_calls(folders: dict[str, str], name: str) -> None:
    model = AutoModelForVisualQuestionAnswering.from_pretrained(folders[name]).eval()
    inputs = AutoTokenizer.from_pretrained(folders[name])(QUESTIONS[1], return_tensors="pt")
    inputs.update(AutoImageProcessor.from_pretrained(folders[name])(images=PICTURES[0], return_tensors="pt"))
    records = pipeline("vqa", model=folders[name], device="cpu", max_new_tokens=7)(PICTURES[0], QUESTIONS[1], top_k=2)
    if name == "vilt":
        scores = 1 / (1 + torch.exp(-model(**inputs).logits[0]))
        best = scores.argsort(descending=True)[:2].tolist()
        expected = [{"score": scores[i].item(), "answer": tiny_vqa_models.ANSWERS[i]} for i in best]
    else:
        tokens = model.generate(**inputs, max_new_tokens=7)[0]
        expected = [{"answer": AutoTokenizer.from_pretrained(folders[name]).decode(tokens, skip_special_tokens=True)}]
    assert_same_answers([records], [expected])


def test_forms_of_input(vilt: VisualQuestionAnsweringPipeline, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    PICTURES[0].save(path)
    one, *others = (vilt(image, question) for image in PICTURES[:2] for question in QUESTIONS[:2])
    first_image, first_question = [one, others[0]], [one, others[1]]
    pairs = [{"image": image, "question": QUESTIONS[0]} for image in PICTURES[:2]]
    for same_as_one in (
        vilt(image=PICTURES[0], question=QUESTIONS[0]),
        vilt(str(path), QUESTIONS[0]),
        vilt(path, QUESTIONS[0]),
        vilt(pairs[0]),
    ):
        assert_same_answers([same_as_one], [one])
    assert_same_answers(vilt(PICTURES[0], QUESTIONS[:2]), first_image)
    dataset = Dataset.from_list([{"image": str(path)}, {"image": str(path)}])
    for same_as_first_question in (
        vilt(PICTURES[:2], QUESTIONS[0]),
        vilt(pairs),
        vilt(pair for pair in pairs),
    ):
        assert_same_answers(list(same_as_first_question), first_question)
    assert_same_answers(vilt(KeyDataset(dataset, "image"), QUESTIONS[0]), [one, one])
    assert_same_answers(vilt(PICTURES[:2], QUESTIONS[:2]), [one, others[1], others[0], others[2]])
    assert_same_answers(vilt(PICTURES[:1], QUESTIONS[0]), [one])
    assert vilt([], QUESTIONS[0]) == vilt(PICTURES[0], []) == vilt([]) == []


@pytest.mark.parametrize("name", ["answering", "softmax", "generating"])
def test_a_batch_answers_like_single_questions(folders: dict[str, str], name: str) -> None:
    vqa = pipeline("vqa", model=folders[name], device="cpu", max_new_tokens=6)
    pairs = [{"image": image, "question": question} for image in PICTURES[:3] for question in OWN_QUESTIONS]
    singly = [vqa(**pair, output_attentions=True) for pair in pairs]
    together = vqa(pairs, output_attentions=True, batch_size=4)
    assert_same_answers(together, singly)
    for records, others in zip(together, singly, strict=True):
        for record, other in zip(records, others, strict=True):
            assert record.keys() == other.keys()
            for key in ("attentions", "word_attentions"):
                if key in record:
                    torch.testing.assert_close(record[key], other[key])


@torch.no_grad()
def test_scores_and_maps_of_known_answers(folders: dict[str, str]) -> None:
    inputs = make_processor()(PICTURES[0], OWN_QUESTIONS[0], return_tensors="pt")
    for name in ("answering", "softmax"):
        model = AutoModelForVisualQuestionAnswering.from_pretrained(folders[name]).eval()
        outputs = model(**inputs, output_attentions=True)
        exponentials = outputs.logits[0].exp()
        scores = exponentials / (1 + exponentials) if name == "answering" else exponentials / exponentials.sum()
        order = scores.argsort(descending=True).tolist()
        records = pipeline("vqa", model=folders[name], device="cpu")(
            PICTURES[0], OWN_QUESTIONS[0], top_k=9, output_attentions=True
        )
        assert [record["answer"] for record in records] == [model.config.id2label[number] for number in order]
        assert [record["score"] for record in records] == pytest.approx(scores[order].tolist())
        for record in records:
            assert record["attentions"].shape == (2, 16)
            torch.testing.assert_close(record["attentions"], torch.cat(outputs.attentions))


@torch.no_grad()
def test_maps_of_generated_answers(generating: VisualQuestionAnsweringPipeline) -> None:
    [record] = generating(PICTURES[1], OWN_QUESTIONS[1], output_attentions=True)
    assert record["words"] == ["how", "many", "?", "</s>"]
    steps = len(record["tokens"])
    assert record["attentions"].shape == (steps, 16) and record["word_attentions"].shape == (steps, 4)
    both = torch.cat([record["attentions"], record["word_attentions"]], 1)
    torch.testing.assert_close(both.sum(1), torch.ones(steps))
    # A teacher-forced pass over the answer looks the same way.
    inputs = make_processor()(PICTURES[1], OWN_QUESTIONS[1], return_tensors="pt")
    tokens = generating.tokenizer.convert_tokens_to_ids(["<s>", *record["tokens"][:-1]])
    outputs = generating.model(**inputs, decoder_input_ids=torch.tensor([tokens]), output_attentions=True)
    torch.testing.assert_close(both, outputs.cross_attentions[0][0, 0])
    assert generating(PICTURES[1], OWN_QUESTIONS[1]) == [{"answer": record["answer"]}]


def test_several_answers_are_generated(generating: VisualQuestionAnsweringPipeline) -> None:
    settings = {"num_beams": 3, "num_return_sequences": 2}
    records = generating(PICTURES[0], OWN_QUESTIONS, generate_kwargs=settings, batch_size=2, output_attentions=True)
    assert [len(answers) for answers in records] == [2, 2]
    assert records[0][0]["answer"] != records[0][1]["answer"]
    with pytest.raises(ValueError, match="twice"):
        generating(PICTURES[0], OWN_QUESTIONS, generate_kwargs={"max_new_tokens": 2}, max_new_tokens=3)


def test_without_attention_there_is_no_map(tmp_path: Path) -> None:
    make_model(attention_form=None).save_pretrained(tmp_path)
    make_processor().save_pretrained(tmp_path)
    vqa = pipeline("vqa", model=str(tmp_path), device="cpu")
    assert vqa(PICTURES[0], "what")
    with pytest.raises(ValueError, match="attention_form=None"):
        vqa(PICTURES[0], "what", output_attentions=True)


def test_saved_with_all_that_belongs_to_it(answering: VisualQuestionAnsweringPipeline, tmp_path: Path) -> None:
    answering.save_pretrained(tmp_path)
    again = pipeline("visual-question-answering", model=str(tmp_path), device="cpu")
    assert again(PICTURES[0], OWN_QUESTIONS[0]) == answering(PICTURES[0], OWN_QUESTIONS[0])


def test_what_is_missing_is_named(answering: VisualQuestionAnsweringPipeline) -> None:
    with pytest.raises(ValueError, match="no `image`"):
        answering(question="what")
    for image in (PICTURES[0], "room.jpg", Path("room.jpg")):
        with pytest.raises(ValueError, match="no `question`"):
            answering(image)
    with pytest.raises(ValueError, match="no 'question', only"):
        answering({"image": PICTURES[0]})
    with pytest.raises(ValueError, match="no 'image', only"):
        answering([{"question": "what"}])
    with pytest.raises(TypeError, match="without a question"):
        answering([PICTURES[0]])


@pytest.mark.parametrize(
    ("image", "question"),
    [
        ([1, 2], "what"),
        ([PICTURES[0], 3], ["what"]),
        (PICTURES[0], ["what", 3]),
        (PICTURES[0], 3),
        ([{"image": PICTURES[0], "question": "what"}], "how"),
        (3, "what"),
        (np.zeros((8, 8, 3)), "what"),
    ],
)
def test_lists_of_other_things_are_refused(
    answering: VisualQuestionAnsweringPipeline, image: object, question: object
) -> None:
    with pytest.raises(TypeError, match="takes an image and a question"):
        answering(image, question)


def test_pictures_of_several_sizes_in_a_batch(vilt: VisualQuestionAnsweringPipeline) -> None:
    asked = [{"image": image, "question": question} for image in PICTURES for question in QUESTIONS]
    assert len({image.size for image in PICTURES}) > 1
    alone = [vilt(each, top_k=99) for each in asked]
    for one, other in zip(alone, vilt(asked, batch_size=4, top_k=99), strict=True):
        assert [record["answer"] for record in one] == [record["answer"] for record in other]
        np.testing.assert_allclose([each["score"] for each in one], [each["score"] for each in other], atol=1e-6)


def test_a_bad_item_is_told_by_its_place(answering: VisualQuestionAnsweringPipeline) -> None:
    good = {"image": PICTURES[0], "question": "what"}
    for bad, message in (
        ({"image": None, "question": "what"}, "got no 'image'"),
        ({"image": PICTURES[0]}, "got no 'question'"),
        ({"image": 3, "question": "what"}, "An image must be"),
        (None, "takes an image and a question"),
    ):
        for inputs in ([good, bad], (good, bad), iter([good, bad])):
            with pytest.raises((TypeError, ValueError), match=f"At position 1 .*{message}"):
                list(answering(inputs))


def test_columns_of_pandas_and_arrays(answering: VisualQuestionAnsweringPipeline, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.png") for number in range(2)]
    for path, picture in zip(paths, PICTURES, strict=False):
        picture.save(path)
    expected = answering(paths, ["what", "where"])
    for of in (tuple, pd.Series, np.array):
        assert answering(of(paths), of(["what", "where"])) == expected


def test_bad_arguments(
    answering: VisualQuestionAnsweringPipeline, vilt: VisualQuestionAnsweringPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    for top_k in (-1, 2.0, "2"):
        with pytest.raises(ValueError, match="top_k"):
            answering(PICTURES[0], "what", top_k=top_k)
    assert answering(PICTURES[0], "what", top_k=0) == []
    assert len(answering(PICTURES[0], "what", top_k=np.int64(2))) == 2
    assert len(answering(PICTURES[0], "what", topk=2)) == min(5, answering.model.config.num_labels)
    assert "`topk=2` has no effect" in caplog.text
    with pytest.raises(ValueError, match="no such file"):
        answering("missing.png", "what")
    with pytest.raises(TypeError, match="question must be a string"):
        answering({"image": PICTURES[0], "question": 5})
    with pytest.raises(ValueError, match="ViltForQuestionAnswering does not say"):
        vilt(PICTURES[0], QUESTIONS[0], output_attentions=True)
    with pytest.raises(ValueError, match="no tokenizer"):
        VisualQuestionAnsweringPipeline(make_model(), image_processor=make_processor().image_processor)


def test_types_of_tokens_go_to_models_that_have_them(
    vilt: VisualQuestionAnsweringPipeline, folders: dict[str, str]
) -> None:
    blip = pipeline("visual-question-answering", model=folders["blip"], device="cpu", max_new_tokens=3)
    for made in (vilt, blip):
        expected = [record["answer"] for record in made(PICTURES[0], QUESTIONS[0])]
        names = made.tokenizer.model_input_names
        made.tokenizer.model_input_names = [*names, "token_type_ids"]
        assert [record["answer"] for record in made(PICTURES[0], QUESTIONS[0])] == expected
        made.tokenizer.model_input_names = names


def test_long_questions(answering: VisualQuestionAnsweringPipeline, vilt: VisualQuestionAnsweringPipeline) -> None:
    """A recurrent encoder reads any number of words; a model with positions says how many it has."""
    long = " ".join(["what colour is the circle"] * 2000)
    records = answering(PICTURES[0], long)
    assert records and all(np.isfinite(record["score"]) for record in records)
    with pytest.raises(ValueError, match=f"10002 tokens.*at most {tiny_vqa_models.MAX_POSITIONS}.*truncation"):
        vilt(PICTURES[0], long)
    assert vilt(PICTURES[0], long, truncation=True)


def test_a_question_longer_than_in_training_is_warned_of(
    answering: VisualQuestionAnsweringPipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.warning_once.cache_clear()
    monkeypatch.setattr(answering.tokenizer, "model_max_length", 3)
    answering(PICTURES[0], "what colour is the circle", truncation=True)
    assert not caplog.text
    answering(PICTURES[0], "what colour is the circle")
    assert "A question has more tokens than the tokenizer's `model_max_length`, 3, and is read whole" in caplog.text
    assert "indexing errors" not in caplog.text


@pytest.mark.parametrize("model_class", [AttentionVQAForQuestionAnswering, AttentionVQAForConditionalGeneration])
@pytest.mark.parametrize("encoder_class", [BertConfig, RobertaConfig])
def test_long_questions_for_a_pretrained_encoder(model_class: type, encoder_class: type) -> None:
    """Roberta's positions begin behind that of the padding."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    encoder = encoder_class(vocab_size=4 + len(WORDS), max_position_embeddings=12, pad_token_id=0, **sizes)
    limit = 12 if encoder_class is BertConfig else 11
    vqa = VisualQuestionAnsweringPipeline(
        make_model(model_class, question_encoder_config=encoder),
        tokenizer=make_processor().tokenizer,
        image_processor=make_processor().image_processor,
        device="cpu",
    )
    assert vqa(PICTURES[0], "what " * (limit - 1))
    with pytest.raises(ValueError, match=f"{limit + 1} tokens.*at most {limit}.*truncation"):
        vqa(PICTURES[0], "what " * limit)
    assert vqa(PICTURES[0], "what " * 10_000, truncation=True)


def test_scores_that_are_no_numbers_are_reported() -> None:
    model, processor = make_model(), make_processor()
    with torch.no_grad():
        model.get_encoder().image_encoder.projection[0].weight[0, 0] = torch.nan
    vqa = VisualQuestionAnsweringPipeline(
        model, tokenizer=processor.tokenizer, image_processor=processor.image_processor, device="cpu"
    )
    with pytest.raises(ValueError, match="not finite.*weights"):
        vqa(PICTURES[0], "what")


@pytest.mark.parametrize("question", ["", "   "])
def test_a_question_of_spaces_is_only_the_closing_token(
    answering: VisualQuestionAnsweringPipeline, question: str
) -> None:
    inputs = make_processor()(PICTURES[0], question, return_tensors="pt")
    assert inputs["input_ids"].tolist() == [[3]]
    with torch.no_grad():
        expected = answering.model(**inputs).logits.sigmoid().max().item()
    assert answering(PICTURES[0], question, top_k=1)[0]["score"] == pytest.approx(expected)


def test_images_of_any_mode(answering: VisualQuestionAnsweringPipeline) -> None:
    grey = Image.linear_gradient("L").resize((40, 30))
    expected = answering(grey.convert("RGB"), "what")
    for mode in ("RGBA", "P", "L"):
        assert_same_answers([answering(grey.convert(mode), "what")], [expected])


@pytest.mark.parametrize("model_class", [AttentionVQAForQuestionAnswering, AttentionVQAForConditionalGeneration])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_picture_is_looked_at_once(model_class: type, batch_size: int) -> None:
    """Whatever the order of pictures and questions: the answers are those that each question has by itself."""
    torch.manual_seed(0)
    model = make_model(model_class, box_positions=True).eval()
    options = {"max_new_tokens": 5} if model.can_generate() else {}
    vqa = VisualQuestionAnsweringPipeline(model=model, processor=make_processor(), device="cpu", **options)
    looked_at = []
    model.get_encoder("image").backbone.register_forward_pre_hook(
        lambda module, args, kwargs: looked_at.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    questions = [*OWN_QUESTIONS, "what colour ?"]
    alone = [vqa(image=picture, question=asked) for asked in questions for picture in PICTURES]
    assert sum(looked_at) == len(alone)

    looked_at.clear()
    assert_same_answers(vqa(image=PICTURES, question=questions, batch_size=batch_size), alone)
    assert sum(looked_at) == len(PICTURES)

    looked_at.clear()
    numbers = (0, 0, 1, 0, 1, 1, 1)
    mixed = [{"image": PICTURES[number], "question": questions[0]} for number in numbers]
    got = vqa(mixed, batch_size=batch_size, output_attentions=True)
    assert_same_answers(got, [alone[number] for number in numbers])
    assert sum(looked_at) == 4

    with torch.no_grad():  # the next call knows nothing of the old weights
        for weights in model.get_encoder("image").backbone.parameters():
            weights.normal_()
    looked_at.clear()
    vqa(image=PICTURES[1], question=questions[0])
    assert looked_at == [1]
