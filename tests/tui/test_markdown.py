"""Markdown, block by block: the same however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm_tui.markdown import GrowingMarkdown, split_blocks

REPLY = """# Title

Some **bold** prose that is long enough to be wrapped at forty columns.

- one
- two

```python
def f():

    return [1]
```

The end."""


@given(st.text(alphabet="a \n`~-[]#*", max_size=60))
def test_the_blocks_joined_are_the_text(text: str) -> None:
    blocks, tail = split_blocks(text)
    assert "".join(blocks) + tail == text


def test_a_fence_is_one_block_whatever_is_in_it() -> None:
    blocks, tail = split_blocks("```\na\n\nb\n```\n\nend")
    assert blocks == ["```\na\n\nb\n```\n\n"]
    assert tail == "end"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(REPLY)), max_size=6))
def test_how_a_reply_arrives_does_not_matter(cuts: list[int]) -> None:
    growing = GrowingMarkdown()
    for cut in sorted(cuts):
        growing.content(REPLY[:cut], 40)
    assert growing.content(REPLY, 40) == GrowingMarkdown().content(REPLY, 40)


def test_a_reply_is_laid_out_again_for_another_width() -> None:
    growing = GrowingMarkdown()
    growing.content(REPLY, 40)
    assert growing.content(REPLY, 70) == GrowingMarkdown().content(REPLY, 70)


def test_what_is_shown() -> None:
    shown = GrowingMarkdown().content(REPLY, 40).plain
    assert "Some bold prose that is long enough to" in shown
    assert "• one" in shown
    assert "return [1]" in shown
    assert shown.endswith("The end.")


@pytest.mark.parametrize("text", ["", "\n", "```", "```\n\n", "|a|b|\n|-|-|\n|1|", "[x](", "\x1b[31m", "\t"])
def test_odd_text_is_shown_without_complaint(text: str) -> None:
    GrowingMarkdown().content(text, 1)
