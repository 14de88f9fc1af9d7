"""
A tiny model of every kind, made with nothing but the installed package: saved with its tokenizer or processor, called
through its pipeline, trained for a step. Then the models that the package ships.

    python tests/install/models.py FOLDER

It needs no extra, and finds none.
"""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForVisualQuestionAnswering,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    ResNetConfig,
    pipeline,
)

import hf_attention
from hf_attention.extras import EXTRAS, require_extra
from hf_attention.metrics.captioning.captioning import caption_metrics
from hf_attention.metrics.translation.translation import translation_metrics
from hf_attention.models.versions import pillow_image_processor
from hf_attention.seeing import plot_alignment
from hf_attention.training.data.tokenization import for_running_text, train_tokenizer
from hf_attention.training.recipes import read_recipe, recipe_names


SENTENCES = ["a small red circle", "a large blue square", "what colour is the circle ?", "red"]
SIZES = {"embedding_size": 6, "hidden_size": 8, "attention_size": 5}
IMAGE = Image.linear_gradient("L").resize((40, 32)).convert("RGB")

Parts = tuple[PreTrainedModel, PreTrainedTokenizerBase | ProcessorMixin]


def image_processor():
    return pillow_image_processor("ViTImageProcessor")(size={"height": 32, "width": 32})


def backbone() -> dict:
    resnet = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    return {"backbone_config": resnet, "memory_size": 7}


def captioner() -> Parts:
    tokenizer = train_tokenizer(SENTENCES, min_count=1)
    config = hf_attention.AttentionCaptionerConfig(vocab_size=len(tokenizer), **backbone(), **SIZES)
    processor = hf_attention.AttentionCaptionerProcessor(image_processor=image_processor(), tokenizer=tokenizer)
    return hf_attention.AttentionCaptionerForConditionalGeneration(config), processor


def translator() -> Parts:
    tokenizer = train_tokenizer(SENTENCES, min_count=1)
    config = hf_attention.AttentionSeq2SeqConfig(vocab_size=len(tokenizer), encoder_hidden_size=4, **SIZES)
    return hf_attention.AttentionSeq2SeqForConditionalGeneration(config), tokenizer


def answerer(generates: bool = False) -> Parts:
    tokenizer = train_tokenizer(SENTENCES, min_count=1)
    config = hf_attention.AttentionVQAConfig(
        vocab_size=len(tokenizer),
        encoder_hidden_size=8,
        id2label={0: "red", 1: "blue"},
        label2id={"red": 0, "blue": 1},
        problem_type="single_label_classification",
        **backbone(),
        **SIZES,
    )
    heads = hf_attention.AttentionVQAForConditionalGeneration, hf_attention.AttentionVQAForQuestionAnswering
    processor = hf_attention.AttentionVQAProcessor(image_processor=image_processor(), tokenizer=tokenizer)
    return heads[0 if generates else 1](config), processor


def writer() -> Parts:
    tokenizer = for_running_text(train_tokenizer(SENTENCES, min_count=1))
    config = hf_attention.RecurrentLMConfig(vocab_size=len(tokenizer), embedding_size=6, hidden_size=8)
    return hf_attention.RecurrentLMForCausalLM(config), tokenizer


def ensemble() -> Parts:
    models = [captioner()[0] for _ in range(2)]
    return hf_attention.AttentionEnsembleForConditionalGeneration.from_members(models), captioner()[1]


