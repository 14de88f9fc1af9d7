"""The web page of tiny models of the three kinds, with their processors and tokenizers."""

import json
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import PreTrainedModel

from common import tiny_captioner, tiny_vqa
from hf_attention import (
    AttentionSeq2SeqConfig,
    AttentionSeq2SeqForConditionalGeneration,
    AttentionVQAForConditionalGeneration,
)
from hf_attention.demo.demonstrations import DEMONSTRATIONS


MAX_NEW_TOKENS = 8
SENTENCE = "a small red circle left of the blue square"


def make_translator() -> PreTrainedModel:
    config = AttentionSeq2SeqConfig(
        vocab_size=4 + len(tiny_captioner.WORDS),
        embedding_size=6,
        hidden_size=8,
        encoder_hidden_size=8,
        attention_size=5,
        pad_token_id=tiny_captioner.PAD,
        unk_token_id=tiny_captioner.UNKNOWN,
        bos_token_id=tiny_captioner.START,
        eos_token_id=tiny_captioner.END,
        decoder_start_token_id=tiny_captioner.START,
    )
    return tiny_captioner.with_odd_weights(AttentionSeq2SeqForConditionalGeneration(config))


def save_models(root: Path) -> dict[str, str]:
    """Folders, by what the models do: `captioner`, `answerer`, `writer` (of answers) and `translator`."""
    torch.manual_seed(0)
    parts = {
        "captioner": (tiny_captioner.make_model(), tiny_captioner.make_processor()),
        "answerer": (tiny_vqa.make_model(), tiny_vqa.make_processor()),
        "writer": (tiny_vqa.make_model(AttentionVQAForConditionalGeneration), tiny_vqa.make_processor()),
        "translator": (make_translator(), tiny_captioner.make_tokenizer()),
    }
    for name, (model, processor) in parts.items():
        if name != "answerer":
            model.generation_config.max_new_tokens = MAX_NEW_TOKENS
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
    return {name: str(root / name) for name in parts}


class RunningPage:
    """
    The page of tiny models on loopback, as programs meet it.

    Args:
        folders (`dict[str, str]`): From [`save_models`].
    """

    def __init__(self, folders: dict[str, str]):
        from hf_attention.demo.web_page import launch, make_page

        self.models = {
            part: DEMONSTRATIONS[part].load(folders["writer" if part == "answerer" else part])
            for part in DEMONSTRATIONS
        }
        self.page = make_page(**self.models)
        _, self.address, _ = launch(self.page, prevent_thread_lock=True, quiet=True)
        self.client = httpx.Client(base_url=self.address, timeout=120)

    def close(self) -> None:
        self.client.close()
        self.page.close(verbose=False)

    def upload(self, content: bytes, name: str = "photo.png") -> dict[str, Any]:
        """What a browser sends of a picture that it has uploaded."""
        [path] = self.client.post("/gradio_api/upload", files={"files": (name, content)}).raise_for_status().json()
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def ask(self, name: str, *values: Any, **body: Any) -> str:
        """The answer, or the error that is shown, of the page's function of that name."""
        # The standard library writes lone surrogates and NaN, which are to be tried.
        content = json.dumps({"data": values, **body})
        response = self.client.post(f"/gradio_api/call/{name}", content=content, headers=_JSON)
        if response.status_code != 200:
            return f"{response.status_code}: {response.text}"
        told = self.client.get(f"/gradio_api/call/{name}/{response.json()['event_id']}").text
        [(kind, data)] = [
            (event.partition("\n")[0], json.loads(event.partition("\ndata: ")[2]))
            for event in told.strip().split("\n\n")
            if not event.startswith("event: heartbeat")
        ]
        return data[0] if kind == "event: complete" else f"error: {data['error']}"


_JSON = {"content-type": "application/json"}
