"""Files that gzip may have packed."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


PACKED = ".gz"


def unpacked_suffix(path: str | Path) -> str:
    """The ending of a file's name in lower case: of `rows.csv.gz` as of `rows.CSV`, `.csv`."""
    path = Path(path)
    return Path(path.stem if path.suffix.lower() == PACKED else path).suffix.lower()


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """
    Opens a file to read its bytes. One whose name ends in `.gz` is unpacked on the way.

    Raises:
        ValueError: If it cannot be unpacked; so do reads within.
    """
    with (gzip.open if path.suffix.lower() == PACKED else open)(path, "rb") as file:
        try:
            yield file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} cannot be unpacked: {error}.") from error
