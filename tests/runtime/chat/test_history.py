"""A template that rewrites earlier turns is noticed once; a change of the setting or a new chat is not its fault."""

from __future__ import annotations

from edgelm.runtime.chat.history import RenderedHistory
from edgelm.runtime.events import HistoryRewritten

FIRST = list(range(100))
REPLY = list(range(200, 230))


def test_a_prompt_that_goes_on_says_nothing() -> None:
    history = RenderedHistory()
    assert history.compare(FIRST, None) is None
    history.replied(REPLY)
    assert history.compare([*FIRST, *REPLY, 1, 2, 3], None) is None


def test_a_rewritten_turn_is_said_once() -> None:
    history = RenderedHistory()
    history.compare(FIRST, None)
    history.replied(REPLY)
    assert history.compare([*FIRST[:90], 7, 8, 9], None) == HistoryRewritten(kept=90, known=130)
    history.replied(REPLY)
    assert history.compare([*FIRST[:80], 7, 8, 9], None) is None


def test_a_little_white_space_is_not_worth_a_word() -> None:
    history = RenderedHistory()
    history.compare(FIRST, None)
    history.replied(REPLY)
    assert history.compare([*FIRST, *REPLY[:20], 1, 2], None) is None


def test_another_setting_or_a_new_chat_is_not_the_templates_fault() -> None:
    history = RenderedHistory()
    history.compare(FIRST, "one system prompt")
    assert history.compare([5, *FIRST], "another") is None
    history.forget()
    assert history.compare([7, *FIRST], "another") is None
    assert history.compare([8, *FIRST], "another") == HistoryRewritten(0, 101)
