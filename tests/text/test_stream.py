"""The pieces of a stream join to the decode of all its tokens, and none is ever taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.text.stream import StreamDecoder

TEXTS = [
    "The capital of France is Paris.",
    " Paris",
    "東京 🎉🎉 naïve",
    "a\n\n  b\n",
    "don't , they 're ' s ' n ' t !",
]


def streamed(tokenizer: Any, tokens: list[int], **options: Any) -> str:
    decoder = StreamDecoder(tokenizer, **options)
    return "".join([decoder.add(token) for token in tokens] + [decoder.finish()])


@pytest.mark.slow
@pytest.mark.parametrize("skip", [True, False])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pieces_join_to_decode(tokenizer: Any, skip: bool, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=120))
    whole = tokenizer.decode(tokens, skip_special_tokens=skip)
    assert streamed(tokenizer, tokens, skip_special_tokens=skip) == whole


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_few_kinds_of_token_many_times(tokenizer: Any, data: st.DataObject) -> None:
    """Long runs: invalid bytes, quotes, spaces, continuation tokens."""
    few = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=4))
    tokens = data.draw(st.lists(st.sampled_from(few), max_size=150))
    assert streamed(tokenizer, tokens) == tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("text", TEXTS)
def test_real_text(tokenizer: Any, text: str) -> None:
    tokens = tokenizer.encode(text * 5, add_special_tokens=False)
    assert streamed(tokenizer, tokens) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_every_byte_as_a_token(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_fallback")
    spell = [tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "🎉é".encode()]
    bad = [*spell, tokenizer.convert_tokens_to_ids("<0xFF>")]
    for tokens in (spell, bad, [*bad, tokenizer.convert_tokens_to_ids("a")]):
        assert streamed(tokenizer, tokens) == tokenizer.decode(tokens)


def test_words_come_at_once(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level")
    decoder = StreamDecoder(tokenizer)
    tokens = tokenizer.encode("The capital of France", add_special_tokens=False)
    assert all(decoder.add(token) for token in tokens)


def test_an_emoji_waits_for_its_last_byte(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level")
    decoder = StreamDecoder(tokenizer)
    pieces = [decoder.add(token) for token in tokenizer.encode("🦜", add_special_tokens=False)]
    assert len(pieces) > 1
    assert pieces == [*[""] * (len(pieces) - 1), "🦜"]


def test_the_window_stays_short(build_tokenizer: Callable[..., Any]) -> None:
    """The cost of a token does not grow with the text, not even in one long line or a run of bad bytes."""
    tokenizer = build_tokenizer("byte_level")
    word, bad = tokenizer.encode("a", add_special_tokens=False)[0], tokenizer.convert_tokens_to_ids("Ģ")
    for token in (word, bad):
        decoder = StreamDecoder(tokenizer)
        for _ in range(500):
            decoder.add(token)
        assert len(decoder._window) <= 24


def test_special_tokens_are_kept_on_request(build_tokenizer: Callable[..., Any]) -> None:
    tokenizer = build_tokenizer("byte_level")
    tokens = [tokenizer.eos_token_id]
    assert streamed(tokenizer, tokens) == ""
    assert streamed(tokenizer, tokens, skip_special_tokens=False) == "<end>"
