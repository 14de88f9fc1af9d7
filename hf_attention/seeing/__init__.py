"""Where a model looked: figures, and a page to click through."""

from .figures import plot_alignment, plot_caption_attention, plot_comparison, plot_glimpses
from .page import attention_page


__all__ = ["attention_page", "plot_alignment", "plot_caption_attention", "plot_comparison", "plot_glimpses"]
