"""
What older releases of transformers get wrong by themselves, with any model or with other people's: tests that would
meet it are skipped there, and the reason says why.
"""

import re
from dataclasses import dataclass

import pytest
import transformers
from packaging.version import Version


INSTALLED = Version(transformers.__version__)


@dataclass(frozen=True)
class Fault:
    """
    A fault of transformers.

    Args:
        first: The first release that has it.
        mended: The first that has it no longer.
        tests: A regular expression, found in the names of the tests that would meet it.
        reason: What is wrong.
    """

    first: str
    mended: str
    tests: str
    reason: str

    @property
    def is_here(self) -> bool:
        return Version(self.first) <= INSTALLED < Version(self.mended)


FAULTS: list[Fault] = [
    Fault("5.0", "5.3", r"::test_logits_processors\[assisted", "assisted decoding takes none"),
    Fault("5.0", "5.10", r"test_modeling_recurrent_lm.*::test_the_loss_of_the_trainer", "Trainer counts first tokens"),
    Fault("5.0", "5.18", r"recurrent_lm.*_of_the_trainer\[3-0.2", "label smoothing ignores accumulation"),
    Fault("5.2", "5.5", r"::test_accumulated_", "Trainer divides accumulated gradients once too often"),
    Fault(
        "5.10",
        "5.18",
        r"test_trainer.py::test_(accumulated|the_loss_of)_",
        "Trainer miscounts targets",
    ),
    Fault("5.22", "5.23", r"::test_language_model_is_refused", "a pipeline's second try to load GPT-2 fails"),
    Fault("5.15", "5.16", r"::test_(assisted_|.*assisted-)", "an assistant's cache is cropped too far"),
    Fault(
        "5.0",
        "5.3",
        r"::test_goes_on_from_a_cache_and_the_last_token",
        "the last token alone is looked up by its place",
    ),
    Fault("5.0", "5.3", r"::test_only_a_missing_weight_is_new", "weights at one address are taken for tied"),
    Fault("5.0", "5.15", r"::test_offloaded_to_the_disk", "what is wholly on the disk is not loaded from there"),
    Fault("5.0", "5.4", r"::test_foreign_model_that_attends", "encoder-decoders do not hand on attn_implementation"),
    Fault("5.0", "5.18", r"::test_answers_equal_those_of_transformers_4\[git\]", "GIT answers otherwise than in 4.57"),
    Fault("5.0", "5.4", r"::test_answers_equal_those_of_transformers_4\[m?bart", "BART's forced end is lost"),
    Fault("5.0", "5.4", r"::test_answers_equal_those_of_transformers_4\[marian", "Marian's forced end is lost"),
    Fault("5.0", "5.4", r"::test_(languages_reach_a|model_of_one_pair)", "forced tokens are lost"),
    Fault("5.0", "5.3", r"test_pipeline_text2text.*marian|::test_a_translator_of_", "Marian wants sentencepiece"),
    Fault("5.0", "5.18", r"test_picture_answers.*\[git", "GIT answers otherwise than in 4.57"),
    Fault("5.0", "5.3", r"test_text_families.*\[(m2m_100|marian)-", "their tokenizers want sentencepiece"),
    Fault("5.0", "5.7", r"test_text_families.*\[mbart50-", "the tokenizer of mBART-50 closes no source"),
    Fault("5.0", "5.4", r"test_text_families.*\[switch_transformers-", "its router wants 32 bits"),
    Fault("5.0", "5.3", r"test_image_to_text\[blip-2 with t5-|ing\[blip-2-", "BLIP-2 rounds otherwise in bfloat16"),
    Fault("5.0", "5.3", r"test_image_to_text\[qwen3_vl_moe-", "Qwen3-VL-MoE answers otherwise than in 4.57"),
    Fault("5.0", "5.4", r"test_image_to_text\[chameleon-", "Chameleon answers otherwise than in 4.57"),
    Fault("5.0", "5.23", r"test_image_to_text\[idefics[23]-", "Idefics answers without a text, where 4.57 failed"),
    Fault("5.0", "5.16", r"about_the_picture\[idefics3", "Idefics3's image processor fails without torchvision"),
    Fault("5.0", "5.4", r"test_regions.*(padd|size11-|Turning)", "image processors do not pad"),
    Fault("5.0", "5.10", r"::test_auto_classes_load_with_the_package", "trusted code goes before registered classes"),
    Fault("5.4", "5.5", r"pix2struct|vilt", "image processors want torchvision"),
    Fault("5.4", "5.5", r"visual_question_answering.py::test_(bad|long|forms)", "image processors want torchvision"),
    Fault("5.4", "5.5", r"::test_an_answering_model_of_transformers", "image processors want torchvision"),
    Fault("5.4", "5.5", r"mbart|marian|multilingual|two_letter|unknown_language", "mBART's configuration is refused"),
]

# Modules that cannot be collected: on 5.4 image processors want torchvision.
IGNORED = ["models/test_regions.py"] if INSTALLED.release[:2] == (5, 4) else []


def skip_faults(items: list[pytest.Item]) -> None:
    """Marks the tests that would meet a fault of the installed transformers."""
    for fault in FAULTS:
        if fault.is_here:
            mark = pytest.mark.skip(reason=f"transformers from {fault.first}, before {fault.mended}: {fault.reason}")
            for item in items:
                if re.search(fault.tests, item.nodeid):
                    item.add_marker(mark)
