"""
Measures whether attention lies where it should, for any checkpoint of this package.

    python scripts/evaluate_attention.py --model runs/captioner runs/answers runs/translator --json attention.json
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.seeing.evaluation.report import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main))
