"""
Trains a model that answers questions about generated scenes, and says where it looks.

    python scripts/answer_scenes.py --output_dir runs/scene-questions

It prints the share of right answers by kind of question, on unseen scenes and on those with colours and shapes that
training never shows together, and for the questions of colour and shape how often the cell that is looked at most lies
on the object that the answer depends on, beside how often a cell drawn at random does.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.tasks.answering.scenes import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
