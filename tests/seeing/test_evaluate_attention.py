import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from common import tiny_captioner
from common.scripts import load_script
from PIL import Image

from hf_attention import (
    AttentionCaptionerForConditionalGeneration,
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionVQAConfig,
    AttentionVQAForQuestionAnswering,
    AttentionVQAProcessor,
)
from hf_attention.scenes import make_scene_questions
from hf_attention.scenes.scene import COLOURS, SHAPES
from hf_attention.scenes.toy_language import TOY_LANGUAGE, make_translations
from hf_attention.training.data.tokenization import train_tokenizer


script = load_script("evaluate_attention")

# A grid of 4x4 over a picture of 32x32.
GRID = torch.tensor([[8.0 * c, 8.0 * r, 8.0 * c + 8, 8.0 * r + 8] for r in range(4) for c in range(4)])
FEW = {"samples": 4, "image_size": 32, "eval_batch_size": 3, "resamples": 100}


def arguments(**options):
    return script.EvaluationArguments(model=[], **FEW | options)


def look(weights: torch.Tensor, box: tuple[int, int, int, int], picture: int = 0):
    return script.Look(picture, weights, GRID, [box], "noun", None)


def peaked(*cells: int) -> torch.Tensor:
    weights = torch.zeros(16)
    weights[list(cells)] = 1 / len(cells)
    return weights


def test_which_regions_lie_in_boxes_by_counting_pixels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        boxes = []
        for _ in range(2):
            left, top = rng.integers(0, 24, 2)
            boxes.append((left, top, left + rng.integers(1, 8), top + rng.integers(1, 8)))
        mask = np.zeros((32, 32), bool)
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] = True
        cells = mask.reshape(4, 8, 4, 8).swapaxes(1, 2).reshape(16, 64)
        hits, shares = script.covered(GRID, boxes)
        assert hits.tolist() == cells.any(1).tolist()
        assert np.allclose(shares, cells.mean(1))
    # Edges that touch do not intersect; parts of pixels count.
    hits, shares = script.covered(torch.tensor([[0, 0, 8.0, 8], [6.5, 0, 8.5, 2]]), [(8, 0, 16, 8)])
    assert hits.tolist() == [False, True] and shares.tolist() == [0, 0.25]


