"""Pictures that a data set only names: found in a folder, or fetched from the web."""

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from itertools import product
from pathlib import Path, PurePosixPath

from huggingface_hub.constants import HF_HOME
from PIL import Image

from ...models.pictures import read_bytes
from ..files import replace_file
from .columns import PICTURE_ENDINGS
from .folder_styles import FOLDERS_OF_TEXTS


logger = logging.getLogger(__name__)

ADDRESSES = ("http://", "https://")
TIMEOUT = 20.0  # seconds that a server may be silent
FETCHES = 8  # at a time
TRIED = 100  # names by which the folder is found


def find_pictures(
    names: Sequence[str], root: Path, image_dir: Path | None = None
) -> tuple[dict[str, Path], dict[str, str]]:
    """
    Finds pictures by their names.

    Args:
        names (`Sequence[str]`):
            Files, or http(s) addresses. A name may lack its ending. Where none is found with the folders before it,
            those are passed over.
        root (`Path`):
            Where the file lies that names them. They are there, or in one of the folders below it; below the folder
            that `root` is in, where `root` is one for texts alone.
        image_dir (`Path`, *optional*):
            Where they are instead.

    Returns:
        `tuple[dict[str, Path], dict[str, str]]`: The file of each picture that was found, and of each other one why it
        was not.

    Raises:
        ValueError: If the folder cannot be told, or two names mean one file.
    """
    names = list(dict.fromkeys(names))
    addresses = [name for name in names if name.startswith(ADDRESSES)]
    found, reasons = _fetch(addresses)
    files = [name for name in names if not name.startswith(ADDRESSES)]
    if files:
        folder, is_bare = _folder_of(files, root, image_dir)
        for name in files:
            file = _look(folder, name, is_bare)
            if file is None:
                reasons[name] = f"not in {folder}"
            else:
                found[name] = file
        if is_bare:
            logger.warning("Took the pictures of %s without the folders that are before their names.", folder)
        if is_bare and len({*found.values()}) < len(found):
            raise ValueError(f"Different names mean the same picture of {folder}: {_twice(found)}.")
    return found, reasons


def _twice(found: dict[str, Path]) -> str:
    first: dict[Path, str] = {}
    pairs = ((first.setdefault(file, name), name) for name, file in found.items())
    return next(f"{one!r} and {other!r}" for one, other in pairs if one != other)


def _folder_of(names: Sequence[str], root: Path, image_dir: Path | None) -> tuple[Path, bool]:
    """
    The folder in which the first of the names is that is in any, and whether it is there without the folders before
    it; the nearest ones are asked first.
    """
    if image_dir is not None and not image_dir.is_dir():
        raise ValueError(f"`image_dir` must be a folder, got {str(image_dir)!r}.")
    rings = [[image_dir]] if image_dir is not None else list(_rings(root))
    for is_bare, name, ring in product((False, True), names[:TRIED], rings):
        folders = [folder for folder in ring if _look(folder, name, is_bare)]
        if len(folders) > 1:
            places = " and ".join(map(str, folders))
            raise ValueError(f"The picture {name!r} is in {places}: `image_dir` says which.")
        if folders:
            return folders[0], is_bare
    where = "" if image_dir is not None else " or in a folder below it; `image_dir` says where they are"
    raise ValueError(f"None of the pictures ({', '.join(map(repr, names[:3]))}, …) is in {image_dir or root}{where}.")


def _rings(root: Path) -> Iterator[list[Path]]:
    """Where pictures may lie, in the order of their distance."""
    for start in (root, root.parent) if root.name.lower() in FOLDERS_OF_TEXTS else (root,):
        ring = [start]
        for _ in range(4):
            yield ring
            ring = [folder for parent in ring for folder in sorted(parent.iterdir()) if _is_open(folder)]


def _is_open(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _look(folder: Path, name: str, is_bare: bool) -> Path | None:
    """The file that a name means in a folder, with the folders before it or without."""
    path = PurePosixPath(name.replace("\\", "/"))  # of Windows, too
    is_whole = name.lower().endswith(PICTURE_ENDINGS)
    endings = ("",) if is_whole else ("", *PICTURE_ENDINGS, *map(str.upper, PICTURE_ENDINGS))
    files = (folder / f"{path.name if is_bare else path}{ending}" for ending in endings)
    return next((file for file in files if file.is_file()), None)


def _fetch(addresses: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The files into which pictures were fetched, now or before, and the reasons where that failed."""
    folder = Path(HF_HOME) / "hf_attention" / "pictures"
    if addresses:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(FETCHES) as pool:
        results = list(pool.map(partial(_fetch_one, folder=folder), addresses))
    pairs = list(zip(addresses, results, strict=True))
    return (
        {address: result for address, result in pairs if isinstance(result, Path)},
        {address: result for address, result in pairs if isinstance(result, str)},
    )


def _fetch_one(address: str, folder: Path) -> Path | str:
    place = folder / hashlib.sha256(address.encode()).hexdigest()
    if not place.is_file():
        try:
            content = read_bytes(address, TIMEOUT)
            Image.open(io.BytesIO(content))
        # No such page, no answer in time, no picture, or one too large.
        except (OSError, ValueError, HTTPException, Image.DecompressionBombError) as error:
            return f"{type(error).__name__}: {error}"
        replace_file(place, lambda path: path.write_bytes(content))
    return place


def unnamed_pictures(files: Iterable[Path]) -> list[Path]:
    """The pictures that lie beside some files, and are none of them."""
    files = {*files}
    beside = (file for folder in sorted({file.parent for file in files}) for file in sorted(folder.glob("[!.]*")))
    return [file for file in beside if file.suffix.lower() in PICTURE_ENDINGS and file not in files]
