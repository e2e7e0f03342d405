"""Titles of chats, from their first prompt."""

from __future__ import annotations

import pytest

from edgelm.store.titles import title_of


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("Why is the sky blue?", "Why is the sky blue?"),
        (
            "Hi, can you please explain how rotary embeddings work? Thanks.",
            "Explain how rotary embeddings work?",
        ),
        ("Hello! What is 2+2?", "What is 2+2?"),
        ("Hello!", "Hello!"),
        ("about cats", "about cats"),
        ("Fix this:\n```py\nfoo()\n```", "Fix this"),
        ("```python\ndef f(): pass\n```", "def f(): pass"),
        ("please summarise https://www.example.com/a/b?c=d", "Summarise example.com"),
        ('compare @"my dir/a b.txt" with @src/c.py', "compare a b.txt with c.py"),
        ("I want you to act as a **lawyer** of `snake_case` names.", "Act as a lawyer of snake_case names"),
        ("# Report\n\nWrite it up.", "Report Write it up"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_a_title_says_what_a_chat_is_about(prompt: str, title: str) -> None:
    assert title_of(prompt) == title


def test_a_long_title_ends_with_a_word() -> None:
    title = title_of(
        "Could you write a function that parses dates in Python and handles time zones properly?"
    )
    assert title == "Write a function that parses dates in Python and handles…"
    assert title_of("x" * 200) == "x" * 59 + "…"
    assert len(title_of("word " * 100)) <= 60
