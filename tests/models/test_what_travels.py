"""hf_attention/models/ is all of what travels with a checkpoint, and nothing else."""

import ast
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from transformers.dynamic_module_utils import get_relative_import_files, get_relative_imports

from hf_attention import models
from hf_attention.models.declaration import DECLARATIONS, Declaration


FOLDER = Path(models.__file__).parent
FILES = [path for path in sorted(FOLDER.rglob("*.py")) if path != Path(models.__file__)]
# What a checkpoint is loaded by; all else is there because one of these imports it.
ENTRIES = ("configuration_", "modeling_", "processing_", "tokenization_", "pipeline_")
OWN = [each for each in DECLARATIONS.values() if each.config_class.__module__.startswith("hf_attention.")]
# Images come as Pillow's: transformers reads them with it where it is installed, and so do these.
READS_IMAGES = (
    "pictures.py",
    "regions.py",
    "processing_attention_captioner.py",
    "pipeline_visual_question_answering.py",
)


def brought_by(*packages: str) -> set[str]:
    """The modules that packages and what they cannot do without are imported by."""
    names = set(packages)
    for package in packages:
        requirements = [Requirement(each) for each in metadata.requires(package)]
        names |= {each.name for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})}
    names = {name.lower().replace("-", "_") for name in names}
    return {
        module
        for module, homes in metadata.packages_distributions().items()
        if names & {home.lower().replace("-", "_") for home in homes}
    }


ALLOWED = set(sys.stdlib_module_names) | brought_by("torch", "transformers")


def imports_of(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Of each import its level, its module, and whether it stands at the top of the file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", node in tree.body
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name, node in tree.body) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_only_what_a_stranger_has(path: Path) -> None:
    assert path.parent == FOLDER, "what travels lies flat"
    beside = set()
    for level, module, is_at_top in imports_of(path):
        if level == 0:
            package = module.split(".")[0]
            assert package in ALLOWED or (package == "PIL" and path.name in READS_IMAGES), module
        else:
            assert level == 1 and (FOLDER / f"{module}.py").is_file(), f"not `from .x import y`: {module or '.'}"
            assert is_at_top, f"{module} is imported inside of something"
            beside.add(module)
    # transformers looks for lines, in docstrings too.
    assert set(get_relative_imports(path)) == beside


def test_all_of_it_is_needed() -> None:
    entries = [path for path in FILES if path.name.startswith(ENTRIES)]
    needed = {Path(file).name for entry in entries for file in [entry, *get_relative_import_files(entry)]}
    assert {path.name for path in FILES} == needed


@pytest.mark.parametrize("declaration", OWN, ids=lambda declaration: declaration.config_class.model_type)
def test_a_checkpoint_carries_what_it_declares_and_nothing_from_elsewhere(
    declaration: Declaration, tmp_path: Path
) -> None:
    needed = {"attention_ensemble": {"members": [DECLARATIONS["attention_seq2seq"].config_class().to_dict()]}}
    declaration.config_class(**needed.get(declaration.config_class.model_type, {})).save_pretrained(tmp_path)
    carried = {path.name for path in tmp_path.glob("*.py")}
    assert carried <= {path.name for path in FILES}
    assert {f"{each.__module__.split('.')[-1]}.py" for each in declaration.code()} <= carried
    for name in carried:
        # At the end of some stands what older transformers want to be told.
        assert (tmp_path / name).read_text().startswith((FOLDER / name).read_text())
        assert {f"{module}.py" for module in get_relative_imports(tmp_path / name)} <= carried
