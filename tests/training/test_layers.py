"""Which room may import from which."""

import ast
from pathlib import Path

import pytest

import hf_attention


PACKAGE = Path(hf_attention.__file__).parent
# What a room imports from no other.
CLOSED = {
    "metrics": ("training",),
    "training/data": ("training.loop", "training.publish", "training.tasks", "training.shipping"),
    "training/publish": ("training.loop", "training.tasks", "training.shipping"),
    "training/loop": ("training.tasks", "training.shipping"),
    "training/tasks": ("training.shipping",),
}


def imported(path: Path) -> list[str]:
    """The modules that a file of the package names in its imports, without the package's own name."""
    package = ["hf_attention", *path.relative_to(PACKAGE).parent.parts]
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            modules.append(".".join([*base, *filter(None, [node.module])]))
    return [module.removeprefix("hf_attention.") for module in modules if module.startswith("hf_attention.")]


@pytest.mark.parametrize("room", CLOSED)
def test_imports_go_one_way(room: str) -> None:
    paths = list((PACKAGE / room).rglob("*.py"))
    assert any(imported(path) for path in paths)
    for path in paths:
        for module in imported(path):
            assert not f"{module}.".startswith(tuple(f"{other}." for other in CLOSED[room])), f"{path}: {module}"