# Of each model: what makes it, its Auto class, and how its pipeline is called.
MODELS: dict[str, tuple[Callable[[], Parts], type, str, dict]] = {
    "captioner": (captioner, AutoModelForImageTextToText, "image-to-text", {"inputs": IMAGE, "max_new_tokens": 5}),
    "translator": (translator, AutoModelForSeq2SeqLM, "translation", {"inputs": SENTENCES[0], "max_new_tokens": 5}),
    "answerer": (
        answerer,
        AutoModelForVisualQuestionAnswering,
        "visual-question-answering",
        {"image": IMAGE, "question": SENTENCES[2]},
    ),
    "generating answerer": (
        lambda: answerer(generates=True),
        AutoModelForVisualQuestionAnswering,
        "visual-question-answering",
        {"image": IMAGE, "question": SENTENCES[2], "max_new_tokens": 5},
    ),
    "language model": (
        writer,
        AutoModelForCausalLM,
        "text-generation",
        {"text_inputs": "a small", "max_new_tokens": 5, "do_sample": False},
    ),
    "ensemble": (ensemble, AutoModelForImageTextToText, "image-to-text", {"inputs": IMAGE, "max_new_tokens": 5}),
}
# What the models that the package ships are asked.
SHIPPED: dict[str, tuple[str, dict[str, object]]] = {
    "scenes-captioner": ("image-to-text", {"inputs": IMAGE}),
    "scenes-answerer": ("visual-question-answering", {"image": IMAGE, "question": "how many objects are there ?"}),
    "toy-translator": ("translation", {"inputs": "a small red ring"}),
    "scenes-writer": ("text-generation", {"text_inputs": "a small red", "do_sample": False}),
}


def save(name: str, folder: Path) -> Path:
    """Saves a model and what belongs beside it; the same weights wherever it is done."""
    torch.manual_seed(0)
    path = folder / name.replace(" ", "-")
    for part in MODELS[name][0]():
        part.save_pretrained(path)
    return path


def train_a_step(name: str, model: PreTrainedModel, processor: PreTrainedTokenizerBase | ProcessorMixin) -> None:
    """One step of gradient descent, which must change the weights."""
    if name == "language model":
        batch = processor(SENTENCES[0], return_tensors="pt")
        batch["labels"] = batch["input_ids"]
    elif name == "translator":
        batch = processor(SENTENCES[0], text_target=SENTENCES[1], return_tensors="pt")
    elif name == "answerer":
        batch = {**processor(IMAGE, SENTENCES[2], return_tensors="pt"), "labels": torch.tensor([1])}
    else:
        question = [SENTENCES[2]] if "answerer" in name else []
        batch = processor(IMAGE, *question, text_target=SENTENCES[1], return_tensors="pt")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model.train()(**batch).loss.backward()
    optimizer.step()
    assert any(not torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True)), name


def main(folder: Path) -> None:
    for module in pkgutil.walk_packages(hf_attention.__path__, "hf_attention."):
        importlib.import_module(module.name)
    assert all(read_recipe(name) for name in recipe_names()) and "flickr8k" in recipe_names()
    for extra, modules in EXTRAS.items():
        assert all(importlib.util.find_spec(name) is None for name in modules), f"the extra {extra!r} is installed"
    calls: dict[str, Callable[[], object]] = {
        "demo": lambda: require_extra("demo"),
        "metrics": lambda: (caption_metrics(["a"], [["a"]]), translation_metrics(["a"], ["a"])),
        "visualization": lambda: plot_alignment(["a"], ["b"], torch.ones(1, 1)),
    }
    for extra, call in calls.items():
        try:
            call()
        except ModuleNotFoundError as error:
            assert str(error).endswith(f'pip install "hf_attention[{extra}]"'), error
        else:
            raise AssertionError(f"{extra} worked without its extra")
    for name, (_, auto_class, task, arguments) in MODELS.items():
        path = save(name, folder)
        answers = pipeline(task, model=str(path), device="cpu")(**arguments)
        assert answers and isinstance(answers[0], dict), answers
        print(f"{name}: {answers[0]}")
        if name != "ensemble":
            train_a_step(name, auto_class.from_pretrained(path), MODELS[name][0]()[1])
    assert set(hf_attention.checkpoints) == set(SHIPPED), hf_attention.checkpoints
    for name, (task, arguments) in SHIPPED.items():
        answers = pipeline(task, model=hf_attention.checkpoint(name), device="cpu")(**arguments)
        assert answers and isinstance(answers[0], dict), answers
        print(f"{name}: {answers[0]}")
    print(f"hf_attention {hf_attention.__version__} in {Path(hf_attention.__file__).parent}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
