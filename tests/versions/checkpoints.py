"""
Checkpoints that cross versions of transformers.

    python tests/versions/checkpoints.py save FOLDER              # every model, and what it says
    python tests/versions/checkpoints.py check FOLDER             # it says the same here
    python tests/versions/checkpoints.py check FOLDER --own_code  # by the code beside its weights, not the package

`check` prints the names of the models as it finds them equal.
"""

import json
import sys
from pathlib import Path
from typing import Any


NAMES = "captioner", "translator", "answerer", "generating-answerer", "language-model", "ensemble"


def answers_of(name: str, folder: Path, **trust: bool) -> dict[str, Any]:
    """What a checkpoint says: token ids of a search with beams, and its pipeline's answer."""
    import torch
    import transformers
    from PIL import Image

    auto_class = {
        "translator": transformers.AutoModelForSeq2SeqLM,
        "answerer": transformers.AutoModelForVisualQuestionAnswering,
        "generating-answerer": transformers.AutoModelForVisualQuestionAnswering,
        "language-model": transformers.AutoModelForCausalLM,
    }.get(name, transformers.AutoModelForImageTextToText)
    model = auto_class.from_pretrained(folder, **trust).eval()
    image = Image.linear_gradient("L").resize((40, 32)).convert("RGB")
    question, text = "what colour is the circle ?", "a small red circle"
    if name in ("translator", "language-model"):
        inputs = transformers.AutoTokenizer.from_pretrained(folder, **trust)(text, return_tensors="pt")
    else:
        processor = transformers.AutoProcessor.from_pretrained(folder, **trust)
        inputs = processor(*[image, question] if "answerer" in name else [image], return_tensors="pt")
    with torch.no_grad():
        if name == "answerer":
            tokens = model(**inputs).logits.argsort(-1)
        else:
            tokens = model.generate(**inputs, num_beams=3, max_new_tokens=8)
    task, arguments = {
        "translator": ("translation", {"inputs": text, "num_beams": 2}),
        "answerer": ("visual-question-answering", {"image": image, "question": question}),
        "generating-answerer": ("visual-question-answering", {"image": image, "question": question}),
        "language-model": ("text-generation", {"text_inputs": text, "do_sample": False, "max_new_tokens": 8}),
    }.get(name, ("image-to-text", {"inputs": image}))
    answers = transformers.pipeline(task, model=str(folder), device="cpu", **trust)(**arguments)
    answers = [{**each, "score": round(each.get("score", 0), 4)} for each in answers]
    return {"tokens": tokens.tolist(), "answers": answers}


def save(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "install"))
    import models

    for name in NAMES:
        path = models.save(name.replace("-", " "), folder)
        (path / "said.json").write_text(json.dumps(answers_of(name, path)))


def check(folder: Path, own_code: bool) -> None:
    if own_code:
        sys.modules["hf_attention"] = None  # importing it is an error
    else:
        import hf_attention  # noqa: F401
    trust = {"trust_remote_code": True} if own_code else {}
    for name in NAMES:
        said = json.loads((folder / name / "said.json").read_text())
        says = answers_of(name, folder / name, **trust)
        if says != said:
            raise SystemExit(f"{name} said {said} where it was saved, and says {says} here.")
        print(name, flush=True)


if __name__ == "__main__":
    command, folder, *options = sys.argv[1:]
    if command == "save":
        save(Path(folder))
    else:
        check(Path(folder), own_code=options == ["--own_code"])
