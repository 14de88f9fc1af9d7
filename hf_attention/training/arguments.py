"""The arguments of the training scripts, as dataclasses for `transformers.HfArgumentParser`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal


# What captions are validated by.
CAPTION_METRICS = ("cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l")
DRY_RUN_STEPS = 2
DRY_RUN_SAMPLES = 16


def changed_options(arguments: Any, defaults: Mapping[str, Any] | None = None) -> set[str]:
    """
    The names of the options that differ from their defaults.

    Args:
        arguments: An instance of one of the classes below.
        defaults (`Mapping`, *optional*):
            The script's own, in place of the class's.
    """
    defaults = {entry.name: entry.default for entry in fields(arguments)} | dict(defaults or {})
    return {entry.name for entry in fields(arguments) if getattr(arguments, entry.name) != defaults[entry.name]}


def refuse_options(argument: str, given: set[str]) -> None:
    """
    Args:
        argument (`str`):
            The option that names something ready made.
        given (`set[str]`):
            Those of the options given that only say how to make one.

    Raises:
        ValueError: If there are any.
    """
    if given:
        names = ", ".join(f"`{name}`" for name in sorted(given))
        raise ValueError(f"Leave out {names}: with `{argument}`, they are those of what it names.")


@dataclass
class LoopArguments:
    """What [`~hf_attention.training.loop.train.train`] is told, whatever the model."""

    output_dir: str = field(metadata={"help": "Folder of the run: checkpoints, log and, at the end, the best model."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete another run's checkpoints and log from output_dir."}
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint folder, or 'latest': the newest one of output_dir."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the weights, of dropout and of the order of the data."})
    num_train_epochs: int = field(default=10, metadata={"help": "Passes over the training data."})
    max_steps: int | None = field(
        default=None, metadata={"help": "Instead of num_train_epochs: the optimiser steps of the run."}
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Build everything, take two steps, validate on a few samples and save: does it run at all?"},
    )
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
    average_checkpoints: int = field(
        default=0,
        metadata={
            "help": "At the end, also try the mean of the weights of so many epochs, and keep it if it is better on "
            "validation; 0: do not."
        },
    )
    average_by: Literal["last", "best"] = field(
        default="best", metadata={"help": "Which epochs these are: the last ones, or those with the best metric."}
    )
    checkpointing_steps: str = field(
        default="epoch", metadata={"help": "Write a checkpoint every so many steps; epoch: after each epoch."}
    )
    save_total_limit: int = field(default=1, metadata={"help": "Checkpoints that are kept."})
    logging_steps: int = field(default=50, metadata={"help": "Steps between two lines of log.jsonl."})
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = field(
        default="none", metadata={"help": "The tracker that also gets the numbers of log.jsonl."}
    )
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that read data; 0: this one."})

    def __post_init__(self):
        if self.dry_run:
            self.max_steps = DRY_RUN_STEPS
        counts = ("num_train_epochs", "max_steps", "gradient_accumulation_steps", "save_total_limit", "logging_steps")
        for name in counts:
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.checkpointing_steps != "epoch" and not (
            self.checkpointing_steps.isdecimal() and int(self.checkpointing_steps) > 0
        ):
            raise ValueError(
                f"`checkpointing_steps` must be a number of steps or 'epoch', got {self.checkpointing_steps!r}."
            )
        if self.average_checkpoints < 0 or self.average_checkpoints == 1:
            raise ValueError(f"`average_checkpoints` must be 0, or at least 2, got {self.average_checkpoints}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must lie in [0, 1), got {self.ema_decay}.")

    def eval_samples(self, max_eval_samples: int | None) -> int | None:
        """How many samples of a split to evaluate on: a few in a dry run, else as many as is asked."""
        return min(max_eval_samples or DRY_RUN_SAMPLES, DRY_RUN_SAMPLES) if self.dry_run else max_eval_samples


@dataclass
class StreamingArguments:
    """Reading the training data as it comes, where it is larger than the disk."""

    streaming: bool = field(
        default=False,
        metadata={"help": "Read training data as it comes, never keeping all of it. The run has max_steps then."},
    )
    shuffle_buffer: int = field(
        default=10000, metadata={"help": "Rows that are read at a time, and shuffled among themselves."}
    )
    tokenizer_rows: int = field(
        default=100000, metadata={"help": "Train the tokenizer on so many of the first rows, where none is named."}
    )
    steps_per_epoch: int = field(
        default=1000, metadata={"help": "Steps after which comes what follows an epoch: validation, a checkpoint."}
    )

    def __post_init__(self):
        for name in ("shuffle_buffer", "tokenizer_rows", "steps_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")

    def check(self, loop_args: LoopArguments) -> None:
        """Raises a ValueError if a run with these arguments cannot be streamed."""
        if self.streaming and loop_args.max_steps is None:
            raise ValueError("`streaming` needs `max_steps`: it is not known beforehand how long an epoch is.")
        if self.streaming and loop_args.dataloader_num_workers > 1:
            raise ValueError(
                "`dataloader_num_workers` must be 0 or 1 with `streaming`, which has one order, "
                f"got {loop_args.dataloader_num_workers}."
            )


@dataclass
class DecoderArguments:
    """Fields of every decoder's configuration, under the same names."""

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
    readout_size: int | None = None
    readout_activation: Literal["tanh", "maxout", "none"] = "tanh"
    readout_embedding: bool = False
    embedding_dropout: float = 0.5
    hidden_dropout: float = 0.5
    readout_dropout: float = 0.5
    memory_dropout: float = 0.5
    variational_dropout: bool = False
    recurrent_weight_dropout: float = 0.0
    label_smoothing: float = 0.1
    tie_word_embeddings: bool = False

    def config_kwargs(self) -> dict[str, Any]:
        """The fields as keyword arguments of a configuration."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if self.context_gate is None:
            values["context_gate"] = self.attention_type != "none" and self.attention_order == "before_rnn"
        return {name: None if value == "none" else value for name, value in values.items()}


@dataclass
class CaptionDecoderArguments(DecoderArguments):
    """The captioner's; the defaults are a recipe that works on Flickr8k."""

    memory_size: int = 512
    initial_state: Literal["memory_mean", "zeros"] = "memory_mean"
    region_dropout: float = 0.0


