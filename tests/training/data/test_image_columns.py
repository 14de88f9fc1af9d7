"""The images of a split's rows, and errors that name those that are none."""

from pathlib import Path

import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

from hf_attention.training.data.image_columns import check_images, image_ids, read_image


def test_bad_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    PILImage.new("RGB", (4, 4)).save(tmp_path / "fine.png")
    rows = {"picture": [str(tmp_path / name) for name in ("fine.png", "broken.png")], "text": ["a dog", " "]}
    dataset = Dataset.from_dict(rows, features=Features({"picture": Image(), "text": Value("string")}))
    for check in (check_images, image_ids):
        with pytest.raises(ValueError, match=r"`image_column` is 'image', .*\['picture', 'text'\]"):
            check(dataset, "image")
        with pytest.raises(ValueError, match="holds Value.* not images"):
            check(dataset, "text")
    with pytest.raises(ValueError, match=r"row 1 .*broken\.png.* cannot be decoded: .*`skip_bad_images` leaves"):
        read_image(dataset, 1, "picture")
    assert read_image(dataset, 0, "picture").size == (4, 4)


def test_rows_without_an_image_and_images_of_floats(tmp_path: Path) -> None:
    dataset = Dataset.from_dict({"image": [None]}, features=Features({"image": Image()}))
    for read in (lambda: read_image(dataset, 0, "image"), lambda: image_ids(dataset, "image")):
        with pytest.raises(ValueError, match="Row 0 has no image"):
            read()
    floats = tmp_path / "floats.tiff"
    PILImage.new("F", (4, 4)).save(floats)
    dataset = Dataset.from_dict({"image": [str(floats)]}, features=Features({"image": Image()}))
    with pytest.raises(ValueError, match="row 0 .*floats.tiff.*mode F"):
        read_image(dataset, 0, "image")
