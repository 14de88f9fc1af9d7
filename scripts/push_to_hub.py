"""
Pushes the folder of a finished run to the Hub, with the token of HF_TOKEN or `hf auth login`.

    python scripts/push_to_hub.py runs/flickr8k my-captioner --private
    python scripts/push_to_hub.py runs/flickr8k someone/captioner --create_pr

Hidden files and folders, such as checkpoints, stay here.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.publish.push import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
