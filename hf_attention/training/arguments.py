"""The arguments of the training scripts, as dataclasses for `transformers.HfArgumentParser`."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal


@dataclass
class LoopArguments:
    """What [`~hf_attention.training.loop.train`] is told, whatever the model."""

    output_dir: str = field(metadata={"help": "Folder of the run: checkpoints, log and, at the end, the best model."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete another run's checkpoints and log from output_dir."}
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint folder, or 'latest': the newest one of output_dir."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the weights, of dropout and of the order of the data."})
    num_train_epochs: int = field(default=10, metadata={"help": "Passes over the training data."})
    learning_rate: float = field(default=8e-4, metadata={"help": "Highest learning rate of AdamW."})
    weight_decay: float = field(
        default=0.01, metadata={"help": "Decay of weight matrices; biases, norms and embeddings have none."}
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "A schedule of transformers.get_scheduler."})
    warmup_steps: int = field(default=200, metadata={"help": "Steps in which the learning rate rises from 0."})
    max_grad_norm: float = field(default=2.0, metadata={"help": "Gradients are clipped to this norm."})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Batches of one step."})
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None, metadata={"help": "Precision of forward and backward; the weights stay float32."}
    )
    ema_decay: float = field(
        default=0.998,
        metadata={"help": "Decay of the averaged weights, which are evaluated and saved; 0: no averaging."},
    )
    metric_for_best_model: str = field(default="cider", metadata={"help": "The validation metric to select by."})
    greater_is_better: bool = field(default=True, metadata={"help": "Whether more of that metric is better."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many epochs without a better metric."}
    )
    save_total_limit: int = field(default=1, metadata={"help": "Checkpoints that are kept."})
    logging_steps: int = field(default=50, metadata={"help": "Steps between two lines of log.jsonl."})
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that read data; 0: this one."})

    def __post_init__(self):
        for name in ("num_train_epochs", "gradient_accumulation_steps", "save_total_limit", "logging_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must lie in [0, 1), got {self.ema_decay}.")


@dataclass
class DecoderArguments:
    """Fields of `AttentionCaptionerConfig`, under the same names; the defaults are a recipe that works on Flickr8k."""

    attention_type: Literal["additive", "dot", "general", "scaled_dot", "none"] = "additive"
    attention_size: int = 512
    num_attention_heads: int = 1
    attention_order: Literal["before_rnn", "after_rnn"] = "before_rnn"
    input_feeding: bool = False
    context_gate: bool | None = field(
        default=None, metadata={"help": "Xu's gate on the context. Default: wherever the attention allows it."}
    )
    coverage: bool = False
    doubly_stochastic_penalty: float = 0.0
    rnn_type: Literal["lstm", "gru"] = "lstm"
    embedding_size: int = 256
    hidden_size: int = 512
    num_hidden_layers: int = 1
    memory_size: int = 512
    initial_state: Literal["memory_mean", "zeros"] = "memory_mean"
    readout_size: int | None = None
    readout_activation: Literal["tanh", "maxout", "none"] = "tanh"
    readout_embedding: bool = False
    embedding_dropout: float = 0.5
    hidden_dropout: float = 0.5
    readout_dropout: float = 0.5
    memory_dropout: float = 0.5
    region_dropout: float = 0.0
    label_smoothing: float = 0.1
    tie_word_embeddings: bool = False

    def __post_init__(self):
        if self.context_gate is None:
            self.context_gate = self.attention_type != "none" and self.attention_order == "before_rnn"

    def config_kwargs(self) -> dict[str, Any]:
        """The fields as keyword arguments of a configuration."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: None if value == "none" else value for name, value in values.items()}


@dataclass
class TokenizerArguments:
    """The tokenizer: a ready one, or one trained on the training texts."""

    tokenizer_name: str | None = field(default=None, metadata={"help": "Name or folder of a ready tokenizer."})
    tokenizer_type: Literal["word", "bpe"] = field(
        default="word", metadata={"help": "word: lower-cased words without punctuation; bpe: byte-level BPE."}
    )
    min_count: int = field(default=5, metadata={"help": "Rarer words (BPE: merges) are left out."})
    vocab_size: int = field(default=10000, metadata={"help": "Largest vocabulary."})


@dataclass
class CaptionDataArguments:
    """The pictures and their captions."""

    dataset_name: str = field(metadata={"help": "Hub name or folder of the data set."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    image_column: str = field(default="image", metadata={"help": "Column of the images."})
    captions_column: str = field(
        default="captions", metadata={"help": "Column of the captions: a list of strings, or one string."}
    )
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training images."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many images of other splits."})
    max_target_length: int = field(default=40, metadata={"help": "Longer captions are cut, in tokens."})
    image_size: int | None = field(
        default=None,
        metadata={"help": "Resize images straight to this size, without cropping. Default: as the backbone's do."},
    )
    mirror: bool = field(
        default=False, metadata={"help": "Mirror half of the training images (captions with left or right suffer)."}
    )
    features_dir: str | None = field(
        default=None, metadata={"help": "Where a frozen backbone's features are stored. Default: under HF_HOME."}
    )
    images_per_batch: int = field(default=16, metadata={"help": "Images of one batch (and process)."})
    captions_per_image: int = field(
        default=5, metadata={"help": "Captions that share an image's keys in a batch; 1: batches of similar length."}
    )
    bucket_batches: int = field(
        default=20, metadata={"help": "Batches among which captions are sorted by length; 1: in random order."}
    )
    eval_batch_size: int = field(default=100, metadata={"help": "Images of one batch in generation."})
    validation_num_beams: int = field(default=1, metadata={"help": "Beams of the validation after each epoch."})
    tune_generation: bool = field(
        default=False, metadata={"help": "At the end, choose beams and length penalty on the validation split."}
    )
    num_beams: int = field(default=3, metadata={"help": "Beams stored with the model where they are not tuned."})
    length_penalty: float = field(default=0.7, metadata={"help": "The same, of the length's exponent."})
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})


@dataclass
class CaptionModelArguments:
    """The vision backbone of the captioner."""

    backbone: str | None = field(default=None, metadata={"help": "Name or folder of a pretrained vision model."})
    backbone_config: str | None = field(
        default=None, metadata={"help": "Instead: configuration (folder or file) of one trained from scratch."}
    )
    train_backbone: bool = field(
        default=False, metadata={"help": "Train a pretrained backbone too. Without, it is frozen."}
    )
    backbone_learning_rate: float | None = field(
        default=None, metadata={"help": "Default: 1e-5 where pretrained, learning_rate where from scratch."}
    )
    learned_positions: bool = field(
        default=True, metadata={"help": "Add a learned vector to each region; binds the model to one image size."}
    )

    def __post_init__(self):
        if (self.backbone is None) == (self.backbone_config is None):
            raise ValueError("Give either `backbone` (pretrained) or `backbone_config` (from scratch).")
        if self.backbone_config is not None:
            self.train_backbone = True
        elif self.train_backbone and self.backbone_learning_rate is None:
            self.backbone_learning_rate = 1e-5
        elif not self.train_backbone and self.backbone_learning_rate is not None:
            raise ValueError("`backbone_learning_rate` needs `train_backbone`.")
