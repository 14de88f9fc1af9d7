"""The page as a folder to push to the Hub as a Space."""

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from ..extras import require_extra
from ..shipped import checkpoints
from .demonstrations import DEMONSTRATIONS
from .examples import read_examples
from .web_page import TITLE


_EXAMPLES = "examples"
_PACKAGE = Path(__file__).parents[1]
# What `from_pretrained` and `pipeline` read; no pickles, and no code, which is in the package.
_MODEL_FILES = (".json", ".jinja", ".md", ".model", ".safetensors", ".txt")


def write_space(
    folder: Path, models: Mapping[str, str], translation_task: str = "translation", examples: Path | None = None
) -> None:
    """
    Writes `app.py`, `requirements.txt`, `README.md` with the settings of a Space, and this package.

    A checkout pushes it with `huggingface_hub.upload_folder(folder_path=folder, repo_id=..., repo_type="space")`.

    Args:
        folder (`Path`):
            Where to; a new or an empty one.
        models (`Mapping[str, str]`):
            `captioner`, `answerer` and `translator`: a name on the Hub, which the Space will load, a model that the
            package ships, or a folder, whose files are copied into the Space.
        translation_task (`str`, *optional*, defaults to `"translation"`):
            Of the translator.
        examples (`Path`, *optional*):
            A folder of pictures to try the models on, as [`~hf_attention.demo.examples.read_examples`] reads it.

    Raises:
        ModuleNotFoundError: Where gradio is not installed.
        ValueError: Where `folder` is not empty, the package is not in a checkout with its `pyproject.toml`, or
            there are no such `examples`.
    """
    require_extra("demo")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} must be a new or an empty folder.")
    project = _PACKAGE.parent / "pyproject.toml"
    if not project.is_file():
        raise ValueError(f"A Space is written from a checkout, there is no {project}.")
    pictures = [] if examples is None else read_examples(examples)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_PACKAGE, folder / _PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project.parent / "LICENSE", folder / _PACKAGE.name)
    names = {part: _take_along(name, folder, part) for part, name in models.items()}
    for number, picture in enumerate(pictures):
        (folder / _EXAMPLES).mkdir(exist_ok=True)
        picture.save(folder / _EXAMPLES / f"{number}.jpg", quality=92)
    (folder / "requirements.txt").write_text("\n".join(_requirements()) + "\n", encoding="utf-8")
    (folder / "app.py").write_text(_app(names, translation_task, bool(pictures)), encoding="utf-8")
    card = {
        "title": TITLE,
        "emoji": "👀",
        "sdk": "gradio",
        "sdk_version": importlib.metadata.version("gradio"),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "app_file": "app.py",
    }
    if on_hub := [name for part, name in models.items() if names[part] == name and name not in checkpoints]:
        card["models"] = on_hub
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True)
    (folder / "README.md").write_text(f"---\n{text}---\n\nModels that show where they look.\n", encoding="utf-8")


def _requirements() -> list[str]:
    """What this package needs, with its extra `demo`."""
    requirements = map(Requirement, importlib.metadata.requires(_PACKAGE.name))
    return [
        f"{each.name}{each.specifier}"
        for each in requirements
        if each.marker is None or each.marker.evaluate({"extra": "demo"})
    ]


def _take_along(name: str, folder: Path, part: str) -> str:
    """Copies a model that is a folder; returns what the Space calls it."""
    if not Path(name).is_dir():
        return name
    target = folder / "models" / part
    target.mkdir(parents=True)
    for path in Path(name).iterdir():
        if path.is_file() and path.suffix in _MODEL_FILES:
            shutil.copy(path, target)
    return target.relative_to(folder).as_posix()


def _app(names: Mapping[str, str], translation_task: str, has_examples: bool) -> str:
    classes = {part: DEMONSTRATIONS[part].__name__ for part in names}
    imports = [f"from hf_attention.demo.demonstrations import {', '.join(sorted(classes.values()))}"]
    arguments = []
    for part, name in names.items():
        task = f", {translation_task!r}" if part == "translator" else ""
        arguments.append(f"    {part}={classes[part]}.load({name!r}{task}),")
    if has_examples:
        imports.append("from hf_attention.demo.examples import read_examples")
        arguments.append(f"    pictures=read_examples({_EXAMPLES!r}),")
    imports.append("from hf_attention.demo.web_page import launch, make_page")
    return "\n".join(
        [
            f'"""{TITLE}."""\n',
            *imports,
            "\n\npage = make_page(",
            *arguments,
            ')\n\nif __name__ == "__main__":\n    launch(page)\n',
        ]
    )
