"""
Tiny question answering models of other people's architectures, made in code like those of `tiny_models`.

They are the same whichever transformers builds them, 4.57 or 5: `scripts/record_pipeline_answers.py` writes down what
the `visual-question-answering` pipeline of 4.57 answers to the questions below, and the tests compare with it.
"""

from collections.abc import Callable
from functools import partial

from transformers import BlipConfig, BlipForQuestionAnswering, PreTrainedModel, ViltConfig, ViltForQuestionAnswering

from common import tiny_models
from common.tiny_models import END, IDS, IMAGE_SIZE, TOKENS, VISION, square_processor


QUESTIONS = ["the dog", "two red ball in the snow", "a star of the sky near a house"]
ANSWERS = ["yes", "no", "red", "green", "two", "a dog", "on the road"]
MAX_POSITIONS = 16
# How the generating one answers.
GENERATION = {"max_new_tokens": 8, "no_repeat_ngram_size": 1}
# What is asked of the pipeline, besides the questions and the pictures.
CASES = {"default": {}, "top 1": {"top_k": 1}, "top 3": {"top_k": 3}, "more than there are": {"top_k": 99}}

TEXT = {
    "vocab_size": len(TOKENS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_POSITIONS,
}


def make_vilt() -> PreTrainedModel:
    config = ViltConfig(
        **TEXT,
        image_size=IMAGE_SIZE,
        patch_size=8,
        max_image_length=-1,
        id2label=dict(enumerate(ANSWERS)),
        label2id={answer: number for number, answer in enumerate(ANSWERS)},
        pad_token_id=IDS["pad_token_id"],
    )
    return ViltForQuestionAnswering(config)


def make_blip_vqa() -> PreTrainedModel:
    text = {**TEXT, "encoder_hidden_size": 32, "sep_token_id": END, **IDS}
    return BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=VISION, projection_dim=32))


MODELS: dict[str, tuple[Callable[[], PreTrainedModel], dict]] = {
    "vilt": (
        make_vilt,
        {
            "image_processor_type": "ViltImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": IMAGE_SIZE},
            "size_divisor": 8,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.25, 0.25, 0.25],
            "do_pad": True,
        },
    ),
    "blip": (make_blip_vqa, square_processor("BlipImageProcessor")),
}


save_tiny_model = partial(tiny_models.save_tiny_model, models=MODELS)
