"""Paper to draw on, in inches: titles, places for pictures, and the bar that tells what the colours mean."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..extras import missing_modules
from .fonts import WORD_POINTS


if TYPE_CHECKING or not missing_modules("visualization"):
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure


_SMALLEST_POINTS = 4.0
_LONGEST_INCHES = 200.0


def wrap_title(title: str | None, width: float) -> tuple[list[str], float]:
    """
    Breaks a title into lines.

    Args:
        title (`str`, *optional*): Without one there are no lines.
        width (`float`): Of the sheet, in inches.

    Returns:
        `tuple[list[str], float]`: The lines, and how many inches they take at the head of the sheet.
    """
    lines = textwrap.wrap(title or "", width=max(int(9 * width), 1))
    return lines, 0.1 + 0.19 * len(lines)


class Sheet:
    """
    Paper of a size in inches: a figure of its own, or the place of `ax`, where it shrinks to what is there.

    Args:
        ax (`matplotlib.axes.Axes`, *optional*): In whose place to draw; they are removed.
        width, height (`float`): In inches.

    Raises:
        ValueError: Where the paper is too large to be drawn, or the place so small that nobody could read the words.
    """

    def __init__(self, ax: Axes | None, width: float, height: float):
        self.width, self.height = width, height
        if ax is None:
            if max(width, height) > _LONGEST_INCHES:
                raise ValueError(
                    f"A picture of {width:.0f}x{height:.0f} inches is more than can be drawn: pass fewer words."
                )
            self.figure = Figure(figsize=(width, height))
            FigureCanvasAgg(self.figure)
            self.is_own, self.scale, self.left, self.top = True, 1.0, 0.0, 1.0
            self.inch = np.array([1 / width, 1 / height])
            return
        self.is_own, self.figure = False, ax.figure
        self.inch = self.figure.dpi / np.array([self.figure.bbox.width, self.figure.bbox.height])
        place = ax.get_position()
        room = np.array([place.width, place.height]) / self.inch
        self.scale = min(1.0, *(room / (width, height) + 1e-6))
        if self.scale * WORD_POINTS < _SMALLEST_POINTS:
            raise ValueError(
                f"The words do not fit: the picture needs {width:.1f}x{height:.1f} inches, and `ax` has "
                f"{room[0]:.1f}x{room[1]:.1f}. Take a larger figure, or fewer words."
            )
        self.inch *= self.scale
        self.left, self.top = place.x0 + (place.width - width * self.inch[0]) / 2, place.y1
        ax.remove()

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """
        Places axes.

        Args:
            left, top (`float`): How many inches they lie from the left and from the top.
            width, height (`float`): Their size in inches.

        Returns:
            `matplotlib.axes.Axes`
        """
        x, y = self.inch
        return self.figure.add_axes((self.left + left * x, self.top - (top + height) * y, width * x, height * y))

    def write_title(self, lines: Sequence[str]) -> None:
        """
        Writes lines in the middle, above all.

        Args:
            lines (`Sequence[str]`): From [`wrap_title`].
        """
        if not lines:
            return
        x, y = self.left + self.width / 2 * self.inch[0], self.top - 0.08 * self.inch[1]
        style = {"fontsize": WORD_POINTS * self.scale, "ha": "center", "va": "top", "parse_math": False}
        if self.is_own:
            self.figure.suptitle("\n".join(lines), x=x, y=y, **style)
        else:
            self.figure.text(x, y, "\n".join(lines), **style)

    def draw_scale(self, colours: Colormap, highest: float | None) -> None:
        """
        Draws a bar at the foot that tells the weights.

        Args:
            colours (`matplotlib.colors.Colormap`): From no weight to the largest.
            highest (`float`, *optional*): The largest. `None`: each picture has its own.
        """
        length = min(2.4, self.width - 0.9)
        ax = self.axes((self.width - length) / 2 + 0.1, self.height - 0.36, length, 0.09)
        bar = self.figure.colorbar(
            ScalarMappable(Normalize(0, highest or 1), colours), cax=ax, orientation="horizontal"
        )
        bar.outline.set_linewidth(0.5)
        if highest is None:
            bar.set_ticks([0, 1], labels=["0", "max"])
        else:
            bar.set_ticks([0, highest / 2, highest], labels=["0", f"{highest / 2:.2g}", f"{highest:.2g}"])
        points = 8 * self.scale
        ax.tick_params(labelsize=points, length=2 * self.scale, pad=self.scale)
        ax.set_ylabel("weight", rotation=0, ha="right", va="center", fontsize=points)
