"""Data sets of pictures in the forms that people have, written by hand and compared with what is read."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict
from PIL import Image

from hf_attention.training.data.image_splits import load_captioned_splits, load_image_splits


COCO = {
    "info": {},
    "images": [{"id": 7, "file_name": "b.png", "height": 4}, {"id": 3, "file_name": "a.png", "height": 4}],
    "annotations": [
        {"id": 1, "image_id": 3, "caption": "one"},
        {"id": 2, "image_id": 7, "caption": "three\n"},
        {"id": 3, "image_id": 3, "caption": "two"},
    ],
}
KARPATHY = {
    "dataset": "coco",
    "images": [
        {"filename": name, "filepath": "val2014", "split": split, "sentences": [{"raw": raw, "tokens": []}]}
        for name, split, raw in (
            ("a.png", "train", "one"),
            ("b.png", "restval", "two"),
            ("c.png", "val", "three"),
            ("d.png", "test", "four"),
        )
    ],
}
TOKENS = 'a.png#0\tone , quoted "so"\na.png#1\ttwo\nb.png#0\tthree\n'
TWO = {"a.png": ["one", "two"], "b.png": ["three"]}
FOUR = {
    "train": {"a.png": ["one"], "b.png": ["two"]},
    "validation": {"c.png": ["three"]},
    "test": {"d.png": ["four"]},
}


def write(folder: Path, files: Mapping[str, Any]) -> str:
    """Files by their names: texts, JSON, or small pictures."""
    for number, (name, content) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(folder)


def pictures(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


def captions_of(splits: DatasetDict) -> dict[str, dict[str, list[str]]]:
    """For each split the captions of each picture, by the file's name; the pictures can be read."""
    return {
        split: {Path(row["image"].filename).name: [text.strip() for text in texts(row["captions"])] for row in rows}
        for split, rows in splits.items()
    }


def texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("files", "expected", "said"),
    [
        (
            {"metadata.csv": "file_name,text\na.png,one\na.png,two\nb.png,three\n", **pictures("a.png", "b.png")},
            {"train": TWO},
            "took the column 'text'",
        ),
        (
            {
                "metadata.jsonl": '{"file_name": "a.png", "captions": ["one", "two"]}\n'
                '{"file_name": "b.png", "captions": ["three"]}\n',
                **pictures("a.png", "b.png"),
            },
            {"train": TWO},
            "",
        ),
        (
            {
                f"{split}/{name}": content
                for split, picture in (("train", "a.png"), ("validation", "b.png"), ("test", "c.png"))
                for name, content in (("metadata.csv", f"file_name,caption\n{picture},of {split}\n"), (picture, None))
            },
            {
                "train": {"a.png": ["of train"]},
                "validation": {"b.png": ["of validation"]},
                "test": {"c.png": ["of test"]},
            },
            "took the column 'caption'",
        ),
        (
            {
                "captions.txt": 'image,caption\na.png,"one, two"\na.png,three, four\nb.png,None\n',
                **pictures("Images/a.png", "Images/b.png"),
            },
            {"train": {"a.png": ["one, two", "three, four"], "b.png": ["None"]}},
            "read as a table of pictures",
        ),
        (
            {
                "Flickr8k_text/Flickr8k.token.txt": TOKENS,
                **pictures("Flickr8k_Dataset/Flicker8k_Dataset/a.png", "Flickr8k_Dataset/Flicker8k_Dataset/b.png"),
            },
            {"train": {"a.png": ['one , quoted "so"', "two"], "b.png": ["three"]}},
            "read as Flickr8k's tokens",
        ),
        (
            {
                "Flickr8k.token.txt": TOKENS + "c.png#0\tfour\n",
                "Flickr_8k.trainImages.txt": "b.png\n",
                "Flickr_8k.devImages.txt": "a.png\n",
                **pictures("images/a.png", "images/b.png", "images/c.png"),
            },
            {"train": {"b.png": ["three"]}, "validation": {"a.png": ['one , quoted "so"', "two"]}},
            "Flickr8k's tokens",
        ),
        (
            {"dataset_coco.json": KARPATHY, **pictures(*(f"val2014/{name}.png" for name in "abcd"))},
            FOUR,
            "Karpathy's splits",
        ),
        ({"dataset_coco.json": KARPATHY, **pictures(*(f"flat/{name}.png" for name in "abcd"))}, FOUR, "flat"),
        (
            {
                "annotations/captions_train2017.json": COCO,
                "annotations/captions_val2017.json": {
                    "images": [{"id": 1, "file_name": "c.png"}],
                    "annotations": [{"image_id": 1, "caption": "four"}],
                },
                "annotations/instances_train2017.json": "not read",
                **pictures("train2017/a.png", "train2017/b.png", "val2017/c.png"),
            },
            {"train": TWO, "validation": {"c.png": ["four"]}},
            "COCO's captions",
        ),
        (
            {
                "train.tsv": "path\tcaption\npictures/a.png\tone\npictures/a.png\ttwo\npictures/b.png\tthree\n",
                "valid.tsv": "path\tcaption\npictures/c.png\tfour\n",
                **pictures(*(f"pictures/{name}.png" for name in "abc")),
            },
            {"train": TWO, "validation": {"c.png": ["four"]}},
            "took the column 'path'",
        ),
        (
            {
                "photos.json": [{"image": "a.png", "text": "one"}, {"image": "a.png", "text": "two"}],
                **pictures("a.png"),
            },
            {"train": {"a.png": ["one", "two"]}},
            "took the column 'text'",
        ),
        (
            {
                "results.csv": 'image_name| comment_number| comment\na.png| 0| one , quoted "so"\na.png| 1| "two"\n',
                **pictures("flickr30k_images/a.png"),
            },
            {"train": {"a.png": ['one , quoted "so"', '"two"']}},
            "took the column 'comment'",
        ),
        (
            {
                "Flickr8k_text/Flickr8k.token.txt": TOKENS,
                "Flickr8k_text/Flickr8k.lemma.token.txt": TOKENS.replace("three", "lemma"),
                "Flickr8k_text/CrowdFlowerAnnotations.txt": "a.png\tb.png#2\t0\n",
                **pictures("Flicker8k_Dataset/a.png", "Flicker8k_Dataset/b.png"),
            },
            {"train": {"a.png": ['one , quoted "so"', "two"], "b.png": ["three"]}},
            "",
        ),
        (
            {
                "PHOTOS.CSV": "\ufeffImage; Caption\r\nold\\a.png; one\r\n./b.png;two\r\nb.png;three\r\n",
                "._PHOTOS.csv": "\0",
                "._a.png": None,
                **pictures("old/a.png", "b.png"),
            },
            {"train": {"a.png": ["one"], "b.png": ["two", "three"]}},
            "Joined",
        ),
        (
            {"captions.txt": 'image\tcaption\na.png\tone, "two"\n', **pictures("a.png")},
            {"train": {"a.png": ['one, "two"']}},
            "",
        ),
        (
            {
                "dataset_val.json": {"images": [{"filename": "a.png", "sentences": [{"raw": "one"}]}]},
                **pictures("a.png"),
            },
            {"validation": {"a.png": ["one"]}},
            "Karpathy's splits",
        ),
    ],
    ids=[
        "metadata.csv",
        "metadata.jsonl",
        "subfolders",
        "captions.txt",
        "tokens",
        "tokens, divided",
        "Karpathy",
        "Karpathy, flat",
        "COCO",
        "paths",
        "JSON",
        "Flickr30k",
        "Flickr8k as downloaded",
        "of Excel and Windows, copied from a Mac",
        "captions.txt with tabs",
        "Karpathy, one split",
    ],
)
def test_captions(files: dict, expected: dict, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = load_captioned_splits(write(tmp_path, files))
    assert captions_of(found) == expected
    assert said in caplog.text


QUESTIONS = {
    "data_subtype": "val2014",
    "questions": [
        {"image_id": 42, "question": "Where is he?", "question_id": 1},
        {"image_id": 42, "question": "How many?", "question_id": 2},
    ],
}
ANNOTATIONS = {
    "annotations": [
        {"question_id": 2, "image_id": 42, "answers": [{"answer": "2", "answer_id": 1}, {"answer": "two"}]},
        {"question_id": 1, "image_id": 42, "answers": [{"answer": "net", "answer_id": 1}]},
    ],
}
DAQUAR = "what is on the table in the image3 ?\nlamp, cup\nhow many chairs are there of this image12 ?\n2\n\n"


@pytest.mark.parametrize(
    ("files", "split", "expected"),
    [
        (
            {
                "v2_OpenEnded_mscoco_val2014_questions.json": QUESTIONS,
                "v2_mscoco_val2014_annotations.json": ANNOTATIONS,
                "v2_OpenEnded_mscoco_test2015_questions.json": QUESTIONS,
                **pictures("val2014/COCO_val2014_000000000042.png", "val2014/COCO_val2014_000000000043.png"),
            },
            "validation",
            [
                ("COCO_val2014_000000000042.png", "Where is he?", ["net"]),
                ("COCO_val2014_000000000042.png", "How many?", ["2", "two"]),
            ],
        ),
        (
            {
                "Questions/v2_OpenEnded_mscoco_val2014_questions.json": QUESTIONS,
                "Annotations/v2_mscoco_val2014_annotations.json": ANNOTATIONS,
            },
            "validation",
            [
                ("COCO_val2014_000000000042.png", "Where is he?", ["net"]),
                ("COCO_val2014_000000000042.png", "How many?", ["2", "two"]),
            ],
        ),
        (
            {"qa.894.raw.train.txt": DAQUAR, **pictures("nyu/image3.png", "nyu/image12.png", "nyu/image1.png")},
            "train",
            [
                ("image3.png", "what is on the table ?", "lamp, cup"),
                ("image12.png", "how many chairs are there ?", "2"),
            ],
        ),
        (
            {
                "train/metadata.csv": "file_name,question,answer\na.png,who?,me\na.png,where?,here\n",
                **pictures("train/a.png"),
            },
            "train",
            [("a.png", "who?", "me"), ("a.png", "where?", "here")],
        ),
        (
            {"rooms.csv": "image,question,answer\na.png,who?,me\n", **pictures("a.png")},
            "train",
            [("a.png", "who?", "me")],
        ),
    ],
    ids=["VQAv2", "VQAv2, in its folders", "DAQUAR", "metadata.csv", "paths"],
)
def test_questions(files: dict, split: str, expected: list, tmp_path: Path) -> None:
    if split == "validation":  # COCO's pictures are JPEGs
        files = {name: content for name, content in files.items() if not name.endswith(".png")}
        for number in (42, 43):
            folder = "Images/mscoco/val2014" if "Questions" in "".join(files) else "val2014"
            path = tmp_path / folder / f"COCO_val2014_{number:012d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)
        expected = [(name.replace(".png", ".jpg"), *rest) for name, *rest in expected]
    splits = load_image_splits(write(tmp_path, files), columns=("question", "answer"))
    assert list(splits) == [split]
    rows = splits[split]
    assert [(Path(row["image"].filename).name, row["question"], row["answer"]) for row in rows] == expected


def test_a_file_is_the_split_train(tmp_path: Path) -> None:
    folder = Path(write(tmp_path, {"captions_val2017.json": COCO, **pictures("elsewhere/deep/down/here/a.png")}))
    write(folder / "elsewhere" / "deep" / "down" / "here", pictures("b.png"))
    with pytest.raises(ValueError, match="None of the pictures .*`image_dir` says where they are"):
        load_captioned_splits(str(folder / "captions_val2017.json"))
    found = load_captioned_splits(
        str(folder / "captions_val2017.json"), image_dir=str(folder / "elsewhere/deep/down/here")
    )
    assert captions_of(found) == {"train": TWO}


def test_a_stream_has_the_same_rows(tmp_path: Path) -> None:
    files = {"train.csv": "image,caption\na.png,one\nb.png,two\n", **pictures("a.png", "b.png")}
    found = load_captioned_splits(write(tmp_path, files), streaming=True)
    rows = [(Path(row["image"].filename).name, row["captions"]) for row in found["train"]]
    assert rows == [("a.png", "one"), ("b.png", "two")]


def test_what_says_itself_how_to_read_it_is_left_to_datasets(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- {config_name: default, data_files: list.csv}\n---\n"
    files = {"README.md": card, "list.csv": "image,captions\na.png,one\n", "captions.txt": "image,caption\n"}
    found = load_captioned_splits(write(tmp_path / "card", {**files, "a.png": None}))
    assert captions_of(found) == {"train": {"a.png": ["one"]}}
    found.save_to_disk(tmp_path / "saved")
    assert load_captioned_splits(str(tmp_path / "saved"))["train"]["captions"][:] == ["one"]


TABLE = "image,caption\na.png,one\nb.png,two\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"sub/.gitkeep": ""}, "`dataset_name` is '.*', a folder without a file"),
        (
            pictures("a.png", "b.png"),
            "has pictures, but nothing is said of them. Put a captions.txt .* or a metadata.csv .*own_photos",
        ),
        (
            {"metadata.csv": "file_name,text\na.png,one\n", **pictures("a.png", "b.png")},
            "1 pictures have no caption: ",
        ),
        ({"captions.txt": TABLE, **pictures("a.png", "b.png", "c.png")}, r"c\.png\. `drop_uncaptioned` leaves such"),
        (
            {"metadata.csv": "file_name,text\na.png,one\nb.png,two\n", **pictures("a.png")},
            r"1 of 2 rows name a picture that is not there: '.*b\.png'.*`skip_bad_images` leaves such rows out",
        ),
        (
            {"captions.txt": TABLE, **pictures("Images/b.png")},
            r"captions\.txt .*: 1 of 2 rows name a picture that is not there: 'a\.png' \(not in .*Images\)",
        ),
        ({"captions.txt": TABLE, **pictures("x/a.png", "y/a.png")}, "'a.png' is in .*x and .*y: `image_dir` says"),
        ({"captions.txt": TABLE.replace("a.png", "z/b.png"), **pictures("b.png")}, "'z/b.png' .not in"),
        ({"captions.txt": "image,caption\nz/b.png,one\ny/b.png,two\n", "b.png": None}, "'z/b.png' and 'y/b.png'"),
        (
            {"captions.txt": "a.png,one\n", "a.png": None},
            "captions.txt has no heading: its first line must name the columns, as image,caption, got 'a.png,one'",
        ),
        ({"all.csv": "one;x/A.JPG\n", "x/A.JPG": None}, "all.csv has no heading"),
        ({"captions.txt": "a note\n", "a.png": None}, "no file of .* says more of its pictures .*own_photos"),
        ({"results.csv": "image_name| n| comment\na.png| 0 one\n", "a.png": None}, "line 2: 2 fields, but .* 3"),
        (
            {"photos.json": [{"image": "a.png", "text": ["a"]}, {"image": "a.png", "text": "b"}]},
            "photos.json looks",
        ),
        (
            {"captions_all.json": COCO | {"annotations": [{"image_id": 5, "caption": "one"}]}, "a.png": None},
            "has a caption of the image 5, which is none of its images",
        ),
        ({"captions.txt": "image,caption,id\na.png,one\n", "a.png": None}, "line 2: 2 fields, but the first .* 3"),
        ({"captions.txt": "image,caption\n", "a.png": None}, "captions.txt has no row"),
        (
            {"captions.csv": TABLE, "captions.txt": TABLE, **pictures("a.png", "b.png")},
            "Several files may be",
        ),
        ({"captions.json": COCO | {"annotations": [{"caption": "one"}]}, "a.png": None}, "looks like COCO's captions"),
        (
            {"dataset_a.json": {"images": [{**KARPATHY["images"][0], "split": "dev"}]}, "a.png": None},
            "into the split 'dev', not of",
        ),
    ],
)
def test_what_is_wrong_is_named(files: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_captioned_splits(write(tmp_path, files))


def test_an_empty_folder_and_an_unknown_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="`dataset_name` is '.*empty', a folder without a file"):
        load_captioned_splits(str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"notes\.txt is of no form that is known: Karpathy's splits, COCO's"):
        load_captioned_splits(write(tmp_path, {"notes.txt": "hello\n"}) + "/notes.txt")
    with pytest.raises(ValueError, match=r"notes\.tsv has no heading"):
        load_captioned_splits(write(tmp_path, {"notes.tsv": "a.png\thello\n"}) + "/notes.tsv")


