"""
A tiny model, and what the calls of `image_to_text_calls` and `vqa_calls` may do with it.

`scripts/record_pipeline_answers.py` puts them to transformers 4.57, and the tests compare ours with what it answered.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoTokenizer, Pipeline, pipeline

from common import tiny_models
from common.folder_styles import to_old_style
from common.tiny_models import TinyModel


class Bench:
    """
    A tiny model in a folder of one style.

    Args:
        task: That of its pipelines.
        name: The model's.
        models: What each is made of.
        style: Of the folder, one of `folder_styles.STYLES`.
        root: Where the folders are put; several may share it.
        arguments: Of all pipelines.
    """

    def __init__(
        self, task: str, name: str, models: dict[str, TinyModel], style: str, root: Path, **arguments: Any
    ) -> None:
        self.task = task
        self.name = name
        self.models = models
        self.style = style
        self.root = root
        self.arguments = {"device": "cpu", **arguments}
        self.pictures = list(tiny_models.make_pictures().values())
        self.picture: Image.Image = self.pictures[0]

    @cached_property
    def pipe(self) -> Pipeline:
        """A pipeline of the folder."""
        return self.load()

    def load(self, **arguments: Any) -> Pipeline:
        """A pipeline of the folder, loaded anew."""
        return pipeline(self.task, **{"model": str(self.folder), **self.arguments, **arguments})

    def make(self, **arguments: Any) -> Pipeline:
        """A pipeline of parts that are loaded; of the model, tokenizer and image processor where nothing is said."""
        parts = {name: getattr(self.pipe, name) for name in ("model", "tokenizer", "image_processor")}
        return pipeline(self.task, **{**parts, **self.arguments, **arguments})

    def wishing(self, **wishes: Any) -> Pipeline:
        """A pipeline of a checkpoint with these settings of generation; `None` takes one out of all its files."""
        with tempfile.TemporaryDirectory() as folder:
            return self.load(model=str(self._copy(Path(folder), wishes)))

    def without_pad_token(self) -> Pipeline:
        """A pipeline of a checkpoint and a tokenizer that know none."""
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        tokenizer.pad_token = None
        with tempfile.TemporaryDirectory() as folder:
            return self.load(model=str(self._copy(Path(folder), {"pad_token_id": None})), tokenizer=tokenizer)

    def saved_and_loaded(self) -> Pipeline:
        with tempfile.TemporaryDirectory() as folder:
            self.pipe.save_pretrained(folder)
            return self.load(model=folder)

    @cached_property
    def folder(self) -> Path:
        return self._copy(self.root / self.style, {})

    @cached_property
    def paths(self) -> list[str]:
        """The pictures in files."""
        folder = self.root / "pictures"
        folder.mkdir(exist_ok=True)
        paths = [str(folder / f"{number}.png") for number in range(len(self.pictures))]
        for path, picture in zip(paths, self.pictures, strict=True):
            picture.save(path)
        return paths

    def _copy(self, root: Path, wishes: dict[str, Any]) -> Path:
        made = self.root / "made" / self.name
        if not made.exists():
            tiny_models.save_tiny_model(self.name, made.parent, self.models)
        folder = shutil.copytree(made, root / self.name)
        for path in (folder / "config.json", folder / "generation_config.json"):
            if path.exists():
                settings = _without(json.loads(path.read_text()), [name for name in wishes if wishes[name] is None])
                if path.name == "generation_config.json":
                    settings |= {name: value for name, value in wishes.items() if value is not None}
                path.write_text(json.dumps(settings))
        return to_old_style(folder) if self.style == "old" else folder


Call = Callable[[Bench], Any]


def answer(call: Call, bench: Bench) -> Any:
    """
    What a call is answered, as JSON holds it: of a record with one text the text; what an iterator yields, and the
    name of an error, marked as such.
    """
    try:
        answers = call(bench)
        return _plain(answers) if isinstance(answers, list) else {"yields": _plain(list(answers))}
    except Exception as error:
        return {"raises": type(error).__name__}


def _plain(answers: Any) -> Any:
    if isinstance(answers, list):
        return [_plain(each) for each in answers]
    record = {name: round(value, 5) if isinstance(value, float) else value for name, value in answers.items()}
    return next(iter(record.values())) if len(record) == 1 else list(record.values())


def _without(settings: Any, names: list[str]) -> Any:
    """A configuration without the settings of these names, at any depth."""
    if not isinstance(settings, dict):
        return settings
    return {name: _without(value, names) for name, value in settings.items() if name not in names}
