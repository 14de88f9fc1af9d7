"""
Scores a model, of this package or any other.

    python scripts/evaluate_model.py perplexity --model runs/ptb --dataset_name $HF_ATTENTION_DATA/data/ptb

`perplexity` is that of a text under a causal language model: the texts of a column, each followed by the tokenizer's
end-of-sentence token, or joined by `--separator`. A recurrent model reads them as one stream, its state carried from
segment to segment; any other predicts the last `--segment_length` tokens of each window of `--context`.

    python scripts/evaluate_model.py captions --model runs/flickr8k --dataset_name $HF_ATTENTION_DATA/data/flickr8k
    python scripts/evaluate_model.py translation --model runs/en-de --dataset_name $HF_ATTENTION_DATA/data/multi30k \\
        --source_lang en --target_lang de
    python scripts/evaluate_model.py chat --model runs/chat --dataset_name $HF_ATTENTION_DATA/data/korean_chatbot \\
        --source_column question --target_column answer
    python scripts/evaluate_model.py answers --model runs/daquar --dataset_name $HF_ATTENTION_DATA/data/daquar

These generate as the checkpoint's own generation settings say, and score as training does. With `--model_card` the
scores go into a card's `model-index`, as the Hub reads it.
"""

import sys


if __name__ == "__main__":  # first of all
    from hf_attention_command_line.ending import end_in_one_line, run

    end_in_one_line()

from hf_attention.training.tasks.scoring import main  # noqa: E402


if __name__ == "__main__":
    sys.exit(run(main, __doc__))
