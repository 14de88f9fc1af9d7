"""
Shows models on a web page: they caption, answer and translate, and show where they looked.

    python scripts/demo.py
    python scripts/demo.py --captioner runs/demo/best --answerer runs/scene-questions/best --translator runs/translator
    python scripts/demo.py --captioner someone/captioner --write_space space
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.demo.start import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main))
