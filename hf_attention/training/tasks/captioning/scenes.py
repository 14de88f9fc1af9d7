"""Captions of generated scenes: `scripts/caption_scenes.py`, the demo."""

import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from accelerate.utils import set_seed
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, ResNetConfig, pipeline
from transformers.utils import logging

from ....arguments import COUNT, NOT_NEGATIVE, SEED, CheckedArguments, OptionParser
from ....extras import require_extra
from ....models.alignment import merge_words
from ....models.configuration_attention_captioner import AttentionCaptionerConfig
from ....models.modeling_attention_captioner import AttentionCaptionerForConditionalGeneration
from ....models.pipeline_image_to_text import ImageToTextPipeline
from ....models.processing_attention_captioner import AttentionCaptionerProcessor
from ....models.special_tokens import special_token_ids
from ....scenes import make_scenes
from ....scenes.layout import make_scene
from ....scenes.scene import HELD_OUT_PAIRS, VARIETIES
from ....scenes.scores import SHAPE_OF_NOUN, PairCounts, named_pairs, score_pairs
from ....seeing import plot_caption_attention
from ...data.absent import absent_followers
from ...data.collators import CaptionCollator
from ...data.images import PixelsInMemory, make_image_processor
from ...data.sampling import CaptionBatchSampler
from ...data.tokenization import train_tokenizer
from ...loop.absent_words import AbsentWordsObjective
from ...loop.arguments import LoopArguments, processor_precision
from ...loop.train import make_accelerator, prepare_output_dir, train
from .examples import CaptionDataset, caption_labels


IMAGE_SIZE = 64
MAX_TOKENS = 40
# The picture is of one of the first scenes, of three objects or more, drawn so large.
SHOWN_TRIES, SHOWN_OBJECTS, SHOWN_SIZE = 100, 3, 320
ATTENTION_TYPES = tuple(filter(None, AttentionCaptionerConfig.choices["attention_type"]))


@dataclass
class DemoArguments(CheckedArguments):
    """What can be asked of the demo."""

    output_dir: str = field(
        default="runs/demo", metadata={"help": "Folder of the run; an earlier one is replaced, or resumed."}
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint folder, or 'latest': the newest whole one of output_dir."}
    )
    train_scenes: Annotated[int, COUNT] = field(default=8000, metadata={"help": "Scenes to train on."})
    test_scenes: Annotated[int, COUNT] = field(
        default=500, metadata={"help": "Unseen scenes to score, of either kind."}
    )
    num_train_epochs: Annotated[int, COUNT] = field(
        default=5, metadata={"help": "Passes over the captions of the training scenes."}
    )
    images_per_batch: Annotated[int, COUNT] = field(default=48, metadata={"help": "Images of a batch."})
    captions_per_image: Annotated[int, COUNT] = field(
        default=2, metadata={"help": "Captions that share an image in a batch."}
    )
    learning_rate: Annotated[float, NOT_NEGATIVE] = field(default=3e-3, metadata={"help": "Highest learning rate."})
    seed: Annotated[int, SEED] = field(
        default=0, metadata={"help": "Seed of the scenes, the weights and the order of training."}
    )
    variety: Literal[VARIETIES] = field(
        default=VARIETIES[0], metadata={"help": "How many colours and shapes there are."}
    )
    attention_type: Literal[ATTENTION_TYPES] = field(
        default="scaled_dot", metadata={"help": "How it attends to the regions."}
    )
    grid: Literal[8, 16] = field(
        default=8, metadata={"help": "Rows and columns of regions: 8, or 16 to see finely where it looks."}
    )
    leave_out_absent: bool = field(
        default=True,
        metadata={"help": "Leave nouns out of the loss behind a colour that training never shows them in."},
    )


def make_model(
    tokenizer: PreTrainedTokenizerFast, arguments: DemoArguments
) -> AttentionCaptionerForConditionalGeneration:
    """A small residual network, whose grid of regions is the memory, and the decoder that looks at it."""
    # A second stage would halve the grid.
    stages = (
        {"hidden_sizes": [64, 128], "depths": [1, 1]} if arguments.grid == 8 else {"hidden_sizes": [64], "depths": [3]}
    )
    heads = {"num_attention_heads": 4} if arguments.attention_type == "scaled_dot" else {}
    hidden_size = 192
    config = AttentionCaptionerConfig(
        backbone_config=ResNetConfig(embedding_size=32, layer_type="basic", image_size=IMAGE_SIZE, **stages),
        freeze_backbone=False,
        num_regions=arguments.grid**2,
        vocab_size=len(tokenizer),
        **special_token_ids(tokenizer),
        memory_size=hidden_size if arguments.attention_type == "dot" else 128,
        embedding_size=64,
        hidden_size=hidden_size,
        attention_type=arguments.attention_type,
        attention_size=128 if arguments.attention_type == "scaled_dot" else 64,
        **heads,
        # Positions as large as the features, so that the decoder soon learns to read from left to right.
        initializer_range=0.5,
    )
    model = AttentionCaptionerForConditionalGeneration(config)
    model.model.encoder.backbone.to(memory_format=torch.channels_last)  # convolutions are faster so
    model.generation_config.update(max_length=MAX_TOKENS + 1, num_beams=1)
    return model


