"""
Tiny question answering models of other people's architectures, made in code by the means of `tiny_models`: all the
families of 4.57's `MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES`.
"""

from transformers import BlipConfig, BlipForQuestionAnswering, PreTrainedModel, ViltConfig, ViltForQuestionAnswering

from common import tiny_image_to_text_models
from common.tiny_image_to_text_models import BERT, BLIP_PROCESSOR
from common.tiny_models import END, IMAGE_SIZE, PAD, VISION, TinyModel


QUESTIONS = ["the dog", "two red ball in the snow", "a star of the sky near a house"]
ANSWERS = ["yes", "no", "red", "green", "two", "a dog", "on the road"]
MAX_POSITIONS = 16


def make_vilt() -> PreTrainedModel:
    text = {name: value for name, value in BERT.items() if name not in ("bos_token_id", "eos_token_id")}
    config = ViltConfig(
        **{**text, "max_position_embeddings": MAX_POSITIONS, "pad_token_id": PAD},
        image_size=IMAGE_SIZE,
        patch_size=8,
        max_image_length=-1,
        id2label=dict(enumerate(ANSWERS)),
        label2id={answer: number for number, answer in enumerate(ANSWERS)},
    )
    return ViltForQuestionAnswering(config)


def make_blip() -> PreTrainedModel:
    text = {**BERT, "max_position_embeddings": MAX_POSITIONS, "sep_token_id": END}
    return BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=VISION, projection_dim=32))


VILT_PROCESSOR = {
    "image_processor_type": "ViltImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": IMAGE_SIZE},
    "size_divisor": 8,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "do_pad": True,
}
MODELS: dict[str, TinyModel] = {
    "vilt": TinyModel(make_vilt, VILT_PROCESSOR, {"processor_class": "ViltProcessor"}),
    "blip": TinyModel(make_blip, BLIP_PROCESSOR, {"processor_class": "BlipProcessor"}),
    "blip-2": tiny_image_to_text_models.MODELS["blip-2"],
    "blip-2 with t5": tiny_image_to_text_models.MODELS["blip-2 with t5"],
}
