"""
A tiny model of each family of sequence-to-sequence models that transformers 4.57 and 5 both have.

There are two styles of folder. The files are written here, `config.json` included, so that they are the same whichever
transformers makes them; it only says which weights there are.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from common.folder_styles import to_old_style
from common.tiny_models import fill_weights
from common.tiny_text_models import END, MBART_TOKENS, PAD, SPECIAL, START, TOKENS, UNKNOWN, make_tokenizer


CODES = {
    "MBartTokenizer": MBART_TOKENS[MBART_TOKENS.index("ar_AR") : -1],
    "MBart50Tokenizer": ["ar_AR", "de_DE", "en_XX", "ro_RO"],
    "NllbTokenizer": ["deu_Latn", "eng_Latn", "ron_Latn"],
    "SeamlessM4TTokenizer": ["__deu__", "__eng__", "__ron__"],
}
# Byte-pair encoding; the others have unigrams.
OF_PAIRS = ("NllbTokenizer", "SeamlessM4TTokenizer")
WIDTH = {"d_model": 16}
BART_LAYERS = WIDTH | {
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}
BART = BART_LAYERS | {"max_position_embeddings": 300, "decoder_start_token_id": END}
T5 = WIDTH | {"d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": PAD}
BERT = {
    "vocab_size": len(TOKENS),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 300,
    "pad_token_id": PAD,
}
GEMMA = BERT | {
    "model_type": "t5_gemma_module",
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "attn_logit_softcapping": None,
    # With a sliding window 4.57 answers a source of a batch otherwise than alone.
    "layer_types": ["full_attention"],
    "bos_token_id": START,
    "eos_token_id": END,
}
SPEECH = {
    "hidden_size": 16,
    "speech_encoder_layers": 1,
    "speech_encoder_attention_heads": 2,
    "speech_encoder_intermediate_size": 24,
    "t2u_encoder_layers": 1,
    "t2u_decoder_layers": 1,
    "t2u_encoder_attention_heads": 2,
    "t2u_decoder_attention_heads": 2,
    "t2u_encoder_ffn_dim": 24,
    "t2u_decoder_ffn_dim": 24,
    "unit_embed_dim": 8,
    "upsample_initial_channel": 8,
    "decoder_start_token_id": END,
}
T5_TASKS = {
    "summarization": {"max_length": 12, "min_length": 4, "num_beams": 3, "prefix": "summarize : "},
    "translation_en_to_de": {"max_length": 12, "num_beams": 2, "prefix": "translate english to german : "},
    "translation_en_to_fr": {"max_length": 12, "num_beams": 2, "prefix": "translate english to french : "},
}


@dataclass(frozen=True)
class Family:
    """
    Args:
        model_type: As in `config.json`.
        architecture: The name of the class.
        settings: The rest of `config.json`.
        wishes: What the model's generation configuration says, besides special tokens.
        tokenizer: What stands around a text, or the name of a multilingual tokenizer's class.
        special: The first tokens: what the ids 0 to 3 mean.
        pair: The languages that the tokenizer says it is for.
    """

    model_type: str
    architecture: str
    settings: dict[str, Any]
    wishes: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "$A </s>"
    special: tuple[str, ...] = tuple(SPECIAL)
    pair: dict[str, str] = field(default_factory=dict)

    @property
    def codes(self) -> list[str]:
        """The languages, as a call names them."""
        return [code.strip("_") for code in CODES.get(self.tokenizer, [])]

    @property
    def tokens(self) -> list[str]:
        """The vocabulary."""
        words = TOKENS[len(SPECIAL) :]
        if self.tokenizer not in CODES:
            return [*self.special, *words]
        pieces = [f"▁{word}" for word in words]
        if self.tokenizer in OF_PAIRS:
            pieces = [*sorted(set("".join(pieces))), *(first + second for first, second in self.merges)]
        return [*self.special, *pieces, *CODES[self.tokenizer], "<mask>"]

    @property
    def merges(self) -> list[tuple[str, str]]:
        """Which make a word of its letters, from left to right."""
        words = [f"▁{word}" for word in TOKENS[len(SPECIAL) :]]
        return list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))


def _bart(name: str, architecture: str, wishes: dict[str, Any] | None = None, **kwargs: Any) -> Family:
    tokenizer = {"tokenizer": kwargs.pop("tokenizer")} if "tokenizer" in kwargs else {}
    return Family(name, f"{architecture}ForConditionalGeneration", BART | kwargs, wishes or {}, **tokenizer)


def _t5(name: str, architecture: str, wishes: dict[str, Any] | None = None, **kwargs: Any) -> Family:
    return Family(name, f"{architecture}ForConditionalGeneration", T5 | kwargs, wishes or {})


# As the files of well-known checkpoints, made small.
BART_CNN = {
    "max_length": 12,
    "min_length": 5,
    "num_beams": 2,
    "length_penalty": 2.0,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "forced_bos_token_id": START,
    "forced_eos_token_id": END,
}
FAMILIES: dict[str, Family] = {
    "bart": _bart("bart", "Bart", BART_CNN, tokenizer="<s> $A </s>"),
    "bigbird_pegasus": _bart("bigbird_pegasus", "BigBirdPegasus", {"num_beams": 5, "max_length": 10}, block_size=4),
    "blenderbot": _bart(
        "blenderbot",
        "Blenderbot",
        {"max_length": 10, "min_length": 4, "num_beams": 3, "encoder_no_repeat_ngram_size": 3},
    ),
    "blenderbot-small": _bart("blenderbot-small", "BlenderbotSmall", {"forced_eos_token_id": END}),
    "encoder-decoder": Family(
        "encoder-decoder",
        "EncoderDecoderModel",
        {
            "encoder": BERT | {"model_type": "bert"},
            "decoder": BERT | {"model_type": "bert", "is_decoder": True, "add_cross_attention": True},
            "decoder_start_token_id": START,
        },
    ),
    "bert2gpt2": Family(
        "encoder-decoder",
        "EncoderDecoderModel",
        {
            "encoder": BERT | {"model_type": "bert"},
            "decoder": {
                "model_type": "gpt2",
                "vocab_size": len(TOKENS),
                "n_positions": 300,
                "n_embd": 16,
                "n_layer": 1,
                "n_head": 2,
                "is_decoder": True,
                "add_cross_attention": True,
                "bos_token_id": START,
                "eos_token_id": END,
                "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
            },
            "decoder_start_token_id": START,
        },
    ),
    "fsmt": _bart(
        "fsmt",
        "FSMT",
        # With a cache 4.57 loses count of the positions.
        {"num_beams": 3, "max_length": 11, "length_penalty": 1.1, "use_cache": False},
        langs=["en", "de"],
        src_vocab_size=len(TOKENS),
        tgt_vocab_size=len(TOKENS),
    ),
    "led": _bart(
        "led",
        "LED",
        {"max_length": 9, "num_beams": 2, "no_repeat_ngram_size": 3},
        max_encoder_position_embeddings=300,
        max_decoder_position_embeddings=300,
        attention_window=[4],
        tokenizer="<s> $A </s>",
    ),
    "longt5": _t5("longt5", "LongT5", local_radius=3, encoder_attention_type="transient-global", global_block_size=4),
    "m2m_100": _bart(
        "m2m_100", "M2M100", {"max_length": 9, "num_beams": 3, "early_stopping": True}, tokenizer="NllbTokenizer"
    ),
    "marian": Family(
        "marian",
        "MarianMTModel",
        BART | {"decoder_start_token_id": PAD, "decoder_vocab_size": len(TOKENS)},
        {"max_length": 14, "num_beams": 3, "bad_words_ids": [[PAD]], "forced_eos_token_id": END},
        pair={"source_lang": "en", "target_lang": "de"},
    ),
    "mbart": _bart(
        "mbart",
        "MBart",
        {"max_length": 11, "num_beams": 3, "early_stopping": True, "forced_eos_token_id": END},
        decoder_start_token_id=MBART_TOKENS.index("ro_RO"),
        tokenizer="MBartTokenizer",
    ),
    "mbart50": _bart("mbart", "MBart", {"forced_eos_token_id": END}, tokenizer="MBart50Tokenizer"),
    "mt5": _t5("mt5", "MT5", tie_word_embeddings=False, feed_forward_proj="gated-gelu"),
    "mvp": _bart("mvp", "Mvp", {"forced_eos_token_id": END}, tokenizer="<s> $A </s>"),
    # Without experts: transformers 5 sends the tokens to others than 4.57 did.
    "nllb-moe": _bart(
        "nllb-moe",
        "NllbMoe",
        {"max_length": 9},
        encoder_sparse_step=0,
        decoder_sparse_step=0,
        tokenizer="NllbTokenizer",
    ),
    "pegasus": _bart("pegasus", "Pegasus", {"num_beams": 3, "max_length": 9, "length_penalty": 0.8}),
    "pegasus_x": _bart("pegasus_x", "PegasusX", {"max_length": 9}, num_global_tokens=4, block_size=4),
    "plbart": _bart("plbart", "PLBart", {"forced_eos_token_id": END}),
    "prophetnet": Family(
        "prophetnet",
        "ProphetNetForConditionalGeneration",
        {
            "hidden_size": 16,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "num_encoder_attention_heads": 2,
            "num_decoder_attention_heads": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "max_position_embeddings": 300,
            "decoder_start_token_id": END,
        },
        {"num_beams": 5, "max_length": 9, "length_penalty": 2.0, "no_repeat_ngram_size": 3, "early_stopping": True},
        special=("<pad>", "<s>", "</s>", "<unk>"),
    ),
    "seamless_m4t": Family(
        "seamless_m4t", "SeamlessM4TForTextToText", BART_LAYERS | SPEECH, {}, "SeamlessM4TTokenizer"
    ),
    "seamless_m4t_v2": Family(
        "seamless_m4t_v2", "SeamlessM4Tv2ForTextToText", BART_LAYERS | SPEECH, {}, "SeamlessM4TTokenizer"
    ),
    "switch_transformers": _t5(
        "switch_transformers",
        "SwitchTransformers",
        num_decoder_layers=1,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        num_experts=4,
    ),
    "t5": _t5("t5", "T5", task_specific_params=T5_TASKS),
    "t5gemma": Family(
        "t5gemma",
        "T5GemmaForConditionalGeneration",
        {"encoder": GEMMA, "decoder": GEMMA},
        {"repetition_penalty": 1.2, "max_length": 9},
    ),
    "umt5": _t5("umt5", "UMT5", {"max_new_tokens": 7}, tie_word_embeddings=True, feed_forward_proj="gated-gelu"),
}


def save_family(name: str, folder: Path, style: str = "new") -> Path:
    """
    Makes a folder that `from_pretrained` and `pipeline` read: model and tokenizer.

    Args:
        name: One of `FAMILIES`.
        folder: Where to put it; the model gets a folder of its own inside.
        style: `"new"`, or `"old"` as [`to_old_style`] makes it.

    Returns:
        The model's folder.
    """
    family = FAMILIES[name]
    folder = folder / f"{name}-{style}"
    special = {
        "bos_token_id": family.special.index("<s>"),
        "pad_token_id": family.special.index("<pad>"),
        "eos_token_id": END,
    }
    if "decoder_start_token_id" in family.settings:
        special["decoder_start_token_id"] = family.settings["decoder_start_token_id"]
    config = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "is_encoder_decoder": True,
        "vocab_size": len(family.tokens),
        **special,
        **family.settings,
        "transformers_version": "4.57.6",
    }
    wishes = special | family.wishes
    if "Seamless" in family.tokenizer:
        wishes["text_decoder_lang_to_code_id"] = {code: family.tokens.index(f"__{code}__") for code in family.codes}
    _write(folder / "config.json", config)
    loaded = transformers.AutoConfig.from_pretrained(folder)
    getattr(transformers, family.architecture)(loaded).save_pretrained(folder)
    _complete(folder, family)
    fill_weights(folder)
    _raise_the_end(folder, len(family.tokens))
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", wishes)
    if style == "old":
        to_old_style(folder)
    if family.tokenizer in CODES:
        _save_multilingual_tokenizer(family, folder)
    else:
        make_tokenizer(family.tokenizer, family.tokens).save_pretrained(folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        _write(folder / "tokenizer_config.json", settings | family.pair)
    return folder


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def _complete(folder: Path, family: Family) -> None:
    """Adds the table that checkpoints of mT5 have, and that transformers 5 does not save."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if family.settings.get("tie_word_embeddings") is False and "lm_head.weight" not in tensors:
        save_file(tensors | {"lm_head.weight": tensors["shared.weight"]}, path, metadata={"format": "pt"})


