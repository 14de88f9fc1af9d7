"""
Trains a model that answers questions about pictures.

    accelerate launch scripts/train_vqa.py --recipe daquar --dataset_name $HF_ATTENTION_DATA/data/daquar \\
        --backbone $HF_ATTENTION_DATA/models/mobilenet_v2_1.0_224 --output_dir runs/daquar

With a frozen backbone, the features of each image are computed once and stored, however many questions there are. At
the end `output_dir` holds the model that was best on validation, with its processor, and results.json.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.tasks.answering.main import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
