"""Tokenizers of families: every byte is a token, every marker another."""

from __future__ import annotations

from typing import Any


def build_family(markers: tuple[str, ...] = (), template: str | None = None) -> Any:
    """mlx-lm's TokenizerWrapper as its loader makes it."""
    import importlib

    from mlx_lm.tokenizer_utils import TokenizerWrapper, _infer_tool_parser
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in ("<end>", *markers)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = template
    name = _infer_tool_parser(fast)
    parser = importlib.import_module(f"mlx_lm.tool_parsers.{name}") if name else None
    wrapping = (
        {
            "tool_parser": parser.parse_tool_call,
            "tool_call_start": parser.tool_call_start,
            "tool_call_end": parser.tool_call_end,
        }
        if parser
        else {}
    )
    return TokenizerWrapper(fast, **wrapping)