@dataclass
class Seq2SeqModelArguments(DecoderArguments):
    """Fields of `AttentionSeq2SeqConfig`, under the same names; the defaults suit 30,000 pairs of sentences."""

    attention_size: int = 256
    context_gate: bool | None = False
    initial_state: Literal["final_states", "final_backward_state", "copied_states", "memory_mean", "zeros"] = (
        "final_states"
    )
    embedding_dropout: float = 0.3
    hidden_dropout: float = 0.3
    readout_dropout: float = 0.0
    memory_dropout: float = 0.0
    tie_word_embeddings: bool = True
    share_encoder_decoder_embeddings: bool | None = field(
        default=None, metadata={"help": "Default: wherever source and target have one vocabulary."}
    )
    encoder_embedding_size: int | None = None
    encoder_rnn_type: Literal["lstm", "gru"] | None = None
    encoder_hidden_size: int = 256
    encoder_num_hidden_layers: int = 1
    encoder_bidirectional: bool = True
    encoder_skip_connection: bool = False


@dataclass
class TokenizerArguments:
    """The tokenizer: a ready one, or one trained on the training texts by the other options."""

    tokenizer_name: str | None = field(default=None, metadata={"help": "Name or folder of a ready tokenizer."})
    tokenizer_type: Literal["word", "word_punct", "space", "bpe", "unigram"] = field(
        default="word",
        metadata={
            "help": "word: lower-cased words without punctuation; word_punct: words and marks; space: what "
            "white space separates; bpe: byte-level BPE; unigram: pieces of words."
        },
    )
    min_count: int = field(default=5, metadata={"help": "Rarer words (BPE: merges) are left out."})
    vocab_size: int = field(default=10000, metadata={"help": "Largest vocabulary."})
    lowercase: bool = field(default=False, metadata={"help": "Lower-case the texts; word does so anyway."})


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
    skip_bad_images: bool = field(
        default=False, metadata={"help": "Leave out images that cannot be decoded, and say which. Default: an error."}
    )
    captions_per_image: int = field(
        default=5, metadata={"help": "Captions that share an image's keys in a batch; 1: batches of similar length."}
    )
    consensus_weights: bool = field(
        default=False, metadata={"help": "A caption counts as much as it is like the others of its image, by CIDEr."}
    )
    bucket_batches: int = field(
        default=20, metadata={"help": "Batches among which captions are sorted by length; 1: in random order."}
    )
    eval_batch_size: int = field(default=100, metadata={"help": "Images of one batch in generation."})
    validation_num_beams: int = field(default=1, metadata={"help": "Beams of the validation after each epoch."})
    tune_generation: bool = field(
        default=False, metadata={"help": "At the end, choose beams and length penalty on the validation split."}
    )
    tuning_metric: str | None = field(
        default=None,
        metadata={"help": "By which score, or sum of scores, as cider+bleu_4. Default: metric_for_best_model."},
    )
    num_beams: int = field(default=3, metadata={"help": "Beams stored with the model where they are not tuned."})
    length_penalty: float = field(default=0.7, metadata={"help": "The same, of the length's exponent."})
    no_repeat_ngram_size: int = field(
        default=0,
        metadata={"help": "The same: so many tokens in a row are generated once at most; 0: as often as may be."},
    )
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})

    def __post_init__(self) -> None:
        # A wrong name would be found out after the training.
        if self.tuning_metric and (unknown := set(self.tuning_metric.split("+")) - set(CAPTION_METRICS)):
            raise ValueError(
                f"`tuning_metric` must be of {', '.join(CAPTION_METRICS)}, got {', '.join(sorted(unknown))}."
            )


