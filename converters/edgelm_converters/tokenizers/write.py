"""The files of a tokenizer, in the form that transformers 4 and 5 and mlx-lm read without code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm_converters.tokenizers.special import SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def write_tokenizer(
    tokenizer: Tokenizer,
    special: SpecialTokens,
    directory: Path,
    *,
    chat_template: str | None = None,
    named_templates: Mapping[str, str] | None = None,
    context_length: int | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and, given a template, chat_template.jinja.

    Args:
        tokenizer: complete but for its special tokens and post-processor.
        directory: exists.
        named_templates: those beside the default one ("tool_use", "rag"); transformers takes `tool_use` for tools.
        context_length: tokens; transformers warns above it.
    """
    special.install(tokenizer)
    tokenizer.save(str(directory / "tokenizer.json"))
    config: dict[str, Any] = {
        # The name that transformers 4 and 5 share for "read tokenizer.json as it stands".
        "tokenizer_class": "PreTrainedTokenizerFast",
        # transformers' default for old files would delete spaces before punctuation when decoding.
        "clean_up_tokenization_spaces": False,
        **special.config(),
    }
    if context_length is not None:
        config["model_max_length"] = context_length
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
    if chat_template is not None:
        (directory / "chat_template.jinja").write_text(chat_template, encoding="utf-8", newline="")
    for name, template in (named_templates or {}).items():
        path = directory / "additional_chat_templates" / f"{name}.jinja"
        path.parent.mkdir(exist_ok=True)
        path.write_text(template, encoding="utf-8", newline="")
