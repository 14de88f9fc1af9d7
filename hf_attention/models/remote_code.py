"""The code that a checkpoint carries: it works where this package is not installed."""

import ast
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files, get_relative_imports
from transformers.utils import logging


logger = logging.get_logger(__name__)

_HERE = Path(__file__).resolve().parent
_PACKAGE = "hf_attention"
# In a checkpoint it imports the classes from elsewhere that the configuration names, such as an attention type.
_NAMES_CLASSES = "configuration_attention.py"


class CarriesCode:
    """Before [`~transformers.ProcessorMixin`] or a tokenizer's class: what is saved has its code beside it."""

    def save_pretrained(self, save_directory: str | os.PathLike, *args, **kwargs) -> Sequence[str]:
        """As transformers does, with the code that works without this package."""
        files = super().save_pretrained(save_directory, *args, **kwargs)
        save_code(save_directory, [type(self)])
        return files


def save_code(folder: str | os.PathLike, classes: Iterable[type], named: Iterable[type] = ()) -> None:
    """
    Puts the modules of classes into a folder, flat, with all that they import from beside them and of this package.

    Args:
        folder (`str` or `os.PathLike`):
            Where a checkpoint is saved.
        classes (`Iterable[type]`):
            What a checkpoint is loaded by. Those of `__main__` stay behind.
        named (`Iterable[type]`):
            What else its configuration names; of these, only classes of other people's modules count.

    Raises:
        ValueError: Where two files have one name, or the folder is that of the code.
    """
    folder = Path(folder)
    entries = _files_of(classes)
    elsewhere = {file for file in _files_of(named) if file.parent != _HERE}
    sources: dict[str, Path] = {}
    waiting = [*entries, *elsewhere]
    while waiting:
        source = waiting.pop()
        if sources.setdefault(source.name, source) != source:
            raise ValueError(
                f"A checkpoint's code lies in one folder, but {source} and {sources[source.name]} have one name: "
                "rename yours."
            )
        target = folder / source.name
        if target.exists() and target.samefile(source):
            raise ValueError(f"{str(folder)!r} is the folder of the code itself: save to another.")
        text, own = _without_the_package(source)
        if source.name == _NAMES_CLASSES:
            for name in sorted(file.stem for file in elsewhere):
                text += f"\nfrom .{name} import __name__ as _{name}  # the configuration may name a class of it\n"
        # What another part of the checkpoint has had written at its end stays there.
        if not (target.is_file() and target.read_text(encoding="utf-8").startswith(text)):
            target.write_text(text, encoding="utf-8")
        needed = [source.with_name(f"{name}.py") for name in get_relative_imports(source)]
        waiting += [file for file in needed + own if sources.get(file.name) != file]
    for source in entries:
        _name_all_imports(folder / source.name)


def _files_of(classes: Iterable[type]) -> set[Path]:
    files = set()
    for each in classes:
        file = getattr(sys.modules[each.__module__], "__file__", None)
        if file is None or each.__module__ == "__main__":
            logger.warning(f"The code of {each.__name__} stays behind: put it into a module of its own, not a script.")
        else:
            files.add(Path(file).resolve())
    return files


def _without_the_package(source: Path) -> tuple[str, list[Path]]:
    """A file's text with its imports from this package as in a checkpoint, and the files that these are from."""
    text, files = source.read_text(encoding="utf-8"), []
    if source.parent == _HERE or _PACKAGE not in text:
        return text, files
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] == _PACKAGE:
            names = {alias: _module_of(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import) and any(alias.name.split(".")[0] == _PACKAGE for alias in node.names):
            names = dict.fromkeys(node.names)
        else:
            continue
        if None in names.values():
            logger.warning(
                f"{source.name}, line {node.lineno}: the code of this checkpoint will need {_PACKAGE} installed. It "
                f"carries what is imported by name, `from {_PACKAGE}.models... import ...`."
            )
            continue
        files += [_HERE / f"{module}.py" for module in names.values()]
        indent = " " * node.col_offset
        imports = [f"{indent}from .{module} import {ast.unparse(alias)}\n" for alias, module in names.items()]
        lines[node.lineno - 1 : node.end_lineno] = ["".join(imports)] + [""] * (node.end_lineno - node.lineno)
    return "".join(lines), files


def _module_of(module: str, name: str) -> str | None:
    """The module of this folder that a name is imported from; `None` where it is from none."""
    if module == _PACKAGE:
        module = getattr(getattr(sys.modules.get(_PACKAGE), name, None), "__module__", "")
    folder, _, stem = module.rpartition(".")
    return stem if folder == f"{_PACKAGE}.models" else None


def _name_all_imports(path: Path) -> None:
    """
    Makes a file that is loaded by its name say which others it needs in the end: transformers before 5.10 copies, out
    of a folder, only those that such a file itself imports.
    """
    named = set(get_relative_imports(path))
    missing = sorted({Path(file).stem for file in get_relative_import_files(path)} - named - {path.stem})
    if missing:
        lines = ["", "", "if False:  # never run: transformers before 5.10 copies only what is named in this file"]
        lines += [f"    from .{name} import __name__" for name in missing]
        path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")
