"""Files and folders that are written whole or not at all, whenever the process is killed or the machine stops."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


MANIFEST_FILE = "manifest.json"


def replace_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """
    Writes a folder beside its place and moves it there. Whenever it is killed, the old or the new one is whole.

    Args:
        folder (`Path`):
            The place.
        write (`Callable`):
            Makes the folder that it is given.

    Raises:
        OSError: If it cannot be written; the old one is still there.
    """
    partial = begin_folder(folder)
    with removed_on_error(partial, folder):
        write(partial)
        move_folder(partial, folder)


def replace_files(folder: Path, write: Callable[[Path], Any]) -> None:
    """
    Writes files beside a folder's and moves them there, one after the other: of each, the old or the new one is whole.

    Args:
        folder (`Path`):
            The folder. What else it holds stays.
        write (`Callable`):
            Writes the files into the folder that it is given.

    Raises:
        OSError: If they cannot be written; the old ones are still there.
    """
    partial = begin_folder(folder / "files")
    with removed_on_error(partial, folder):
        write(partial)
        sync(partial)
    for path in sorted(partial.iterdir()):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    partial.rmdir()
    _sync_one(folder)


def replace_file(file: Path, write: Callable[[Path], Any]) -> None:
    """As [`replace_folder`], of a file."""
    partial = place_beside(file)
    try:
        with named_on_error(file):
            write(partial)
            _sync_one(partial)
            os.replace(partial, file)
            _sync_one(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def begin_folder(folder: Path) -> Path:
    """Where to write what [`move_folder`] is to move to a folder; nothing is there."""
    partial = place_beside(folder)
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def place_beside(path: Path) -> Path:
    """Where a file or folder is written before it is moved to its place, whatever is there."""
    return _beside(path, "partial")


def move_folder(partial: Path, folder: Path) -> None:
    """Moves what is written to its place."""
    sync(partial)
    old = _beside(folder, "old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(partial, folder)
    _sync_one(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder, of which there is never a half under its name."""
    if folder.exists():
        partial = begin_folder(folder)
        os.replace(folder, partial)
        shutil.rmtree(partial)


def clear_leftovers(folder: Path) -> None:
    """Removes from a folder what a killed process left half written."""
    for old in folder.glob(".*.old"):
        replaced = folder / old.name.removeprefix(".").removesuffix(".old")
        if replaced.exists():
            shutil.rmtree(old)
        else:  # killed between two moves
            os.replace(old, replaced)
    for partial in folder.glob(".*.partial"):
        shutil.rmtree(partial)


def link_folder(source: Path, target: Path) -> None:
    """A copy of a folder whose files are never written into: it takes no room where the file system has links."""
    shutil.copytree(source, target, copy_function=_link)


def write_manifest(folder: Path) -> None:
    """Writes down of what a folder is made: its files, with their sizes and SHA-256."""
    files = {
        path.relative_to(folder).as_posix(): _description(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    (folder / MANIFEST_FILE).write_text(json.dumps({"files": files}, indent=1))


def damage(folder: Path) -> list[str]:
    """
    Compares a folder with its manifest.

    Args:
        folder (`Path`):
            Where [`write_manifest`] wrote one.

    Returns:
        `list[str]`: What is wrong, a file each (`"model.safetensors is missing"`); none where the folder is whole.
    """
    try:
        files = json.loads((folder / MANIFEST_FILE).read_text())["files"]
        expected = {str(name): (entry["size"], entry["sha256"]) for name, entry in files.items()}
    except FileNotFoundError:
        return [f"{MANIFEST_FILE} is missing"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return [f"{MANIFEST_FILE} is damaged"]
    except OSError as error:
        return [f"{MANIFEST_FILE} cannot be read ({error.strerror})"]
    found = (_difference(folder / name, name, *entry) for name, entry in expected.items())
    return [difference for difference in found if difference is not None]


def sync(folder: Path) -> None:
    """Has the disk hold a folder and all that is in it."""
    for path in folder.rglob("*"):
        _sync_one(path)
    _sync_one(folder)


@contextmanager
def removed_on_error(partial: Path, target: Path, hint: str = "") -> Iterator[None]:
    """Removes a folder that cannot be written, such as on a full disk, and names what it was to become."""
    try:
        with named_on_error(target, hint):
            yield
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def named_on_error(target: Path, hint: str = "") -> Iterator[None]:
    """
    Within it `target` is written.

    Raises:
        OSError: If it cannot be, in words, whatever the writers say of a full disk.
    """
    try:
        yield
    except Exception as error:
        # torch.save tells of a full disk by a RuntimeError of its own writers.
        if not isinstance(error, OSError | SafetensorError) and not _is_of_a_writer(error):
            raise
        free = shutil.disk_usage(target.parent).free / 2**20
        raise OSError(
            f"{target.name} cannot be written to {target.parent}, where {free:.0f} MiB are free: {error}.{hint}"
        ) from error


def _is_of_a_writer(error: Exception) -> bool:
    return any(words in str(error) for words in ("inline_container", "basic_ios", "iostream"))


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}.{ending}")


def _link(source: str, target: str) -> Any:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        return shutil.copy2(source, target)


def _description(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": _hash(path)}


def _difference(path: Path, name: str, size: int, sha256: str) -> str | None:
    try:
        present = path.stat().st_size
        if present != size:
            return f"{name} has {present} bytes, not {size}"
        return None if _hash(path) == sha256 else f"{name} holds something else than was written"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"


def _hash(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            hashed.update(block)
    return hashed.hexdigest()


def _sync_one(path: Path) -> None:
    if os.name != "posix" and path.is_dir():  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
