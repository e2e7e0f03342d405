"""Tokenizers with the chat templates of six model families, small: every byte is a token, every marker another.

So the tokens of a text can be counted by hand: its bytes, and one for each marker.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent.parent / "tune" / "data" / "templates"

MARKERS: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    "qwen3": ("<|im_end|>", "<|im_start|>", "<think>", "</think>"),
    "llama3": ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    "gemma": ("<end_of_turn>", "<bos>", "<eos>", "<start_of_turn>"),
    "mistral": ("</s>", "<s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    "phi3": ("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"),
    "deepseek": (
        "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
        "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
    ),
    "deepseek_r1": ("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>"),
}  # fmt: skip
"""Family → its markers; the first is its end-of-sequence token."""

STOPS = {"phi3": ("<|endoftext|>", "<|end|>")}
"""Where there is more than one token to stop at."""


@functools.cache
def make_tokenizer(family: str) -> Any:
    """mlx-lm's TokenizerWrapper with the family's markers and template."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    tokenizer = make_fast(family)
    stops = STOPS.get(family, MARKERS[family][:1])
    return TokenizerWrapper(tokenizer, eos_token_ids=tokenizer.convert_tokens_to_ids(list(stops)))


def make_fast(family: str) -> PreTrainedTokenizerFast:
    """The transformers tokenizer inside."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(marker, special=True) for marker in MARKERS[family]])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=MARKERS[family][0])
    fast.chat_template = (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
    return fast
