"""Guessing ahead: decoding of text that copies its prompt, and of text that does not."""

from __future__ import annotations

from collections.abc import Iterator

from edgelm.evaluate.bench.report import Case
from edgelm.evaluate.bench.rig import Rig
from edgelm.evaluate.bench.texts import COPY, OPEN_ENDED
from edgelm.text.prompt import encode_text

NEW_TOKENS = 128


def measure(rig: Rig) -> Iterator[Case]:
    """Yield a case for text that repeats the prompt and one for text that does not, with and without guessing."""
    for name, text in (("copying", COPY), ("open-ended", OPEN_ENDED)):
        prompt = encode_text(rig.ready.loaded.tokenizer, text)
        yield _measure(rig, name, prompt)


def longest_prompt(rig: Rig) -> int:
    """Return the tokens that the case needs."""
    tokenizer = rig.ready.loaded.tokenizer
    return max(len(encode_text(tokenizer, text)) for text in (COPY, OPEN_ENDED)) + NEW_TOKENS + 1


def _measure(rig: Rig, name: str, prompt: list[int]) -> Case:
    answers: dict[bool, tuple[int, ...]] = {}

    def decode(*, speculation: bool) -> float:
        finished = rig.generate(prompt, NEW_TOKENS, speculation=speculation)
        answers[speculation] = finished.tokens
        return finished.usage.decode_tokens_per_s

    decode(speculation=True)  # what a step costs by its width is learnt in a first answer
    sides = {"edgelm": lambda: decode(speculation=True), "plain": lambda: decode(speculation=False)}
    if rig.compares:
        from edgelm.zoo import peer

        layers = peer.filled_cache(rig.network, prompt[:-1])
        sides["mlx-lm"] = lambda: peer.decode_tokens_per_s(rig.network, layers, prompt[-1:], NEW_TOKENS)
    spreads = rig.by_turns(sides)
    return Case(
        f"decode {NEW_TOKENS}, {name} text",
        "token/s",
        spreads["edgelm"],
        without=spreads["plain"],
        without_what="not guessing",
        peer=spreads.get("mlx-lm"),
        note="" if answers[True] == answers[False] else "NOT the same text",
    )
