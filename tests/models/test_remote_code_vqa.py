"""Answering models saved with their code answer where this package is not installed."""

import json
from pathlib import Path

import pytest
import torch
from common.remote_code import run_without_the_package
from common.tiny_vqa import make_model, make_processor
from PIL import Image
from transformers import pipeline

from hf_attention import AttentionVQAForConditionalGeneration, AttentionVQAForQuestionAnswering


QUESTION = "what colour is the circle"
SOURCE = """
import json
from transformers import AutoModel, AutoModelForImageTextToText, AutoModelForVisualQuestionAnswering, AutoProcessor
from transformers import pipeline

folder, image, question, head, out = sys.argv[1:]
model = AutoModelForVisualQuestionAnswering.from_pretrained(folder, trust_remote_code=True)
assert type(model).__name__ == head and type(model).__module__.startswith("transformers_modules."), type(model)
base = AutoModel.from_pretrained(folder, trust_remote_code=True)
assert type(base).__name__ == ("AttentionVQAGeneratingModel" if model.can_generate() else "AttentionVQAModel")
if model.can_generate():
    assert type(AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)).__name__ == head
else:
    try:
        AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
        raise AssertionError("a checkpoint of the other head was loaded")
    except ValueError:
        pass
for task in ("vqa", "visual-question-answering"):
    vqa = pipeline(task, folder, device="cpu", trust_remote_code=True)
assert type(pipeline(model=folder, trust_remote_code=True)) is type(vqa)  # its one task
records = vqa(image=image, question=question, output_attentions=True)
records = [
    {"answer": each["answer"], "score": each.get("score"), "attentions": each["attentions"].tolist()}
    for each in records
]
print("RECORDS " + json.dumps(records))
model.save_pretrained(out + "/again")
AutoProcessor.from_pretrained(folder, trust_remote_code=True).save_pretrained(out + "/again")
"""


@pytest.mark.parametrize("head", [AttentionVQAForQuestionAnswering, AttentionVQAForConditionalGeneration])
def test_the_same_answers_without_the_package(head: type, tmp_path: Path) -> None:
    folder, image = tmp_path / "saved", tmp_path / "picture.png"
    make_model(head).save_pretrained(folder)
    make_processor().save_pretrained(folder)
    Image.linear_gradient("L").convert("RGB").resize((40, 30)).save(image)
    expected = pipeline("vqa", model=str(folder), device="cpu")(str(image), QUESTION, output_attentions=True)
    for place, out in ((folder, "first"), (tmp_path / "first" / "again", "second")):
        arguments = (place, image, QUESTION, head.__name__, tmp_path / out)
        printed = run_without_the_package(SOURCE, tmp_path / out, *arguments)
        records = json.loads(printed.split("RECORDS ")[1].splitlines()[0])
        assert [record["answer"] for record in records] == [record["answer"] for record in expected]
        for record, other in zip(records, expected, strict=True):
            torch.testing.assert_close(torch.tensor(record["attentions"]), other["attentions"])
            assert record.get("score") == pytest.approx(other.get("score"))
