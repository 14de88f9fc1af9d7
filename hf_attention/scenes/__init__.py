"""Pictures, questions and a toy language that are made here, with the true boxes, answers and alignments."""

from .data import make_captions, make_scene_questions, make_scenes
from .toy_language import make_translations


__all__ = ["make_captions", "make_scene_questions", "make_scenes", "make_translations"]
