r"""How byte-level tokenizers split text into words before merging, by the name in `tokenizer.ggml.pre`.

A splitter is a row of regular expressions, applied one after another: each isolates its matches in
every part the one before left (llama.cpp's unicode_regex_split; `tokenizers`' Sequence of isolated Splits).

The names, and which names share a splitter, are llama.cpp's (src/llama-vocab.cpp, commit 00ad355e). The
expressions are those of the models' own tokenizer.json, which llama.cpp quotes beside its adaptations: it
has no case-insensitive groups and few Unicode classes, `tokenizers` (Oniguruma) has both. Where the two
files list different steps, llama.cpp's definition stands.

"smollm" is `\p{N}` and then GPT-2's expression, which is Digits(individual) + ByteLevel in SmolLM's own
tokenizer.json. transformers, asked to load the same GGUF, knows no such name and falls back to GPT-2
alone. No merge of this vocabulary joins digits, so most numbers come out alike; but the spaces before a
number belong to it there and to each other here, and "a  12" has 5 tokens there and, as it should, 4 here.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.errors import UnsupportedError

if TYPE_CHECKING:
    from tokenizers import normalizers, pre_tokenizers


@dataclass(frozen=True)
class WordSplitter:
    """One way to split, and what comes with it."""

    patterns: tuple[str, ...]
    whole_words: bool = False
    """A word that is itself a token is not merged from its parts (`ignore_merges`)."""
    add_bos: bool = False
    """BOS is added where the file does not say."""
    nfc: bool = False
    """The model's own tokenizer composes characters first, so that is what it was trained on."""


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
LLAMA3 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{SYMBOLS}|{SPACES}"
QWEN2 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{SYMBOLS}|{SPACES}"
QWEN35 = (
    rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
)
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
)
GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
)
DEEPSEEK_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}"
)
# Cased letters as DeepSeek spelled them out: those of an older Unicode, without the mathematical ones.
DEEPSEEK_CASED = (
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376-377 37B-37D 37F 386 388-38A "
    "38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF "
    "1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D "
    "1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 "
    "1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F "
    "2145-2149 214E 2183-2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2-2CF3 A640-A66D A680-A69B A722-A76F "
    "A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 "
    "104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943"
)
DEEPSEEK_LETTERS = "".join(
    "-".join(rf"\x{{{code}}}" for code in span.split("-")) for span in DEEPSEEK_CASED.split()
)
DEEPSEEK_CJK = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+"
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

_DIGITS_GPT2 = WordSplitter((r"\p{N}", GPT2))
_LLAMA3 = WordSplitter((LLAMA3,), whole_words=True, add_bos=True)
_DEEPSEEK3 = WordSplitter((r"\p{N}{1,3}", r"[\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]+", DEEPSEEK_WORDS))
_BAILING = WordSplitter(
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)

_SHARED: tuple[tuple[WordSplitter, str], ...] = (
    (_LLAMA3, "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2"),
    (WordSplitter((LLAMA3,)), "dbrx smaug-bpe glm4 chatglm-bpe"),
    (_DEEPSEEK3, "deepseek-v3 hunyuan-dense joyai-llm hy_v4"),
    (_DIGITS_GPT2, "smollm starcoder refact codeshell exaone minerva-7b mellum2"),
    (WordSplitter((r"\p{N}", GPT2), nfc=True), "command-r"),
    (WordSplitter((GPT2,)), "gpt-2 phi-2 gigachat a.x-4.0 mellum exaone4 jais trillion granite-docling"),
    (WordSplitter((GPT2,), nfc=True), "mpt olmo"),
    (WordSplitter((QWEN2,), nfc=True), "qwen2 deepseek-r1-qwen kormo megrez"),
    (WordSplitter((QWEN2,)), "stablelm2 hunyuan solar-open grok-2"),
    (WordSplitter((QWEN35,), nfc=True), "qwen35"),
    (WordSplitter((TEKKEN,), whole_words=True, add_bos=True), "tekken"),
    (WordSplitter((GPT4O,)), "gpt-4o llama4 kanana2 minimax-m2"),
    (WordSplitter((BLOOM,)), "bloom poro-chat gpt3-finnish"),
    (WordSplitter((BLOOM, r"\p{N}")), "viking"),
    (_BAILING, "bailingmoe bailingmoe2 llada-moe"),
)

SPLITTERS: dict[str, WordSplitter] = {
    **{name: splitter for splitter, names in _SHARED for name in names.split()},
    "deepseek-llm": WordSplitter(
        (
            r"[\r\n]",
            rf"\s?[{DEEPSEEK_LETTERS}]+",
            r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
            r"\s+$",
            DEEPSEEK_CJK,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": WordSplitter((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}")),
    "falcon": WordSplitter((r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]")),
    "default": WordSplitter((r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    "minicpm5": WordSplitter((r"\p{N}{1,3}", LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+")), whole_words=True),
    "seed-coder": WordSplitter(
        (
            rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{SPACES}",
        )
    ),
}  # fmt: skip


def splitter_named(name: str, origin: Path) -> WordSplitter:
    """Return the splitter of `tokenizer.ggml.pre`.

    Raises:
        UnsupportedError: the name is not known. Guessing would change the ids of some texts, unnoticed.
    """
    if name in SPLITTERS:
        return SPLITTERS[name]
    close = difflib.get_close_matches(name, SPLITTERS, n=1)
    raise UnsupportedError(
        f"tokenizer.ggml.pre is {name[:60]!r}, a pre-tokenizer that is not known"
        f" (known: {', '.join(sorted(SPLITTERS))}): {origin}",
        hint=f"did you mean {close[0]!r}?"
        if close
        else "convert from the model's Hugging Face directory instead",
    )


def build_pre_tokenizer(splitter: WordSplitter) -> pre_tokenizers.PreTokenizer:
    """Build the splits, then each byte as one printable character."""
    from tokenizers import Regex, pre_tokenizers

    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in splitter.patterns]
    return pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def build_normalizer(splitter: WordSplitter) -> normalizers.Normalizer | None:
    """NFC where the model's own tokenizer has it."""
    from tokenizers import normalizers

    return normalizers.NFC() if splitter.nfc else None
