"""What training a captioner is told."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from ....arguments import COUNT, LENGTH_PENALTY, NOT_NEGATIVE, CheckedArguments, SumOf
from ....metrics.captioning.captioning import METRICS
from ....models.configuration_attention_captioner import AttentionCaptionerConfig
from ....models.ranges import Range
from ...data.arguments import StreamingArguments, TokenizerArguments
from ...data.held_out import HeldOutArguments
from ...data.word_vectors import WordVectorArguments
from ...loop.arguments import LoopArguments
from ...options import configuration_options
from ...publish.arguments import HubArguments
from ...recipes import RecipeArguments
from ..backbone import BackboneArguments
from .bleu import BleuScorer
from .cider import CiderScorer


# The workers and the buffer are for images, which wait for the disk, and of which a buffer holds fewer than of texts.
DEFAULTS = {"learning_rate": 2e-3, "dataloader_num_workers": 1, "shuffle_buffer": 1000, "tokenizer_rows": 10000}

# The scores that can be told of a caption by itself.
REWARDS = {"cider": CiderScorer, "bleu_4": BleuScorer}

# A recipe that works on Flickr8k.
CaptionDecoderArguments = configuration_options(
    "CaptionDecoderArguments",
    AttentionCaptionerConfig,
    defaults={
        "context_gate": None,
        "embedding_dropout": 0.5,
        "hidden_dropout": 0.5,
        "readout_dropout": 0.5,
        "memory_dropout": 0.5,
        "label_smoothing": 0.1,
    },
    notes={"context_gate": "Default: wherever the attention allows it."},
)


@dataclass
class CaptionDataArguments(CheckedArguments):
    """The pictures and their captions."""

    dataset_name: str = field(
        metadata={"help": "Hub name, folder or file of the data set: docs/your_own_photos.md tells of the forms."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    image_column: str = field(
        default="image", metadata={"help": "Column of the images, or of their files or addresses."}
    )
    image_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of the images that a file names. Default: they are looked for beside that file."},
    )
    captions_column: str = field(
        default="captions", metadata={"help": "Column of the captions: a list of strings, or one string."}
    )
    drop_uncaptioned: bool = field(
        default=False, metadata={"help": "Leave out images without a caption, and say how many."}
    )
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    max_train_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many training images."}
    )
    max_eval_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many images of other splits; of a stream, rows."}
    )
    max_target_length: Annotated[int, COUNT] = field(
        default=40, metadata={"help": "Longer captions are cut, in tokens."}
    )
    image_size: Annotated[int | None, COUNT] = field(
        default=None,
        metadata={"help": "Resize images straight to this size, without cropping. Default: as the backbone's do."},
    )
    mirror: bool = field(
        default=False, metadata={"help": "Mirror half of the training images (captions with left or right suffer)."}
    )
    crops: Annotated[int, NOT_NEGATIVE] = field(
        default=0,
        metadata={
            "help": "So many random crops of each training image, drawn once, each shown as often as the whole."
        },
    )
    features_dir: str | None = field(
        default=None, metadata={"help": "Where a frozen backbone's features are stored. Default: under HF_HOME."}
    )
    images_per_batch: Annotated[int, COUNT] = field(
        default=16, metadata={"help": "Images of one batch (and process)."}
    )
    skip_bad_images: bool = field(
        default=False,
        metadata={"help": "Leave out images that are missing or broken, and say which. Default: an error."},
    )
    captions_per_image: Annotated[int, COUNT] = field(
        default=5, metadata={"help": "Captions that share an image's keys in a batch; 1: batches of similar length."}
    )
    consensus_weights: bool = field(
        default=False, metadata={"help": "A caption counts as much as it is like the others of its image, by CIDEr."}
    )
    bucket_batches: Annotated[int, COUNT] = field(
        default=20, metadata={"help": "Batches among which captions are sorted by length; 1: in random order."}
    )
    eval_batch_size: Annotated[int, COUNT] = field(
        default=100, metadata={"help": "Images of one batch in generation."}
    )
    validation_num_beams: Annotated[int, COUNT] = field(
        default=1, metadata={"help": "Beams of the validation after each epoch."}
    )
    tune_generation: bool = field(
        default=False, metadata={"help": "At the end, choose beams and length penalty on the validation split."}
    )
    tuning_metric: Annotated[str | None, SumOf(METRICS)] = field(
        default=None,
        metadata={"help": "By which score, or sum of scores, as cider+bleu_4. Default: metric_for_best_model."},
    )
    num_beams: Annotated[int, COUNT] = field(
        default=3, metadata={"help": "Beams stored with the model where they are not tuned."}
    )
    length_penalty: Annotated[float, LENGTH_PENALTY] = field(
        default=0.7, metadata={"help": "The same, of the length's exponent; a single beam has none."}
    )
    no_repeat_ngram_size: Annotated[int, NOT_NEGATIVE] = field(
        default=0,
        metadata={"help": "The same: so many tokens in a row are generated once at most; 0: as often as may be."},
    )
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})


@dataclass
class SelfCriticalArguments(CheckedArguments):
    """Self-critical training (Rennie et al. 2017), of a captioner that has been trained on captions."""

    self_critical: bool = field(
        default=False,
        metadata={"help": "Train by the scores of sampled captions instead of the captions themselves."},
    )
    reward: Annotated[str, SumOf([*REWARDS])] = field(
        default="cider",
        metadata={"help": "By which score, cider or bleu_4, or by their sum, cider+bleu_4: a point of each is one."},
    )
    samples_per_image: Annotated[int, COUNT] = field(default=5, metadata={"help": "Captions sampled for each image."})
    temperature: Annotated[float, Range(0, brackets="()")] = field(
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
        super().__post_init__()
        fewest = 2 if self.baseline == "others" else 1
        if self.samples_per_image < fewest:
            raise ValueError(
                f"`samples_per_image` must be at least {fewest} with `baseline` {self.baseline!r}, "
                f"got {self.samples_per_image}."
            )


class Arguments(NamedTuple):
    """All that the task is told."""

    loop: LoopArguments
    data: CaptionDataArguments
    held_out: HeldOutArguments
    streaming: StreamingArguments
    model: BackboneArguments
    tokenizer: TokenizerArguments
    word_vectors: WordVectorArguments
    decoder: CaptionDecoderArguments
    self_critical: SelfCriticalArguments
    hub: HubArguments
    recipe: RecipeArguments
