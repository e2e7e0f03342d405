"""Markdown, block by block: the same however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm_tui.markdown.blocks import Splitter, code_blocks
from edgelm_tui.markdown.growing import GrowingMarkdown
from edgelm_tui.markdown.render import protect_math

REPLY = """# Title

Some **bold** prose that is long enough to be wrapped at forty columns.

- one
- two

  with a second paragraph
1. first
2. second

```python
def f():

    return [1]
```

| a | b |
|---|---|
| 1 | 2 |

The end."""


def shown(text: str, width: int = 40) -> str:
    return "\n".join(line.plain for line in GrowingMarkdown().lines(text, width, finished=True))


@given(st.text(alphabet="a \n`~-[]#*1.|", max_size=60))
def test_the_blocks_joined_are_the_text(text: str) -> None:
    splitter = Splitter()
    blocks = splitter.feed(text)
    assert "".join(block.text for block in blocks) + splitter.tail == text


@given(st.text(alphabet="a \n`-1.", max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_blocks_do_not_depend_on_how_they_arrive(text: str, cuts: list[int]) -> None:
    splitter, whole = Splitter(), Splitter()
    pieces = [block for cut in sorted(cuts) for block in splitter.feed(text[:cut])] + splitter.feed(text)
    assert [(b.text.strip(), b.kind) for b in pieces if b.text.strip()] == [
        (b.text.strip(), b.kind) for b in whole.feed(text) if b.text.strip()
    ]


def test_a_fence_is_one_block_whatever_is_in_it() -> None:
    splitter = Splitter()
    (block,) = splitter.feed("```\na\n\n- b\n```\nend")
    assert (block.text, block.kind) == ("```\na\n\n- b\n```\n", "fence")
    assert splitter.tail == "end"


def test_an_item_keeps_what_hangs_below_it() -> None:
    splitter = Splitter()
    blocks = splitter.feed("1. a\n\n   more\n\n   ```\n   x\n   ```\n2. b\n\nend\n")
    assert [block.text for block in blocks] == ["1. a\n\n   more\n\n   ```\n   x\n   ```\n", "2. b\n\n"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(REPLY)), max_size=6))
def test_how_a_reply_arrives_does_not_matter(cuts: list[int]) -> None:
    growing = GrowingMarkdown()
    for cut in sorted(cuts):
        growing.lines(REPLY[:cut], 40)
    lines = growing.lines(REPLY, 40, finished=True)
    assert lines == GrowingMarkdown().lines(REPLY, 40, finished=True)


def test_a_reply_is_laid_out_again_for_another_width() -> None:
    growing = GrowingMarkdown()
    growing.lines(REPLY, 40)
    assert growing.lines(REPLY, 70) == GrowingMarkdown().lines(REPLY, 70)


def test_what_is_shown() -> None:
    text = shown(REPLY)
    assert "Some bold prose that is long enough to\nbe wrapped" in text
    assert " • one\n • two\n" in text
    assert "   with a second paragraph" in text
    assert " 1 first\n 2 second" in text
    assert "┌ 1 python\n│ def f():\n│\n│     return [1]\n└" in text.replace("│ \n", "│\n")
    assert text.endswith("The end.")


def test_no_line_is_wider_than_asked_for() -> None:
    for width in (10, 23, 80):
        for line in GrowingMarkdown().lines(REPLY + "\n\n" + "x" * 300 + " 漢字" * 40, width, finished=True):
            assert line.cell_length <= width


@pytest.mark.parametrize(
    "math", ["$a_1 * b_2 * c$", r"\(x^2 + [y]\)", r"\[ \frac{a_1}{b_1} \]", "$$\n\\sum_{i=1}^n x_i\n$$"]
)
def test_mathematics_stays_readable(math: str) -> None:
    assert " ".join(math.split()) in " ".join(shown(f"so {math} holds").split())


def test_the_last_line_may_begin_a_block() -> None:
    assert shown("| a |\n|---|\n| 1 |\n\nend") == " a\n ─\n 1\n\nend"
    assert shown("text\n```\ncode") == "text\n\n┌ 1 code\n│ code\n└"


def test_money_is_no_mathematics_and_code_is_left_alone() -> None:
    assert shown("it costs $5 or *about* $6") == "it costs $5 or about $6"
    assert protect_math("`a $x_1$ b` $y_1$") == "`a $x_1$ b` \\$y\\_1\\$"


def test_a_long_list_is_laid_out_item_by_item() -> None:
    splitter = Splitter()
    blocks = splitter.feed("".join(f"- item {n}\n" for n in range(100)))
    assert len(blocks) == 99


def test_code_is_found_in_order() -> None:
    text = "```\na\n```\n- x\n\n  ```py\n  b\n  ```\n\n~~~\nc\n~~~\n"
    assert code_blocks(text) == ["a\n", "b\n", "c\n"]


def test_code_in_items_is_counted() -> None:
    text = "- x\n\n  ```py\n  b\n  ```\n\n```\nc\n```\n"
    assert "┌ 2 code" in shown(text)


@pytest.mark.parametrize(
    "text", ["", "\n", "```", "```\n\n", "|a|b|\n|-|-|\n|1|", "[x](", "\x1b[31m", "\t", "$", "\\"]
)
def test_odd_text_is_shown_without_complaint(text: str) -> None:
    for line in GrowingMarkdown().lines(text, 1, finished=True):
        assert "\x1b" not in line.plain
