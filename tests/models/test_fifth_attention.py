"""
A fifth attention, as a user writes it, in a file of its own. With its name alone it goes through the suite of the
decoder, over a memory and over a text's own past, and checkpoints that name it carry its file.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import test_alignment
import test_cache
import test_configuration
import test_decoder
import test_devices
import test_generation
import test_loss
import torch
from common.factories import FACTORIES, suite_of
from common.remote_code import import_source, run_without_the_package
from transformers import PreTrainedModel

from hf_attention import AttentionCaptionerConfig, AttentionEnsembleForConditionalGeneration


SOURCE = '''
"""The cosine of the angle between a query and the image of a position."""

from torch import nn
from torch.nn import functional as F

from hf_attention import Attention


class CosineAttention(Attention, attention_type="cosine"):
    def __init__(self, config):
        super().__init__(config)
        self.key_proj = nn.Linear(config.memory_size, config.hidden_size, bias=False)

    def keys(self, memory):
        return F.normalize(self.key_proj(memory), dim=-1, eps=1e-4)  # so small a number is one in half precision, too

    def score(self, query, keys, *others):
        return 4 * F.normalize(query, dim=-1, eps=1e-4) @ keys.mT
'''
cosine = import_source("attention_by_cosine", SOURCE)

# What makes some of a tiny model's sentences end before others depends on its attention.
TUNED = {
    "captioner": (0.0, {"rnn_type": "gru"}),
    "recurrent_lm": (2.0, {"rnn_type": "gru", "attention_order": "after_rnn"}),
}
OVER_MODELS = [
    replace(factory, settings={**factory.settings, "attention_type": "cosine", **settings}, end_bias=end_bias, share=1)
    for factory in FACTORIES
    if factory.name in TUNED
    for end_bias, settings in [TUNED[factory.name]]
]
OVER_CONFIGURATIONS = [
    {"attention_type": "cosine", "rnn_type": "lstm", "attention_order": "before_rnn"},
    {"attention_type": "cosine", "rnn_type": "gru", "attention_order": "after_rnn", "input_feeding": True},
    {"attention_type": "cosine", "rnn_type": "lstm", "attention_order": "before_rnn", "num_hidden_layers": 2}
    | {"context_gate": True, "readout_embedding": True},
]
globals().update(
    suite_of(test_alignment, test_cache, test_configuration, test_decoder, test_devices, test_generation, test_loss)
)
for name in (
    # The plain loop knows the attentions of the package.
    "values_and_gradients_equal_a_plain_loop",
    "every_configuration_equals_a_plain_loop",
    # Coverage is a term of the additive one.
    "gradients_equal_finite_differences",
    "the_state_does_not_grow",
):
    del globals()[f"test_{name}"]

REGIONS = torch.arange(45.0).reshape(1, 5, 9).sin() * 3
WITHOUT_THE_PACKAGE = """
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText

folder, out = sys.argv[1:]
AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
assert "CosineAttention" in str(model)
print("SAID", model.generate(region_features=torch.arange(45.0).reshape(1, 5, 9).sin() * 3, num_beams=2).tolist())
model.save_pretrained(out + "/again")
"""


def ensemble() -> PreTrainedModel:
    return AttentionEnsembleForConditionalGeneration.from_members([OVER_MODELS[0].make_model() for _ in range(2)])


def test_configurations_know_its_name() -> None:
    AttentionCaptionerConfig(attention_type="cosine")
    with pytest.raises(ValueError, match=r"`attention_type` must be one of \[.*'cosine'.*\], got 'sine'"):
        AttentionCaptionerConfig(attention_type="sine")


@pytest.mark.parametrize("make_model", [OVER_MODELS[0].make_model, ensemble], ids=["captioner", "ensemble"])
def test_a_checkpoint_that_names_it_carries_it(make_model, tmp_path: Path) -> None:
    folder, model = tmp_path / "saved", make_model()
    model.save_pretrained(folder)
    assert "from .attention import Attention\n" in (folder / "attention_by_cosine.py").read_text()
    tokens = model.generate(region_features=REGIONS, num_beams=2).tolist()
    again = tmp_path / "first" / "again"
    for place, out in ((folder, "first"), (again, "second")):
        printed = run_without_the_package(WITHOUT_THE_PACKAGE, tmp_path / out, place, tmp_path / out)
        assert f"SAID {tokens}\n" in printed
    assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}


def test_a_checkpoint_that_does_not_name_it_does_not(tmp_path: Path) -> None:
    FACTORIES[0].make_model().save_pretrained(tmp_path)
    assert not (tmp_path / "attention_by_cosine.py").exists()
    assert "cosine" not in (tmp_path / "configuration_attention.py").read_text()
