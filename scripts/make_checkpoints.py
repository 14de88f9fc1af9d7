"""
Trains the small models that the package ships, and packages them. `make checkpoints` runs it, for hours.

    python scripts/make_checkpoints.py --only toy-translator

Each is trained under runs/ by the commands that its card tells, and put into hf_attention/checkpoints/.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.shipping.main import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