@dataclass
class CaptionModelArguments:
    """Where the captioner comes from: a vision backbone, or a captioner trained before."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Name or folder of a trained model to go on from, with its processor and its sizes."},
    )
    backbone: str | None = field(default=None, metadata={"help": "Name or folder of a pretrained vision model."})
    backbone_config: str | None = field(
        default=None, metadata={"help": "Instead: configuration (folder or file) of one trained from scratch."}
    )
    train_backbone: bool = field(
        default=False,
        metadata={"help": "Train a pretrained backbone too, but for its batch norms' statistics; else it is frozen."},
    )
    backbone_learning_rate: float | None = field(
        default=None, metadata={"help": "Default: 1e-5 where pretrained, learning_rate where from scratch."}
    )
    learned_positions: bool = field(
        default=True, metadata={"help": "Add a learned vector to each region; binds the model to one image size."}
    )

    def __post_init__(self):
        if [self.backbone, self.backbone_config, self.model_name_or_path].count(None) != 2:
            raise ValueError(
                "Give either `backbone` (pretrained), `backbone_config` (from scratch), or `model_name_or_path` (a "
                "trained model)."
            )
        if self.backbone_config is not None:
            self.train_backbone = True
        elif self.train_backbone and self.backbone_learning_rate is None:
            self.backbone_learning_rate = 1e-5
        elif not self.train_backbone and self.backbone_learning_rate is not None:
            raise ValueError("`backbone_learning_rate` needs `train_backbone`.")


@dataclass
class SelfCriticalArguments:
    """Self-critical training (Rennie et al. 2017), of a captioner that has been trained on captions."""

    self_critical: bool = field(
        default=False,
        metadata={"help": "Train by the CIDEr of sampled captions instead of the captions themselves."},
    )
    samples_per_image: int = field(default=5, metadata={"help": "Captions sampled for each image."})
    temperature: float = field(
        default=0.5, metadata={"help": "What logits are divided by, in sampling and in the log-probabilities."}
    )
    baseline: Literal["others", "greedy"] = field(
        default="others",
        metadata={"help": "What a reward is compared with: the mean of the image's other samples, or the greedy one."},
    )
    reward_end: bool = field(
        default=True, metadata={"help": "Whether the end of a sentence counts as a word of it in the reward."}
    )

    def __post_init__(self):
        fewest = 2 if self.baseline == "others" else 1
        if self.samples_per_image < fewest:
            raise ValueError(
                f"`samples_per_image` must be at least {fewest} with `baseline` {self.baseline!r}, "
                f"got {self.samples_per_image}."
            )
        if self.temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, got {self.temperature}.")


@dataclass
class TextPairArguments:
    """The pairs of sentences, and how they are batched and decoded."""

    task: Literal["translation", "chat"] = field(
        default="translation",
        metadata={"help": "What is scored. translation: BLEU and chrF; chat: perplexity, and how varied replies are."},
    )
    dataset_name: str | None = field(default=None, metadata={"help": "Hub name or folder of the data set."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    train_files: list[str] | None = field(
        default=None,
        metadata={"help": "Instead: a JSON-lines, CSV or TSV file, or two plain ones, a sentence a line."},
    )
    validation_files: list[str] | None = field(default=None, metadata={"help": "The same for validation."})
    test_files: list[str] | None = field(default=None, metadata={"help": "The same for the test."})
    source_column: str | None = field(default=None, metadata={"help": "Column of the source sentences."})
    target_column: str | None = field(default=None, metadata={"help": "Column of the target sentences."})
    source_lang: str | None = field(default=None, metadata={"help": "Or: source language in a translation column."})
    target_lang: str | None = field(default=None, metadata={"help": "And the target language."})
    drop_unpaired: bool = field(default=False, metadata={"help": "Leave out rows without a side, and say how many."})
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training pairs."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many pairs of other splits."})
    max_source_length: int = field(default=100, metadata={"help": "Longer sources are cut, in tokens."})
    max_target_length: int = field(default=100, metadata={"help": "Longer targets are cut, in tokens."})
    separate_vocabularies: bool = field(
        default=False, metadata={"help": "One vocabulary a side instead of a joint one."}
    )
    bpe_dropout: float = field(
        default=0.0,
        metadata={
            "help": "Probability to leave out a merge, in training. No seed governs it: runs are not repeatable."
        },
    )
    scheduled_sampling: float = field(
        default=0.0,
        metadata={"help": "Share of its own words that the decoder is fed, rising from 0 to this in the last epoch."},
    )
    batch_size: int = field(default=80, metadata={"help": "Pairs of one batch (and process)."})
    bucket_batches: int = field(
        default=20, metadata={"help": "Batches among which pairs are sorted by length; 1: in random order."}
    )
    eval_batch_size: int = field(default=100, metadata={"help": "Sentences of one batch in generation."})
    validation_num_beams: int = field(default=5, metadata={"help": "Beams of the validation after each epoch."})
    num_beams: int = field(default=5, metadata={"help": "Beams stored with the model."})
    length_penalty: float = field(default=1.0, metadata={"help": "The same, of the length's exponent, if not tuned."})
    tune_generation: bool = field(
        default=False, metadata={"help": "At the end, choose the length penalty on the validation split."}
    )
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})

    def __post_init__(self):
        if (self.dataset_name is None) == (self.train_files is None):
            raise ValueError("Give either `dataset_name` or `train_files`.")
        if self.task == "chat" and self.tune_generation:
            raise ValueError("`tune_generation` chooses by a score of generated texts: `task='chat'` has none.")
        if self.train_files is not None and self.validation_files is None:
            raise ValueError("`train_files` needs `validation_files` beside it.")
        if self.do_test and self.train_files is not None and self.test_files is None:
            raise ValueError("`do_test` needs `test_files` beside `train_files`.")
        if self.train_files is not None and len(self.train_files) == 2 and self.source_column is None:
            self.source_column, self.target_column = "source", "target"
        if not 0 <= self.bpe_dropout < 1:
            raise ValueError(f"`bpe_dropout` must lie in [0, 1), got {self.bpe_dropout}.")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(f"`scheduled_sampling` must lie in [0, 1], got {self.scheduled_sampling}.")


@dataclass
class HubArguments:
    """What goes to the Hub, and what the model's card says beside the results."""

    push_to_hub: bool = field(
        default=False, metadata={"help": "Push the model to the Hub, by the token of HF_TOKEN or `hf auth login`."}
    )
    hub_model_id: str | None = field(
        default=None, metadata={"help": "Name on the Hub, with or without the user. Default: output_dir's last part."}
    )
    hub_private_repo: bool = field(default=False, metadata={"help": "Make a new repository private."})
    hub_strategy: Literal["end", "every_save"] = field(
        default="end",
        metadata={"help": "every_save: also push the best model so far with every checkpoint, in the background."},
    )
    license: str | None = field(default=None, metadata={"help": "Licence of the model, such as apache-2.0."})
    dataset_license: str | None = field(
        default=None, metadata={"help": "Licence of the data. Default: what the data set's own card says."}
    )
    language: list[str] | None = field(
        default=None, metadata={"help": "Languages of the model, as codes. Default: source_lang and target_lang."}
    )
    card_picture: bool = field(
        default=True,
        metadata={
            "help": "Put a picture of where the model looks into the card. It shows the first validation example: "
            "--no_card_picture where the data's licence forbids that."
        },
    )

    def __post_init__(self):
        for name in ("hub_model_id", "hub_private_repo", "hub_strategy"):
            if not self.push_to_hub and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ValueError(f"`{name}` needs `push_to_hub`.")


