"""
Trains a sequence-to-sequence model with attention on pairs of sentences: translation, or chat.

    accelerate launch scripts/train_seq2seq.py --recipe multi30k-en-de \\
        --dataset_name $HF_ATTENTION_DATA/data/multi30k --output_dir runs/en-de

Data larger than the disk are read as they come with `--streaming --max_steps 100000`.

At the end `output_dir` holds the model that was best on validation, with its tokenizer and generation settings,
results.json and a model card; with `--push_to_hub` the Hub has them too.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.tasks.translating.main import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
