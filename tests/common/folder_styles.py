"""The two styles of a checkpoint's folder: settings of generation in a file of their own, or in `config.json`."""

import json
from pathlib import Path
from typing import Any


# The settings of generation that transformers before 4.26 wrote into every configuration inside another one (the
# decoder of a VisionEncoderDecoder, the text_config of BLIP), and before 3.0 into every configuration.
WRITTEN_OUT = {
    "max_length": 20,
    "min_length": 0,
    "do_sample": False,
    "early_stopping": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "num_return_sequences": 1,
    "output_scores": False,
    "return_dict_in_generate": False,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "remove_invalid_values": False,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
STYLES = ("new", "old")


def to_old_style(folder: Path) -> Path:
    """
    Turns a saved checkpoint, in place, into one that transformers before 4.26 could have saved.

    There is no `generation_config.json`. What it held (the model's wishes: a `max_length`, a `forced_bos_token_id`)
    stands in `config.json`, and each configuration inside of it holds the defaults of that time, written out; where
    none is inside, the file itself does, as it did before 3.0.

    Args:
        folder: The checkpoint.

    Returns:
        The same folder.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for part in _inner(config) or [config]:
        part.update(WRITTEN_OUT | part)
    wishes = folder / "generation_config.json"
    if wishes.exists():
        config |= json.loads(wishes.read_text())
        config.pop("_from_model_config", None)
        wishes.unlink()
    config["transformers_version"] = "4.25.1"
    path.write_text(json.dumps(config, indent=2))
    return folder


def _inner(config: dict[str, Any]) -> list[dict[str, Any]]:
    """All configurations inside of one, at any depth."""
    parts = [value for name, value in config.items() if isinstance(value, dict) and _is_configuration(name, value)]
    return parts + [deeper for part in parts for deeper in _inner(part)]


def _is_configuration(name: str, value: dict[str, Any]) -> bool:
    return "model_type" in value or name in ("encoder", "decoder") or name.endswith("_config")
