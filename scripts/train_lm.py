"""
Trains a recurrent language model on running text.

    accelerate launch scripts/train_lm.py --recipe ptb --dataset_name $HF_ATTENTION_DATA/data/ptb \\
        --output_dir runs/ptb

At the end `output_dir` holds the model that was best on validation, with its tokenizer, results.json and a model card;
with `--push_to_hub` the Hub has them too.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.tasks.language_modeling.main import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
