"""PEFT and TRL train the models as `docs/trainer.md` says; both tests skip where they are not installed."""

import re
from pathlib import Path

import pytest
import torch
from common.every_model import MODELS as EXAMPLES
from common.every_model import forward_inputs, over_every_model
from datasets import Dataset
from transformers import PreTrainedModel

from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM
from hf_attention.training.data.tokenization import for_running_text, train_tokenizer


DOCUMENT = Path(__file__).parents[2] / "docs" / "trainer.md"
TRAINABLE = [name for name in EXAMPLES if name != "ensemble"]  # whose members are trained one by one


@pytest.fixture(scope="module")
def documented() -> dict:
    """What the page's block makes: the configuration that works for each model, and a model adapted by it."""
    pytest.importorskip("peft")
    names: dict = {}
    [block] = [
        each for each in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S) if "LoraConfig(" in each
    ]
    exec(block, names)
    return names


def loss_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """A loss that every output counts in."""
    logits = model(**inputs).logits.float()
    return logits.log_softmax(-1)[..., 4].mean().neg()


@over_every_model(*TRAINABLE)
def test_lora_trains_every_model(make_example, documented: dict, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model, inputs = make_example()
    inputs = forward_inputs(model, inputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        expected = model(**inputs).logits
    adapted = peft.get_peft_model(model, documented["lora"])
    trainable = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    assert {name for name, each in adapted.train().named_parameters() if each.requires_grad} == trainable
    torch.testing.assert_close(adapted.eval()(**inputs).logits, expected)
    adapted.train()
    optimizer = torch.optim.AdamW([each for each in adapted.parameters() if each.requires_grad], lr=0.05)
    losses = []
    for _ in range(8):
        losses.append(loss_of(adapted, inputs))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    adapted.eval()
    with torch.no_grad():
        learned = adapted(**inputs).logits
    adapted.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(make_example()[0], tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, learned, rtol=1e-4, atol=1e-5)
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(merged(**inputs).logits, learned, rtol=1e-4, atol=1e-5)
    assert merged.state_dict().keys() == before.keys()


@pytest.mark.parametrize("attention", [None, "additive"])
def test_trl_trains_a_language_model_on_its_defaults(attention: str | None, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    texts = ["a red circle is left of a blue square", "two dogs play in the snow"] * 8
    tokenizer = for_running_text(train_tokenizer(texts, min_count=1))
    torch.manual_seed(0)
    config = RecurrentLMConfig(
        vocab_size=len(tokenizer), embedding_size=16, hidden_size=16, attention_type=attention, attention_size=8
    )
    data = Dataset.from_dict({"text": texts})
    arguments = trl.SFTConfig(str(tmp_path), use_cpu=True, report_to=[], learning_rate=3e-2, num_train_epochs=20)
    model = RecurrentLMForCausalLM(config)
    trainer = trl.SFTTrainer(model, args=arguments, train_dataset=data, eval_dataset=data, processing_class=tokenizer)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.6 * before
