"""The picture of a model's card: where it looks, for one example."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...extras import require_extra


if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_FILE = "attention.png"

logger = logging.getLogger(__name__)


def save_picture(draw: Callable[[], "Figure | None"], folder: str | Path) -> str | None:
    """
    Saves a picture as `attention.png`.

    Args:
        draw (`Callable`):
            Draws it; `None` where there is nothing to see.
        folder (`str` or `Path`):
            Where the file goes.

    Returns:
        `str`, *optional*: The file's name; `None` where nothing was drawn, be it that matplotlib is missing.
    """
    try:
        require_extra("visualization")
    except ModuleNotFoundError as error:
        logger.warning("The model card has no picture. %s", error)
        return None
    figure = draw()
    if figure is None:
        return None
    figure.savefig(Path(folder) / PICTURE_FILE, dpi=120)
    return PICTURE_FILE
