"""The recipes of docs/trainer.md run as they stand, and what they save is a model like any other."""

import copy
import re
from pathlib import Path

import pytest
import torch
from transformers import Trainer


PAGE = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text()
# The other blocks are `test_peft.py`'s.
RECIPES = [block for block in re.findall("```python\n(.*?)```", PAGE, re.DOTALL) if "Arguments(" in block]
NAMES = [re.search('Arguments\\(\\s*"runs/([\\w-]+)"', recipe)[1] for recipe in RECIPES]


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_recipes_run(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    before = {}
    train = Trainer.train

    def remember(trainer: Trainer) -> None:
        before.update(copy.deepcopy(trainer.model.state_dict()))
        train(trainer)

    monkeypatch.setattr(Trainer, "train", remember)
    names: dict = {}
    exec(recipe, names)
    trainer: Trainer = names["trainer"]
    losses = [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry]
    assert len(losses) == 1 and 0 < losses[0] < 100
    trainer.save_model(str(tmp_path / "saved"))
    loaded = type(trainer.model).from_pretrained(tmp_path / "saved").state_dict()
    assert any(not torch.equal(loaded[name], before[name]) for name in before), "nothing was learnt"
    if "print(trainer.evaluate())" in recipe:
        assert {"eval_loss", "eval_bleu", "eval_chrf"} <= eval(capsys.readouterr().out.strip().split("\n")[-1]).keys()


def test_there_is_a_recipe_for_every_model() -> None:
    assert NAMES == ["captioner", "translator", "answerer", "writer", "language-model"]
