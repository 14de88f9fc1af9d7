import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from common import tiny_captioner, tiny_models
from common.tiny_page import save_models
from transformers import PreTrainedTokenizerFast

from hf_attention import RecurrentLMConfig, RecurrentLMForCausalLM
from hf_attention.training.data.tokenization import for_running_text


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny models by what they do: those of the page, and a `language-model`."""
    root = tmp_path_factory.mktemp("models")
    folders = save_models(root) | {"language-model": str(root / "language-model")}
    tokenizer: PreTrainedTokenizerFast = for_running_text(tiny_captioner.make_tokenizer())
    config = RecurrentLMConfig(vocab_size=len(tokenizer), embedding_size=6, hidden_size=8)
    tiny_captioner.with_odd_weights(RecurrentLMForCausalLM(config)).save_pretrained(folders["language-model"])
    tokenizer.save_pretrained(folders["language-model"])
    return folders


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, one of them in a folder of its own, and what is none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for name, picture in tiny_models.make_pictures().items():
        picture.save(folder / "more" / "night.JPG" if name == "night" else folder / f"{name}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Makes standard input hold this."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