def test_pointing_and_its_chance():
    box = (0, 0, 12, 8)  # the first cell, and half of the second
    measures = script.pointing([look(peaked(0), box), look(peaked(1), box), look(peaked(2), box)])
    assert measures["looks"] == 3
    assert measures["pointing"] == pytest.approx(2 / 3)
    assert measures["pointing_by_chance"] == pytest.approx(2 / 16)
    assert measures["attention_inside"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert measures["attention_inside_uniform"] == pytest.approx(12 * 8 / 32**2)
    uniform = script.pointing([look(torch.full((16,), 1 / 16), box)])
    assert uniform["attention_inside"] == pytest.approx(uniform["attention_inside_uniform"])
    assert math.isnan(script.pointing([])["pointing"])


def test_regions_are_painted_over_with_the_mean_colour():
    image = Image.new("RGB", (32, 32), (200, 0, 100))
    image.paste((0, 0, 0), (0, 0, 16, 32))
    blanked = np.array(script.blank(image, GRID[[1, 15]]))
    assert (blanked[:8, 8:16] == [100, 0, 50]).all() and (blanked[24:, 24:] == [100, 0, 50]).all()
    untouched = np.ones((32, 32), bool)
    untouched[:8, 8:16] = untouched[24:, 24:] = False
    assert (blanked[untouched] == np.array(image)[untouched]).all()


def test_deletion_takes_away_the_most_attended_tenth():
    """Two cells hold what the answer hangs on; all attention lies there. As many random ones seldom hit them."""
    image = Image.new("RGB", (32, 32))
    image.paste((255, 255, 255), (8, 8, 24, 16))  # the cells 5 and 6

    def has_changed(looks, pictures):
        return [picture.getpixel((12, 12)) != (255, 255, 255) for picture in pictures]

    looks = [look(peaked(5, 6), (8, 8, 24, 16), picture) for picture in range(200)]
    measures = script.deletion(looks, [image] * 200, has_changed, arguments(resamples=2000))
    assert measures["changed_without_most_attended"] == 1
    assert measures["changed_without_random"] == pytest.approx(2 / 16, abs=0.08)
    assert 0.7 < measures["difference_low"] < measures["difference"] < measures["difference_high"] < 1


def test_the_interval_is_over_pictures():
    """Values of one picture stick together: so many copies of ten draws are worth ten, not a thousand."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=10)
    low, high = script.bootstrap(np.repeat(means, 100), np.repeat(np.arange(10), 100), 4000, rng)
    width = 2 * 1.96 * means.std() / math.sqrt(10)
    assert high - low == pytest.approx(width, rel=0.15)
    assert low < means.mean() < high


@pytest.fixture(scope="module")
def words() -> list[str]:
    return ["a", *COLOURS, *(noun for nouns in SHAPES.values() for noun in nouns)]


def save_captioner(folder: Path, words: list[str], **settings) -> str:
    """One that says what it always says: a colour and a shape, over and over."""
    model = tiny_captioner.make_model(AttentionCaptionerForConditionalGeneration, words=words, **settings)
    model.lm_head.weight.data.zero_()
    model.generation_config.max_length = 5
    model.save_pretrained(folder)
    tiny_captioner.make_processor(words).save_pretrained(folder)
    return str(folder)


def test_a_captioner_from_its_folder(tmp_path, words, monkeypatch, capsys):
    folder = save_captioner(tmp_path / "captioner", words)
    # It cannot caption; what it would say of each scene is put in its mouth.
    texts = iter(["a red circle", "a blue star a white ring"] * 2)
    monkeypatch.setattr(
        AttentionCaptionerForConditionalGeneration, "generate", lambda self, pixel_values: pixel_values
    )
    monkeypatch.setattr(
        tiny_captioner.AttentionCaptionerProcessor, "batch_decode", lambda self, ids, **_: [next(texts) for _ in ids]
    )
    few = ["--samples", "4", "--image_size", "32", "--eval_batch_size", "3"]
    script.main(["--model", folder, *few, "--split", "test", "--json", str(tmp_path / "out.json")])
    [measures] = json.loads((tmp_path / "out.json").read_text()).values()
    assert measures["kind"] == "captions" and measures["pairs_named"] == 6
    things = [
        {(thing["colour"], thing["shape"]) for thing in objects}
        for objects in script._scenes(script.make_scenes, arguments(split="test"), captions_per_scene=1)["objects"]
    ]
    said = [[("red", "circle")], [("blue", "star"), ("white", "ring")]] * 2
    right = sum(pair in present for pairs, present in zip(said, things, strict=True) for pair in pairs)
    assert measures["nouns"]["looks"] == measures["colours"]["looks"] == right
    assert measures["pairs_right"] == right / 6
    assert "(captions)" in capsys.readouterr().out


def test_the_words_of_a_caption_are_found_whatever_their_tokens(words):
    tokenizer = train_tokenizer(["a red circle above a blue triangle"] * 3, tokenizer_type="bpe", vocab_size=290)
    text = "a red circle above a blue triangle"
    encoding = tokenizer(text, return_offsets_mapping=True)
    start = text.index("triangle")
    tokens = script.tokens_of(encoding["offset_mapping"], start, start + len("triangle"))
    assert tokenizer.decode([encoding["input_ids"][token] for token in tokens]).strip() == "triangle"


def test_a_translator_that_looks_where_it_should(tmp_path, monkeypatch):
    sentences = [row["translation"] for row in make_translations(train=60, validation=1, test=4)["train"]]
    tokenizer = train_tokenizer((text for row in sentences for text in row.values()), min_count=1)
    sizes = {"embedding_size": 4, "hidden_size": 8, "encoder_hidden_size": 3, "attention_size": 4}
    model = AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    measured = script.measure(str(tmp_path), arguments(samples=3))
    assert 0 < measured["alignment_error_rate"] < 1

    test = make_translations(train=0, validation=0, test=3)["test"]
    known = {row["translation"]["en"]: row["alignment"] for row in test}
    lengths = [len(row["alignment"]) for row in test]
    monkeypatch.setattr(script.Translations, "_links", lambda self, source, target: known[source])
    assert script.measure(str(tmp_path), arguments(samples=3))["alignment_error_rate"] == 0
    # One word of each sentence without a link, of n: 1 - 2 (n - 1) / (n - 1 + n).
    monkeypatch.setattr(script.Translations, "_links", lambda self, source, target: [None, *known[source][1:]])
    words, missing = sum(lengths), len(lengths)
    expected = 1 - 2 * (words - missing) / (2 * words - missing)
    assert script.measure(str(tmp_path), arguments(samples=3))["alignment_error_rate"] == pytest.approx(expected)


def test_links_are_the_maxima_of_maps_merged_into_words(tmp_path, monkeypatch):
    row = make_translations(train=0, validation=0, test=1)["test"][0]["translation"]
    source, target = row["en"], row[TOY_LANGUAGE]
    tokenizer = train_tokenizer([source, target], tokenizer_type="bpe", vocab_size=270)
    sizes = {"embedding_size": 4, "hidden_size": 8, "encoder_hidden_size": 3, "attention_size": 4}
    model = AttentionSeq2SeqForConditionalGeneration(AttentionSeq2SeqConfig(vocab_size=len(tokenizer), **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    translations = script.Translations(str(tmp_path), arguments())
    wanted = [position % len(source.split()) for position in range(len(target.split()))]
    ids, target_ids = tokenizer(source)["input_ids"], tokenizer(target)["input_ids"]
    assert len(ids) > 1.5 * len(source.split())

    def words_of(ids: list[int]) -> list[int]:
        """By what the tokens up to each one spell; a space goes with the word behind it."""
        spaces = [token == "\u0120" for token in tokenizer.convert_ids_to_tokens(ids)]
        spelled = [len(tokenizer.decode(ids[: number + 1]).split()) for number in range(len(ids) - 1)]
        return [count - 1 + is_space for count, is_space in zip(spelled, spaces, strict=False)]

    of_source, of_target = words_of(ids), words_of(target_ids)
    # On the tokens of the wanted word together there is the most attention, on each of them less than on the end.
    maps = torch.zeros(1, 1, len(target_ids), len(ids))
    for number, word in enumerate(of_target):
        columns = [column for column, other in enumerate(of_source) if other == wanted[word]]
        maps[0, 0, number, columns] = 0.6 / len(columns)
        maps[0, 0, number, -1] = 0.4
    outputs = type("Outputs", (), {"cross_attentions": (maps,)})
    monkeypatch.setattr(translations, "model", lambda **inputs: outputs)
    assert translations._links(source, target) == wanted
    maps[0, 0, :, -1] = 0.7  # the end of the sentence is no word
    assert translations._links(source, target) == [None] * len(wanted)


def test_an_answering_model_from_its_folder(tmp_path):
    questions = make_scene_questions(train=0, validation=0, test=4, held_out=0, image_size=32)["test"]
    answers = sorted(set(questions["answer"]))
    vocabulary = sorted({word for text in questions["question"] for word in text.strip("?").split()})
    processor = AttentionVQAProcessor(
        tiny_captioner.make_processor().image_processor, tiny_captioner.make_tokenizer(vocabulary)
    )
    config = AttentionVQAConfig(
        vocab_size=len(processor.tokenizer),
        backbone_config=tiny_captioner.make_backbone_config("vit"),
        id2label=dict(enumerate(answers)),
        embedding_size=4,
        encoder_hidden_size=6,
        memory_size=7,
        attention_size=5,
    )
    AttentionVQAForQuestionAnswering(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    measures = script.measure(str(tmp_path), arguments(split="test"))
    assert measures["kind"] == "answers" and 0 <= measures["answers_right"] <= 1
    assert measures["all"]["looks"] <= len(questions)


def test_what_cannot_be_measured_is_refused(tmp_path, words):
    folder = save_captioner(tmp_path / "blind", words, attention_type=None)
    with pytest.raises(ValueError, match="does not attend: .* `attention_type=None`"):
        script.measure(folder, arguments())
    tiny_captioner.make_backbone_config("vit").save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="'vit', which is none of attention_captioner"):
        script.measure(str(tmp_path / "vit"), arguments())
    for name, value in (("samples", 0), ("split", "all")):
        with pytest.raises(ValueError, match=f"`{name}` must be .* got '?{value}"):
            arguments(**{name: value})
