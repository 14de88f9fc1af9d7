"""
Records what the `image-to-text` pipeline of transformers 4.57 answers, for the tests to compare with.

Run it with a Python of its own, in which transformers 4.57 is installed:

    python -m venv venv457
    venv457/bin/pip install "transformers==4.57.*" torch pillow
    venv457/bin/python scripts/record_pipeline_answers.py

It makes the tiny models of `tests/tiny_models.py` and rewrites `tests/recorded/image_to_text.json`.
"""

import json
import sys
import tempfile
from pathlib import Path


TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

import tiny_models  # noqa: E402
import transformers  # noqa: E402


def record() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Returns the texts as model → case → picture → sequences."""
    answers: dict[str, dict[str, dict[str, list[str]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in tiny_models.MODELS:
            path = tiny_models.save_tiny_model(name, Path(folder))
            captioner = transformers.pipeline("image-to-text", model=str(path), device="cpu")
            answers[name] = {
                case: {
                    picture: [answer["generated_text"] for answer in captioner(image, **arguments)]
                    for picture, image in tiny_models.make_pictures().items()
                }
                for case, arguments in tiny_models.CASES.items()
                if case != "prompt" or name in tiny_models.PROMPTED
            }
    return answers


def main() -> None:
    if not transformers.__version__.startswith("4.57."):
        sys.exit(f"This records the answers of transformers 4.57; here is {transformers.__version__}.")
    recorded = {"transformers": transformers.__version__, "answers": record()}
    path = TESTS / "recorded" / "image_to_text.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"{path.name}: {', '.join(recorded['answers'])}")


if __name__ == "__main__":
    main()
