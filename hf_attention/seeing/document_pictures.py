"""
Makes the pictures of the documents: those that the blocks of Python of a page save.

Their names are those under which the blocks save them, in a folder of their own.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from ..arguments import CheckedArguments, OptionParser
from ..extras import require_extra


@dataclass
class PictureArguments(CheckedArguments):
    """Which pages."""

    page: list[str] = field(metadata={"help": "Pages of Markdown, such as docs/seeing_attention.md."})
    output_dir: str = field(default="runs/pictures", metadata={"help": "Where the pictures go."})


def main(argv: list[str] | None = None) -> None:
    """
    Makes the pictures of the pages that the command line names.

    Args:
        argv (`list[str]`, *optional*): Its words, by default those of this process.
    """
    [arguments] = OptionParser(PictureArguments, description=__doc__).read(argv)
    require_extra("visualization")
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for page in arguments.page:
        run_page(Path(page), folder)


def blocks_of_python(page: Path) -> list[str]:
    """
    What a page has a reader run.

    Args:
        page (`Path`): The page, in Markdown.

    Returns:
        `list[str]`: Its blocks of Python, from first to last.
    """
    return re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run_page(page: Path, folder: Path) -> None:
    """
    Runs the blocks of Python of a page, one after the other, and makes the pictures that they save small.

    Args:
        page (`Path`): The page, in Markdown.
        folder (`Path`): Where the pictures go. The blocks run in a folder of their own.
    """
    blocks = blocks_of_python(page)
    here, names = os.getcwd(), {}
    with TemporaryDirectory() as place:
        os.chdir(place)
        try:
            for block in blocks:
                exec(compile(block, page.name, "exec"), names)
        finally:
            os.chdir(here)
        for path in sorted(Path(place).glob("*.png")):
            picture = Image.open(path).convert("RGB")
            # Of the many greys of the picture fewer are kept than of the bright colours that lie on few pixels.
            small = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            small.save(folder / path.name, optimize=True)
            print(folder / path.name)
