"""
Trains a small captioner on generated scenes, from nothing, and shows what it has learned. `make demo` runs it.

    python scripts/caption_scenes.py --output_dir runs/demo

The model is saved, loaded back with `pipeline("image-to-text")` and captions scenes that it has not seen. It is scored
on the (colour, shape) pairs that its captions name: over 500 unseen scenes, and over 500 scenes with pairs that never
occurred together in training, though each colour and each shape did; its loss has nothing to learn from that. A
picture shows where it looked as it wrote each word, at an unseen scene of several objects, if it can be one whose
objects it all named. The last lines say what to try next.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.tasks.captioning.scenes import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