@dataclass
class AnsweringModelArguments(CaptionModelArguments):
    """Where the answering model comes from, and which head it has."""

    head: Literal["answering", "generating"] = field(
        default="answering", metadata={"help": "answering: one of the known answers; generating: word by word."}
    )
    question_encoder: str | None = field(
        default=None, metadata={"help": "Name or folder of a pretrained text encoder, in place of the recurrent one."}
    )


@dataclass
class AnsweringFieldsArguments(DecoderArguments):
    """Fields of `AttentionVQAConfig`, under the same names; the decoder's are those of the generating head."""

    attention_form: Literal["stacked", "glimpses", "top_down", "none"] = "glimpses"
    num_glimpses: int | None = None
    joint_size: int | None = None
    normalize_regions: bool = False
    memory_size: int = 512
    project_regions: bool = True
    initial_state: Literal["joint", "memory_mean", "zeros"] = "joint"
    encoder_embedding_size: int | None = None
    encoder_rnn_type: Literal["lstm", "gru"] | None = None
    encoder_hidden_size: int = 512
    encoder_num_hidden_layers: int = 1
    encoder_bidirectional: bool = False
    freeze_question_encoder: bool = False
    region_dropout: float = 0.0
    question_dropout: float = 0.5
    joint_dropout: float = 0.5
    problem_type: Literal["single_label_classification", "multi_label_classification"] = "single_label_classification"


