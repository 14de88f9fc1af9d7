"""The picture of a model's card: where it looks, for one example."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...extras import require_extra
from ...seeing.fonts import MissingLettersWarning
from ..files import named_on_error


if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_FILE = "attention.png"

_DPI = 150  # a screen of twice the pixels shows it crisp

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
        `str`, *optional*: The file's name; `None` where nothing was drawn, be it that matplotlib is missing, or a font
        that has the letters: a line of the log says which to install.
    """
    try:
        require_extra("visualization")
    except ModuleNotFoundError as error:
        logger.warning("The model card has no picture. %s", error)
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", MissingLettersWarning)
        try:
            figure = draw()
        except MissingLettersWarning as missing:
            logger.warning("The model card has no picture. %s", missing)
            return None
    if figure is None:
        return None
    file = Path(folder) / PICTURE_FILE
    with named_on_error(file):
        figure.savefig(file, dpi=_DPI)
    return PICTURE_FILE