def test_answers_must_lie_beside_the_questions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs its answers beside it, in one file .*: there is none"):
        load_image_splits(write(tmp_path, {"questions_train.json": QUESTIONS}))
    with pytest.raises(ValueError, match="train.txt has 3 lines: a question and its answer"):
        load_image_splits(write(tmp_path / "other", {"qa.train.txt": DAQUAR.partition("2\n")[0]}))


def test_rows_are_left_out_where_that_is_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = write(tmp_path, {"captions.txt": TABLE, **pictures("b.png", "c.png")})
    with caplog.at_level(logging.WARNING):
        found = load_captioned_splits(name, skip_missing=True, drop_uncaptioned=True)
    assert captions_of(found) == {"train": {"b.png": ["two"]}}
    assert "Left out: " in caplog.text and "Left out 1 pictures that have no caption" in caplog.text
    with pytest.raises(ValueError, match="No row is left|None of the pictures"):
        (tmp_path / "b.png").unlink()
        load_captioned_splits(name, skip_missing=True, drop_uncaptioned=True)


def test_folders_before_names_count_for_all_or_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "image,caption\ncats/1.png,one\ncats/2.png,two\n"
    with pytest.raises(ValueError, match=r"1 of 2 rows name a picture that is not there: 'cats/2\.png'"):
        load_captioned_splits(write(tmp_path / "some", {"captions.csv": table, **pictures("cats/1.png", "2.png")}))
    assert "without the folders" not in caplog.text
    load_captioned_splits(write(tmp_path / "none", {"captions.csv": table, **pictures("dogs/1.png", "dogs/2.png")}))
    assert "dogs without the folders that are before their names" in caplog.text


def test_folders_of_texts_are_found_in_any_letters(tmp_path: Path) -> None:
    files = {"ANNOTATIONS/Captions_Train2017.JSON": json.dumps(COCO), **pictures("a.png", "b.png")}
    assert captions_of(load_captioned_splits(write(tmp_path / "coco", files))) == {"train": TWO}
    files = {"questions_train.json": QUESTIONS, "Annotations/annotations_train.json": ANNOTATIONS}
    picture = Path(write(tmp_path / "vqa", files)) / "COCO_val2014_000000000042.jpg"
    Image.new("RGB", (4, 4)).save(picture)
    found = load_image_splits(str(tmp_path / "vqa"), columns=("question", "answer"))
    assert found["train"]["answer"][:] == [["net"], ["2", "two"]]


def test_a_table_without_captions_is_read(tmp_path: Path) -> None:
    found = load_image_splits(write(tmp_path, {"photos.csv": "image\na.png\n", "a.png": None}))
    assert found["train"].column_names == ["image"] and len(found["train"]) == 1