@dataclass
class QuestionDataArguments:
    """The images, the questions and the answers."""

    dataset_name: str = field(metadata={"help": "Hub name or folder of the data set."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    image_column: str = field(default="image", metadata={"help": "Column of the images."})
    image_id_column: str | None = field(
        default=None, metadata={"help": "Column that tells images apart. Default: their files."}
    )
    question_column: str = field(default="question", metadata={"help": "Column of the questions."})
    answer_column: str = field(
        default="answer", metadata={"help": "Column of the answers: a string, or one for each annotator."}
    )
    question_pattern: str | None = field(
        default=None, metadata={"help": "Regular expression; what it matches is cut out of the questions."}
    )
    train_split: str = "train"
    validation_split: str | None = field(
        default=None, metadata={"help": "Default: the questions about some of the training images."}
    )
    test_split: str = "test"
    validation_fraction: float = field(default=0.1, metadata={"help": "How many of the training images these are."})
    validation_seed: int = field(default=0, metadata={"help": "Chooses them."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training questions."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many of other splits."})
    max_answers: int | None = field(default=None, metadata={"help": "Know only so many answers, the most frequent."})
    min_answer_count: int = field(default=1, metadata={"help": "Rarer answers are not known."})
    max_length: int = field(default=50, metadata={"help": "Longer questions and answers are cut, in tokens."})
    image_size: int | None = field(
        default=None,
        metadata={"help": "Resize images straight to this size, without cropping. Default: as the backbone's do."},
    )
    mirror: bool = field(
        default=False, metadata={"help": "Mirror half of the training images, and left and right in their questions."}
    )
    skip_bad_images: bool = field(
        default=False,
        metadata={"help": "Leave out images that cannot be decoded, and say how many; else they are an error."},
    )
    blind: bool = field(default=False, metadata={"help": "Hide the images: the question alone is to be answered."})
    features_dir: str | None = field(
        default=None, metadata={"help": "Where a frozen backbone's features are stored. Default: under HF_HOME."}
    )
    batch_size: int = field(default=64, metadata={"help": "Questions of one batch (and process)."})
    questions_per_image: int = field(
        default=1, metadata={"help": "How many of them may share an image, which is encoded once."}
    )
    bucket_batches: int = field(
        default=20, metadata={"help": "Batches among which questions are sorted by length; 1: in random order."}
    )
    eval_batch_size: int = field(default=100, metadata={"help": "Questions of one batch in evaluation."})
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})