def train_captioner(scenes: Dataset, arguments: DemoArguments) -> Path:
    """Trains a captioner and returns the folder in which it is saved with its processor."""
    loop_arguments = LoopArguments(
        output_dir=arguments.output_dir,
        overwrite_output_dir=True,
        resume_from_checkpoint=arguments.resume_from_checkpoint,
        seed=arguments.seed,
        num_train_epochs=arguments.num_train_epochs,
        learning_rate=arguments.learning_rate,
        warmup_steps=50,
        ema_decay=0.98,
        mixed_precision=processor_precision(),
    )
    prepare_output_dir(loop_arguments)
    captions = list(scenes["captions"])
    tokenizer = train_tokenizer(text for texts in captions for text in texts)
    image_processor = make_image_processor(None, IMAGE_SIZE)
    processor = AttentionCaptionerProcessor(image_processor=image_processor, tokenizer=tokenizer)
    model = make_model(tokenizer, arguments)
    labels = caption_labels(captions, tokenizer, MAX_TOKENS)
    sampler = CaptionBatchSampler(
        [[len(ids) for ids in texts] for texts in labels],
        images_per_batch=arguments.images_per_batch,
        captions_per_image=arguments.captions_per_image,
        seed=arguments.seed,
    )
    dataloader = DataLoader(
        CaptionDataset(PixelsInMemory(scenes, "image", image_processor), labels),
        batch_sampler=sampler,
        collate_fn=CaptionCollator(),
    )

    def save(model: AttentionCaptionerForConditionalGeneration, folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    accelerator = make_accelerator(loop_arguments)
    objective = None
    if arguments.leave_out_absent:
        vocabulary = tokenizer.get_vocab()
        nouns = [vocabulary[noun] for noun in SHAPE_OF_NOUN if noun in vocabulary]
        objective = AbsentWordsObjective(accelerator, absent_followers(labels, nouns, len(tokenizer)))
    started, started_cpu = time.perf_counter(), time.process_time()
    result = train(model, loop_arguments, dataloader, accelerator, save=save, objective=objective)
    print(
        f"Trained {model.num_parameters():,} weights in {time.perf_counter() - started:.0f} s "
        f"({time.process_time() - started_cpu:.0f} s of processor time, {torch.get_num_threads()} threads): "
        f"{result.best_model}"
    )
    return result.best_model


def draw_attention(captioner: ImageToTextPipeline, arguments: DemoArguments, path: Path) -> None:
    """
    Writes a picture of where the model looked at a scene of several objects that it has not seen: the first in whose
    caption all of them are named, and no other.
    """
    numbers = range(min(arguments.test_scenes, SHOWN_TRIES))
    scenes = [make_scene(arguments.seed, "test", number, SHOWN_SIZE, arguments.variety) for number in numbers]
    for scene in [scene for scene in scenes if len(scene.objects) >= SHOWN_OBJECTS] or scenes[:1]:
        image = scene.draw()
        [answer] = captioner(image, output_attentions=True)
        if sorted(named_pairs(answer["generated_text"])) == sorted(thing.pair for thing in scene.objects):
            break
    words, weights, _ = merge_words(answer["tokens"], answer["attentions"])
    ends = len(words) > 1 and words[-1] == captioner.tokenizer.eos_token
    count = len(words) - ends
    plot_caption_attention(
        image,
        words[:count],
        weights[:count],
        grid=answer["grid"],
        regions=answer["regions"],
        title=answer["generated_text"],
    ).savefig(path, dpi=200)


def command_line() -> str:
    """What to type for the command `hf-attention` in this environment."""
    beside = Path(sys.executable).with_name("hf-attention")
    return os.path.relpath(beside) if shutil.which("hf-attention") is None and beside.is_file() else "hf-attention"


def score(name: str, captions: list[str], scenes: Dataset, only: frozenset | None = None) -> None:
    """Prints precision and recall of the (colour, shape) pairs that the captions name."""
    counts = sum(
        (score_pairs(caption, things, only) for caption, things in zip(captions, scenes["objects"], strict=True)),
        PairCounts(),
    )
    print(
        f"{name}: precision {counts.precision:.1%} ({counts.correct} of {counts.named} named), "
        f"recall {counts.recall:.1%} ({counts.correct} of {counts.present} present)"
    )


def main(description: str | None = None) -> None:
    """
    Trains a captioner on scenes and shows what it has learned.

    Args:
        description (`str`, *optional*):
            What `--help` begins with.
    """
    [arguments] = OptionParser(DemoArguments, description=description).read()
    require_extra("visualization")
    set_seed(arguments.seed)
    logging.disable_progress_bar()  # of loading and of saving
    print(f"Drawing {arguments.train_scenes + 2 * arguments.test_scenes:,} scenes ...")
    scenes = make_scenes(
        train=arguments.train_scenes,
        validation=0,
        test=arguments.test_scenes,
        held_out=arguments.test_scenes,
        seed=arguments.seed,
        image_size=IMAGE_SIZE,
        variety=arguments.variety,
    )
    folder = train_captioner(scenes["train"], arguments)
    captioner = pipeline("image-to-text", model=str(folder))
    captions = {
        split: [answer["generated_text"] for [answer] in captioner(scenes[split]["image"], batch_size=100)]
        for split in ("test", "held_out")
    }
    print("\nScenes that it has not seen:")
    for caption in captions["test"][:5]:
        print(f"  {caption}")
    print()
    score(f"Pairs of colour and shape in {len(scenes['test'])} unseen scenes", captions["test"], scenes["test"])
    score(
        f"Held-out pairs in {len(scenes['held_out'])} scenes",
        captions["held_out"],
        scenes["held_out"],
        only=HELD_OUT_PAIRS,
    )
    picture = Path(arguments.output_dir) / "attention.png"
    draw_attention(captioner, arguments, picture)
    command = command_line()
    print(
        f"\nWhere it looked, word by word: {picture}\n\n"
        "What next?\n"
        "  a page of models that are shipped, which caption, answer and translate:\n"
        f"    {command} demo\n"
        "  the page with this model:\n"
        f"    {command} demo --captioner {folder}\n"
        "  a captioner of your own photos: docs/your_own_photos.md"
    )
