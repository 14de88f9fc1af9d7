"""
Trains an image captioner on pictures with captions.

    accelerate launch scripts/train_captioner.py --recipe flickr8k --dataset_name $HF_ATTENTION_DATA/data/flickr8k \\
        --backbone $HF_ATTENTION_DATA/models/mobilenet_v2_1.0_224 --output_dir runs/flickr8k

With a frozen backbone, its features are computed once and stored. Data larger than the disk are read as they come with
`--streaming --max_steps 100000`; then a frozen backbone sees the training images anew each time. At the end
`output_dir` holds the model that was best on validation, with its processor and generation settings, and results.json.

Then, from that model, self-critical training (Rennie et al. 2017):

    accelerate launch scripts/train_captioner.py --recipe flickr8k-self-critical \\
        --dataset_name $HF_ATTENTION_DATA/data/flickr8k --model_name_or_path runs/flickr8k \\
        --output_dir runs/flickr8k-self-critical
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.tasks.captioning.main import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
