"""
Tiny image-to-text models of other people's architectures, made in code: a few thousand weights that a formula fills.

They are the same whichever transformers builds them, 4.57 or 5: `scripts/record_pipeline_answers.py` writes down what
the `image-to-text` pipeline of 4.57 says of the pictures below, and the tests compare with it.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast


WORDS = (
    "a the one two small large red green blue white black dark dog cat horse bird ball box tree house circle square "
    "star ring line field sky sea road snow runs jumps stands lies of on in over under beside near far left right"
).split()
PAD, UNKNOWN, START, END = range(4)
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
# What processors write for a picture; behind the others in the vocabulary.
IMAGE_TOKENS = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
IMAGE_SIZE = 32


def make_pictures() -> dict[str, Image.Image]:
    """Five pictures of several sizes and modes, computed from the pixels' coordinates."""
    rows, columns = np.mgrid[0:48, 0:64]
    disc = (rows - 20) ** 2 + (columns - 40) ** 2 < 200
    ramp = np.stack([4 * columns, 5 * rows, 255 - 4 * columns], axis=-1)
    circle = np.where(disc[..., None], [220, 30, 30], ramp)
    stripes = np.where((columns // 8 % 2 == 0)[..., None], [250, 240, 20], [10, 30, 120])
    checks = np.where((columns // 6 + rows // 6) % 2 == 0, 235, 25)
    waves = 127 + 120 * np.sin(rows[:30, :25, None] / np.array([2.0, 3.0, 5.0]) + columns[:30, :25, None] / 4)
    return {
        "circle": Image.fromarray(circle.astype(np.uint8)),
        "stripes": Image.fromarray(stripes.astype(np.uint8)),
        "checks": Image.fromarray(checks.astype(np.uint8)),
        "waves": Image.fromarray(waves.astype(np.uint8)),
        "night": Image.new("RGB", (40, 40), (8, 8, 24)),
    }


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that puts text between [CLS] and [SEP], as BERT's does."""
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", START), ("[SEP]", END)]
    )
    tokenizer.add_special_tokens(IMAGE_TOKENS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        model_input_names=["input_ids", "attention_mask"],
    )


VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": IMAGE_SIZE,
    "patch_size": 8,
}
IDS = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}


def square_processor(image_processor_type: str) -> dict:
    return {
        "image_processor_type": image_processor_type,
        "do_resize": True,
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_center_crop": False,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }


def fill_weights(folder: Path) -> None:
    """
    Overwrites a saved checkpoint with weights computed from each tensor's name and shape.

    The names are those of the file, which transformers keeps from version to version but for `vision_model.`; a
    module's may change.
    """
    path = folder / "model.safetensors"
    filled = {}
    for name, tensor in load_file(path).items():
        if not np.issubdtype(tensor.dtype, np.floating):
            filled[name] = tensor
            continue
        # A sine far enough behind the point is as good as noise, and the same everywhere.
        index = np.arange(tensor.size, dtype=np.float64)
        seed = zlib.crc32(name.replace("vision_model.", "").encode()) % 997
        noise = 2 * np.modf(np.abs(np.sin(12.9898 * index + seed) * 43758.5453))[0] - 1
        noise = noise.reshape(tensor.shape)
        if tensor.ndim == 1:
            values = 0.1 * noise + (0.0 if name.endswith("bias") else 1.0)
        else:
            fan_in = tensor.shape[0] if "c_" in name else tensor[0].size  # GPT-2's matrices lie the other way round
            values = 2.5 * noise / np.sqrt(fan_in)
        filled[name] = values.astype(np.float32)
    save_file(filled, path, metadata={"format": "pt"})


@dataclass(frozen=True)
class TinyModel:
    """
    What a folder is made of.

    Args:
        make: Makes the model.
        image_processor: The settings of its image processor.
        processor: Those of its processor, where the checkpoints of its family have one.
        image_length: How many tokens stand for a picture in the text; 0 where the picture is no part of it.
    """

    make: Callable[[], PreTrainedModel]
    image_processor: dict
    processor: dict | None = None
    image_length: int = 0


def save_tiny_model(name: str, folder: Path, models: dict[str, TinyModel]) -> Path:
    """
    Makes a folder that `from_pretrained` and `pipeline` read: model, tokenizer and image processor.

    Args:
        name: One of the models.
        folder: Where to put it; the model gets a folder of its own inside.
        models: What each is made of.

    Returns:
        The model's folder.
    """
    tiny = models[name]
    folder = folder / name
    tiny.make().save_pretrained(folder)
    fill_weights(folder)
    make_tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(tiny.image_processor, indent=2))
    if tiny.processor is not None:
        (folder / "processor_config.json").write_text(json.dumps(tiny.processor, indent=2))
    return folder
