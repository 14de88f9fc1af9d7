"""What training an answering model is told."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from ....arguments import COUNT, NOT_NEGATIVE, CheckedArguments, Expression
from ....models.configuration_attention_vqa import AttentionVQAConfig
from ...data.arguments import TokenizerArguments
from ...data.held_out import HeldOutArguments
from ...data.word_vectors import WordVectorArguments
from ...loop.arguments import LoopArguments
from ...options import configuration_options
from ...publish.arguments import HubArguments
from ...recipes import RecipeArguments
from ..backbone import BackboneArguments


# For some ten thousand questions, where it differs from the arguments' own defaults.
DEFAULTS = {
    # At 1e-3 a backbone that is trained from nothing does not learn shapes: model_cards/scene_questions.md.
    "learning_rate": 3e-4,
    "warmup_steps": 100,
    "num_train_epochs": 20,
    "metric_for_best_model": "exact_match",
    "tokenizer_type": "word_punct",
    "min_count": 1,
}

AnsweringFieldsArguments = configuration_options(
    "AnsweringFieldsArguments",
    AttentionVQAConfig,
    defaults={
        "attention_form": "bilinear",
        "context_gate": None,
        "embedding_dropout": 0.5,
        "hidden_dropout": 0.5,
        "readout_dropout": 0.5,
        "memory_dropout": 0.5,
        "label_smoothing": 0.1,
        "question_dropout": 0.2,
        "problem_type": "single_label_classification",
    },
    notes={"context_gate": "Default: wherever the attention allows it."},
)


@dataclass
class AnsweringModelArguments(BackboneArguments):
    """Where the answering model comes from, and which head it has."""

    head: Literal["answering", "generating"] = field(
        default="answering", metadata={"help": "answering: one of the known answers; generating: word by word."}
    )
    question_encoder: str | None = field(
        default=None, metadata={"help": "Name or folder of a pretrained text encoder, in place of the recurrent one."}
    )


@dataclass
class QuestionDataArguments(CheckedArguments):
    """The images, the questions and the answers."""

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
    image_id_column: str | None = field(
        default=None, metadata={"help": "Column that tells images apart. Default: their files."}
    )
    question_column: str = field(default="question", metadata={"help": "Column of the questions."})
    answer_column: str = field(
        default="answer", metadata={"help": "Column of the answers: a string, or one for each annotator."}
    )
    drop_unanswered: bool = field(
        default=False, metadata={"help": "Leave out questions without an answer, and say how many."}
    )
    question_pattern: Annotated[str | None, Expression()] = field(
        default=None, metadata={"help": "Regular expression; what it matches is cut out of the questions."}
    )
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    max_train_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many training questions."}
    )
    max_eval_samples: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Use only so many of other splits."}
    )
    max_answers: Annotated[int | None, COUNT] = field(
        default=None, metadata={"help": "Know only so many answers, the most frequent."}
    )
    min_answer_count: Annotated[int, COUNT] = field(default=1, metadata={"help": "Rarer answers are not known."})
    max_length: Annotated[int, COUNT] = field(
        default=50, metadata={"help": "Longer questions and answers are cut, in tokens; no longer ones are generated."}
    )
    image_size: Annotated[int | None, COUNT] = field(
        default=None,
        metadata={"help": "Resize images straight to this size, without cropping. Default: as the backbone's do."},
    )
    mirror: bool = field(
        default=False, metadata={"help": "Mirror half of the training images, and left and right in their questions."}
    )
    crops: Annotated[int, NOT_NEGATIVE] = field(
        default=0,
        metadata={
            "help": "So many random crops of each training image, drawn once, each shown as often as the whole. (What "
            "is asked about may lie outside.)"
        },
    )
    skip_bad_images: bool = field(
        default=False,
        metadata={"help": "Leave out images that are missing or broken, and say which; else they are an error."},
    )
    blind: bool = field(
        default=False,
        metadata={
            "help": "Hide the images, from training and the scores of the run: what the question alone answers."
        },
    )
    features_dir: str | None = field(
        default=None, metadata={"help": "Where a frozen backbone's features are stored. Default: under HF_HOME."}
    )
    batch_size: Annotated[int, COUNT] = field(default=64, metadata={"help": "Questions of one batch (and process)."})
    questions_per_image: Annotated[int, COUNT] = field(
        default=1, metadata={"help": "How many of them may share an image, which is encoded once."}
    )
    bucket_batches: Annotated[int, COUNT] = field(
        default=20, metadata={"help": "Batches among which questions are sorted by length; 1: in random order."}
    )
    eval_batch_size: Annotated[int, COUNT] = field(
        default=100, metadata={"help": "Questions of one batch in evaluation."}
    )
    do_test: bool = field(default=False, metadata={"help": "At the end, score the test split, once."})


class Arguments(NamedTuple):
    """All that the task is told."""

    loop: LoopArguments
    data: QuestionDataArguments
    held_out: HeldOutArguments
    model: AnsweringModelArguments
    tokenizer: TokenizerArguments
    word_vectors: WordVectorArguments
    fields: AnsweringFieldsArguments
    hub: HubArguments
    recipe: RecipeArguments