@dataclass
class LanguageModelArguments(DecoderArguments):
    """Fields of `RecurrentLMConfig`, under the same names; the defaults are Zaremba et al. 2015's medium model."""

    attention_type: Literal["additive", "dot", "general", "scaled_dot", "none"] = "none"
    attention_window: int = 32
    context_gate: bool | None = False
    embedding_size: int = 650
    hidden_size: int = 650
    num_hidden_layers: int = 2
    readout_activation: Literal["tanh", "maxout", "none"] = "none"
    embedding_dropout: float = 0.5
    hidden_dropout: float = 0.5
    readout_dropout: float = 0.5
    memory_dropout: float = 0.0
    label_smoothing: float = 0.0
    tie_word_embeddings: bool = True


@dataclass
class PretrainedLanguageModelArguments:
    """A language model trained before."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Name or folder of a trained model to go on from, with its tokenizer and its sizes; dropout and "
            "label smoothing are those of this run."
        },
    )


@dataclass
class TextArguments:
    """A running text, and how it is cut into batches."""

    dataset_name: str = field(
        metadata={"help": "Hub name or folder of the data set; a folder may hold plain files such as train.txt."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    text_column: str = field(default="text", metadata={"help": "Column of the texts: a sentence or paragraph a row."})
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training rows."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many rows of other splits."})
    columns: int = field(
        default=32, metadata={"help": "Parallel parts of the text in a batch (and process); sentences, if reset."}
    )
    segment_length: int = field(default=35, metadata={"help": "Tokens of a column between two steps."})
    random_segments: bool = field(default=False, metadata={"help": "Draw the segments' lengths around that length."})
    reset_state: bool = field(
        default=False, metadata={"help": "Train and score sentence by sentence, each from the zero state."}
    )
    eval_columns: int = field(
        default=16, metadata={"help": "Parallel parts of the validation text; the test text is read in one."}
    )
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})

    def __post_init__(self):
        for name in ("columns", "segment_length", "eval_columns"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")


@dataclass
class LanguageModelOptimizerArguments:
    """AdamW, or SGD that begins to average its weights when validation stops improving."""

    optimizer: Literal["adamw", "nt_asgd"] = field(
        default="adamw", metadata={"help": "nt_asgd: that of Merity et al. 2018; it goes with ema_decay 0."}
    )
    nonmonotone_interval: int = field(
        default=5, metadata={"help": "nt_asgd averages once the loss is above its best of so many epochs before."}
    )
