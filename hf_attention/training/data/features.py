"""Region features of a frozen backbone, computed once and memory-mapped."""

import copy
import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from filelock import FileLock
from torch import nn
from tqdm.auto import tqdm
from transformers import BaseImageProcessor

from ...models.pictures import layout_of
from ..files import damage, replace_folder, write_manifest
from .crops import random_crop
from .image_columns import image_files, read_image


logger = logging.getLogger(__name__)

FORMAT = 1  # raised where the same inputs would give other numbers
FEATURES_FILE = "features.npy"


def stored_region_features(
    dataset: Dataset,
    image_column: str,
    encoder: nn.Module,
    image_processor: BaseImageProcessor,
    folder: str | Path,
    mirrored: bool = False,
    crop: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    show_progress: bool = True,
) -> np.memmap:
    """
    Opens the features of a split's images, and computes them first where `folder` lacks them, or where what is stored
    is damaged. Of several runs that need the same ones, one computes them and the others wait.

    They lie in a folder whose name is a hash of everything the features depend on, so that stale ones are never read.
    It appears under that name only when it is complete.

    Args:
        dataset (`Dataset`):
            The images.
        image_column (`str`):
            Their column.
        encoder (`nn.Module`):
            An [`ImageEncoder`] with a backbone.
        image_processor (`BaseImageProcessor`):
            Makes `pixel_values` from images.
        folder (`str` or `Path`):
            Where the files lie.
        mirrored (`bool`, *optional*, defaults to `False`):
            Whether to mirror each image.
        crop (`int`, *optional*, defaults to 0):
            Which random crop of each image, see [`random_crop`]; 0: the whole image.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float32`):
            Precision of the backbone.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`):
            Where to compute.
        batch_size (`int`, *optional*, defaults to 8):
            Images at a time; few fit the caches of a CPU best.
        show_progress (`bool`, *optional*, defaults to `True`):
            Whether to show a bar.

    Returns:
        `np.memmap`: (images, regions, region_size), float16, read-only.

    Raises:
        ValueError: If an image cannot be decoded, or its features are not finite in float16.
    """
    place = Path(folder) / _key(dataset, image_column, encoder, image_processor, mirrored, crop, dtype)
    if not _is_whole(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if not _is_whole(place):  # which another run may have changed meanwhile
                view = f"crop {crop}" if crop else "whole images"
                view = f"features, {view}{', mirrored' if mirrored else ''}"
                progress = partial(tqdm, desc=view, disable=not show_progress)
                encoder = copy.deepcopy(encoder).eval().to(device, dtype, memory_format=torch.channels_last)
                arguments = (dataset, image_column, encoder, image_processor, mirrored, crop, batch_size, progress)
                replace_folder(place, partial(_compute, *arguments))
    return np.load(place / FEATURES_FILE, mmap_mode="r")


def _is_whole(place: Path) -> bool:
    if not place.exists():
        return False
    faults = damage(place)
    if faults:
        logger.warning("The features in %s are not whole, and are computed anew: %s.", place, "; ".join(faults))
    return not faults


@torch.inference_mode()
def _compute(
    dataset: Dataset,
    image_column: str,
    encoder: nn.Module,
    image_processor: BaseImageProcessor,
    mirrored: bool,
    crop: int,
    batch_size: int,
    progress: Callable[[Iterable[int]], Iterable[int]],
    folder: Path,
) -> None:
    """Writes the features, and of what they are made."""
    folder.mkdir()
    file = folder / FEATURES_FILE
    weight = next(encoder.backbone.parameters())
    features = None
    for start in progress(range(0, len(dataset), batch_size)):
        rows = range(start, min(start + batch_size, len(dataset)))
        images = [read_image(dataset, row, image_column) for row in rows]
        if crop:
            images = [random_crop(image, row, crop) for image, row in zip(images, rows, strict=True)]
        pixel_values = image_processor(images=images, return_tensors="pt", **layout_of(images))["pixel_values"]
        if mirrored:
            pixel_values = pixel_values.flip(-1)
        pixel_values = pixel_values.to(weight.device, weight.dtype, memory_format=torch.channels_last)
        regions = encoder.extract_regions(pixel_values).to("cpu", torch.float16)
        finite = regions.isfinite().flatten(1).all(1)
        if not finite.all():
            raise ValueError(f"The features of row {rows[int(finite.int().argmin())]} are not finite in float16.")
        if features is None:
            shape = (len(dataset), *regions.shape[1:])
            features = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
            _reserve(file)
        features[rows.start : rows.stop] = regions.numpy()
    features.flush()
    write_manifest(folder)


def _key(
    dataset: Dataset,
    image_column: str,
    encoder: nn.Module,
    image_processor: BaseImageProcessor,
    mirrored: bool,
    crop: int,
    dtype: torch.dtype,
) -> str:
    backbone, layers = encoder.backbone, encoder.config.backbone_layers
    weights = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    config = {
        k: v for k, v in backbone.config.to_diff_dict().items() if k not in ("_name_or_path", "transformers_version")
    }
    processor = {k: v for k, v in json.loads(image_processor.to_json_string()).items() if k != "auto_map"}
    files = ((str(path), path.stat()) for _, path in image_files(dataset, image_column))
    parts = {
        "format": FORMAT,
        "data": dataset._fingerprint,
        "files": [(path, stat.st_size, stat.st_mtime_ns) for path, stat in files],
        "column": image_column,
        "weights": weights.hexdigest(),
        "backbone": config,
        "processor": processor,
        "mirrored": mirrored,
        **({"crop": crop} if crop else {}),  # the usual features keep the name that they have always had
        **({"layers": layers} if layers else {}),
        "dtype": str(dtype),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _reserve(path: Path) -> None:
    """
    Takes the space that a file of holes will need: writing into a memory map on a full disk would kill the process.

    Raises:
        OSError: Where there is not so much space.
    """
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            getattr(os, "posix_fallocate", lambda *arguments: None)(file.fileno(), 0, size)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # others say that the file system cannot do it
            reason = f"No space left on the disk for stored features of {size / 2**20:.0f} MiB"
            raise OSError(errno.ENOSPC, reason, str(path.parent)) from error