def _raise_the_end(folder: Path, vocab_size: int) -> None:
    """Makes the end's logits vary more than others', so that texts end, and after as many tokens as it happens."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for tensor in tensors.values():
        if tensor.ndim == 2 and len(tensor) == vocab_size:
            tensor[END] *= 1.5
    if (table := "model.decoder.output_projection.weight") in tensors:  # FSMT's has two names, of which 4.57 saves one
        tensors["model.decoder.embed_tokens.weight"] = tensors[table].copy()
    save_file(tensors, path, metadata={"format": "pt"})


def _save_multilingual_tokenizer(family: Family, folder: Path) -> None:
    """The files of a multilingual tokenizer: both versions of transformers build their own class from them."""
    if family.tokenizer in OF_PAIRS:
        ids = {token: i for i, token in enumerate(family.tokens)}
        tokenizer = Tokenizer(models.BPE(ids, family.merges, unk_token="<unk>", fuse_unk=True))
    else:
        scores = [(token, -1.0 * (i > 3)) for i, token in enumerate(family.tokens)]
        tokenizer = Tokenizer(models.Unigram(scores, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if family.tokenizer in ("MBartTokenizer", "SeamlessM4TTokenizer"):
        words = [pre_tokenizers.WhitespaceSplit(), tokenizer.pre_tokenizer]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": family.tokenizer, "model_max_length": 16}
    if family.tokenizer == "SeamlessM4TTokenizer":  # of the others transformers knows the languages
        settings["additional_special_tokens"] = CODES[family.tokenizer]
    _write(folder / "tokenizer_config.json", settings)
