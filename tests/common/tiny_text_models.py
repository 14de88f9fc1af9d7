"""
Tiny sequence-to-sequence models of other people's architectures, made in code like those of `tiny_models`.

They are the same whichever transformers builds them, 4.57 or 5: `scripts/record_pipeline_answers.py` writes down what
the pipelines of 4.57 say to the sentences below, and the tests compare with it.
"""

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from common.tiny_models import WORDS, fill_weights


START, PAD, END, UNKNOWN = range(4)
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
TOKENS = [*SPECIAL, *WORDS, *"translate english to german french summarize : . ,".split()]
# The codes that the tokenizer of mBART adds to its vocabulary.
LANGUAGES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP "
    "nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
).split()
MBART_TOKENS = [*SPECIAL, *(f"▁{word}" for word in TOKENS[4:]), *LANGUAGES, "<mask>"]
MAX_POSITIONS = 24

SOURCES = [
    "two large dog runs in the snow near a house .",
    "a red ball",
    "the large horse jumps over the small box , a cat stands beside the tree .",
    "one dark line under the white sky",
    "sea",
]

STOP = "on"

# What is asked of the pipelines: the answers to these are recorded under transformers 4.57.
CASES = {
    "greedy": {"num_beams": 1, "max_new_tokens": 9, "no_repeat_ngram_size": 2},
    "beam": {"max_new_tokens": 9, "num_beams": 3, "num_return_sequences": 2, "no_repeat_ngram_size": 2},
    "default beams": {"max_new_tokens": 7},
    "tensors": {"max_new_tokens": 6, "return_tensors": True},
    "stop": {"max_new_tokens": 9, "num_beams": 1, "no_repeat_ngram_size": 1, "stop_sequence": STOP},
    "truncation": {"max_new_tokens": 5, "truncation": True},
    "limits of the model and the task": {"no_repeat_ngram_size": 1},
}
LANGUAGE_PAIR = {"src_lang": "en_XX", "tgt_lang": "ro_RO"}
# model → task → the arguments of its pipeline
TASKS: dict[str, dict[str, dict]] = {
    "t5": dict.fromkeys(
        ["translation", "translation_en_to_de", "translation_en_to_fr", "summarization", "text2text-generation"], {}
    ),
    "bart": dict.fromkeys(["translation", "summarization", "text2text-generation"], {}),
    "mbart": {"translation": LANGUAGE_PAIR, "summarization": {}, "text2text-generation": {}},
    "marian": dict.fromkeys(["translation", "translation_en_to_de", "text2text-generation"], {}),
}


def make_tokenizer(template: str, tokens: list[str] = TOKENS) -> PreTrainedTokenizerFast:
    """A word-level tokenizer; `template` says what stands around a text, as in `"$A </s>"`."""
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, tokens.index(token)) for token in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=16,
        model_input_names=["input_ids", "attention_mask"],
    )


def save_mbart_tokenizer(folder: Path) -> None:
    """The files of an mBART tokenizer: both versions of transformers build their own class from them."""
    tokenizer = Tokenizer(models.Unigram([(token, -1.0 * (i > 3)) for i, token in enumerate(MBART_TOKENS)], UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "MBartTokenizer", "model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make_t5() -> PreTrainedModel:
    config = T5Config(
        vocab_size=len(TOKENS),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
    )
    beams = {"early_stopping": True, "max_length": 300, "num_beams": 2}
    config.task_specific_params = {
        "translation_en_to_de": {**beams, "prefix": "translate English to German: "},
        "translation_en_to_fr": {**beams, "prefix": "translate English to French: "},
        "summarization": {
            "early_stopping": True,
            "length_penalty": 2.0,
            "max_length": 200,
            "min_length": 4,
            "no_repeat_ngram_size": 3,
            "num_beams": 3,
            "prefix": "summarize: ",
        },
    }
    return T5ForConditionalGeneration(config)


LAYERS = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": MAX_POSITIONS,
    "bos_token_id": START,
    "pad_token_id": PAD,
    "eos_token_id": END,
}


def make_bart() -> PreTrainedModel:
    config = BartConfig(vocab_size=len(TOKENS), decoder_start_token_id=END, forced_eos_token_id=END, **LAYERS)
    config.task_specific_params = {"summarization": {"length_penalty": 2.0, "max_length": 12, "min_length": 6}}
    model = BartForConditionalGeneration(config)
    model.generation_config.max_length = 14
    return model


def make_mbart() -> PreTrainedModel:
    config = MBartConfig(vocab_size=len(MBART_TOKENS), forced_eos_token_id=END, **LAYERS)
    model = MBartForConditionalGeneration(config)
    model.generation_config.max_length = 14
    model.generation_config.decoder_start_token_id = MBART_TOKENS.index("en_XX")
    return model


def make_marian() -> PreTrainedModel:
    config = MarianConfig(
        vocab_size=len(TOKENS),
        decoder_vocab_size=len(TOKENS),
        decoder_start_token_id=PAD,
        forced_eos_token_id=END,
        **LAYERS,
    )
    model = MarianMTModel(config)
    model.generation_config.max_length = 14
    model.generation_config.bad_words_ids = [[PAD]]
    return model


MODELS: dict[str, tuple[Callable[[], PreTrainedModel], str | None]] = {
    "t5": (make_t5, "$A </s>"),
    "bart": (make_bart, "<s> $A </s>"),
    "mbart": (make_mbart, None),
    "marian": (make_marian, "$A </s>"),
}


def save_tiny_model(name: str, folder: Path) -> Path:
    """
    Makes a folder that `from_pretrained` and `pipeline` read: model and tokenizer.

    Args:
        name: One of `MODELS`.
        folder: Where to put it; the model gets a folder of its own inside.

    Returns:
        The model's folder.
    """
    make_model, template = MODELS[name]
    folder = folder / name
    make_model().save_pretrained(folder)
    fill_weights(folder)
    if template is None:
        save_mbart_tokenizer(folder)
    else:
        make_tokenizer(template).save_pretrained(folder)
    return folder


def without_tensors(answers: list | dict) -> list | dict:
    """A pipeline's answers as JSON holds them: token ids as lists."""
    if isinstance(answers, dict):
        return {key: value if isinstance(value, str) else value.tolist() for key, value in answers.items()}
    return [without_tensors(answer) for answer in answers]
