"""Tokens of a GGUF that steer, told by their text where the file types them otherwise, and which of them end an answer.

Files are often converted with `<|im_end|>` and its kin typed as user-defined or normal; llama.cpp overrides that, since its
templates count on them, and collects what ends an answer from the text too. Done here as it does it (llama-vocab.cpp,
`llama_vocab::impl::load`, "auto-detect special tokens by text"). Knows spellings, not models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgelm_converters.tokenizers.vocabulary import TokenType

ENDS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>",
    "<eos>", "<turn|>", "<|tool_response>",
})  # fmt: skip
"""Spellings that end an answer wherever they occur in a vocabulary."""

TURN_ENDS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
    "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
})  # fmt: skip
"""From one of these llama.cpp takes the end of a turn, where the file names none."""

INFILLING: Mapping[str, tuple[str, ...]] = {
    "fim_pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "<|code_prefix|>", "<|prefix|>"),
    "fim_suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "<|code_suffix|>", "<|suffix|>"),
    "fim_mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>", "<|code_middle|>", "<|middle|>"),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
"""Role of a token for filling in → its spellings."""

INFILLING_ENDS = ("fim_pad", "fim_rep", "fim_sep")
"""Those that end an answer as well."""

_HARMONY = frozenset({"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"})
"""gpt-oss's markers, which are to be seen in text."""

ROLES = ("eos", "eot", "eom", *INFILLING)
"""What the file may name: `tokenizer.ggml.{role}_token_id`."""


@dataclass(frozen=True)
class ControlTokens:
    """What llama.cpp makes of a vocabulary."""

    types: tuple[TokenType, ...]
    """Types by token id, overridden where the spelling says so."""
    ends: tuple[int, ...]
    """Ids that end an answer: the one that the file calls EOS first."""


def find_control(
    tokens: Sequence[str], types: Sequence[TokenType], roles: Mapping[str, int]
) -> ControlTokens:
    """Find the types and ends of a vocabulary.

    Args:
        tokens: by id.
        types: by id, as the file has them.
        roles: ids that the file names, by the names of `ROLES`.
    """
    changed = list(types)
    ids = {token: index for index, token in enumerate(tokens)}
    found = dict(roles)
    for role, names in (("eot", TURN_ENDS), ("eom", ("<|eom_id|>",)), *INFILLING.items()):
        spelled = min((ids[name] for name in names if name in ids), default=None)
        if role not in found and spelled is not None:
            found[role] = spelled
            changed[spelled] = TokenType.CONTROL
    ends = [found[role] for role in ("eos", "eot", "eom", *INFILLING_ENDS) if role in found]
    for index in sorted(ids[name] for name in ENDS & ids.keys()):
        ends.append(index)
        changed[index] = TokenType.CONTROL
    for name in _HARMONY & ids.keys():
        changed[ids[name]] = TokenType.USER_DEFINED
    for name, kind in _not_ends({tokens[index] for index in ends}).items():
        ends = [index for index in ends if tokens[index] != name]
        changed[ids[name]] = kind
    return ControlTokens(tuple(changed), tuple(dict.fromkeys(ends)))


def _not_ends(ends: set[str]) -> dict[str, TokenType]:
    """Spellings that end nothing in the company of others, and what they are then."""
    found = {}
    if {"<|return|>", "<|call|>", "<|end|>"} <= ends or (
        {"<|flush|>", "<|end|>"} <= ends and ends & {"<|call|>", "<|calls|>"}
    ):
        found["<|end|>"] = TokenType.USER_DEFINED  # it ends a channel only, in gpt-oss and solar-open
    if {"<|tool_response>", "</s>"} <= ends:
        found["</s>"] = TokenType.NORMAL  # gemma4
    return found
