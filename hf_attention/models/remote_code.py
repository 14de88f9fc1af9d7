"""The code that a checkpoint carries, made whole."""

import os
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files, get_relative_imports


# What `auto_map` and `custom_pipelines` of a config.json name begins so.
_ENTRIES = ("configuration_", "modeling_", "pipeline_", "processing_", "tokenization_")


def name_all_imports(folder: str | os.PathLike) -> None:
    """
    Makes the files of a checkpoint's code that are loaded by their names say which others they need in the end.
    transformers before 5.10 copies, out of a folder, only those that such a file itself imports.

    Args:
        folder (`str` or `os.PathLike`): Where a model, a processor or a tokenizer was saved.
    """
    for path in Path(folder).glob("*.py"):
        if not path.name.startswith(_ENTRIES) or not (Path(__file__).parent / path.name).is_file():
            continue
        named = set(get_relative_imports(path))
        missing = sorted({Path(file).stem for file in get_relative_import_files(path)} - named - {path.stem})
        if missing:
            lines = ["", "", "if False:  # never run: transformers before 5.10 copies only what is named in this file"]
            lines += [f"    from .{name} import __name__" for name in missing]
            path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")
