"""Markdown, block by block: the same however it arrives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from edgelm_tui.markdown.blocks import BlockSplitter, code_blocks
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
    splitter = BlockSplitter()
    blocks = splitter.feed(text)
    assert "".join(block.text for block in blocks) + splitter.tail == text


@given(st.text(alphabet="a \n`-1.", max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_blocks_do_not_depend_on_how_they_arrive(text: str, cuts: list[int]) -> None:
    splitter, whole = BlockSplitter(), BlockSplitter()
    pieces = [block for cut in sorted(cuts) for block in splitter.feed(text[:cut])] + splitter.feed(text)
    assert [(b.text.strip(), b.kind) for b in pieces if b.text.strip()] == [
        (b.text.strip(), b.kind) for b in whole.feed(text) if b.text.strip()
    ]


def test_a_fence_is_one_block_whatever_is_in_it() -> None:
    splitter = BlockSplitter()
    (block,) = splitter.feed("```\na\n\n- b\n```\nend")
    assert (block.text, block.kind) == ("```\na\n\n- b\n```\n", "fence")
    assert splitter.tail == "end"


def test_an_item_keeps_what_hangs_below_it() -> None:
    splitter = BlockSplitter()
    blocks = splitter.feed("1. a\n\n   more\n\n   ```\n   x\n   ```\n2. b\n\nend\n")
    assert [block.text for block in blocks] == ["1. a\n\n   more\n\n   ```\n   x\n   ```\n", "2. b\n\n"]


@pytest.mark.slow
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
    assert "  1. first\n  2. second" in text
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
    splitter = BlockSplitter()
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


def numbers(text: str) -> list[str]:
    """The signs before the items, as the document shows them, and where they end."""
    found = [re.match(r" *(\d+[.)]|[•☐☑])( [☐☑])? ", line) for line in shown(text).splitlines()]
    return [match[0] for match in found if match]


@pytest.mark.parametrize("start", [0, 1, 7, 95])
@pytest.mark.parametrize("mark", [".", ")"])
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_ordered_lists_stand_under_each_other_with_their_marks(start: int, mark: str, gap: str) -> None:
    signs = numbers(gap.join(f"{n}{mark} item" for n in range(start, start + 8)))
    assert [sign.strip() for sign in signs] == [f"{n}{mark}" for n in range(start, start + 8)]
    assert len({len(sign) for sign in signs}) == 1


def commonmark(text: str) -> list[str]:
    """Number and mark of every item of an ordered list, as markdown-it reads the whole text."""
    found, counts = [], []
    for token in MarkdownIt().parse(text):
        if token.type == "ordered_list_open":
            counts.append(int(token.attrs.get("start", 1)))
        elif token.type == "ordered_list_close":
            counts.pop()
        elif token.type == "bullet_list_open":
            counts.append(-1)
        elif token.type == "bullet_list_close":
            counts.pop()
        elif token.type == "list_item_open" and counts[-1] >= 0:
            found.append(f"{counts[-1]}{token.markup}")
            counts[-1] += 1
    return found


@pytest.mark.parametrize(
    "text",
    [
        "1. a\n1. b\n1. c",
        "5. a\n9. b\n2. c",
        "1. a\n2. b\n\ntext\n\n4. c\n7. d",
        "1. a\n2) b\n3) c",
        "1. a\n```\nx\n```\n2. b",
        "1. a\n   - x\n   - y\n2. b\n\n   more\n3. c",
        "1. a\n   1. x\n   2. y\n2. b",
        "- a\n  10. x\n  11. y\n- b",
        "1. a\n\n   ```py\n   1. no item\n   ```\n2. b",
        "> 3. q\n> 4. r",
        "para\n1. a\n2. b",
    ],
)
def test_numbers_are_those_of_commonmark(text: str) -> None:
    signs = re.findall(r"^[ ▌]*(\d+[.)]) (?!no item)", shown(text), re.MULTILINE)
    assert signs == commonmark(text)
    growing = GrowingMarkdown()
    for end in range(len(text)):
        growing.lines(text[:end], 40)
    assert "\n".join(line.plain for line in growing.lines(text, 40, finished=True)) == shown(text)


def test_tasks_have_boxes() -> None:
    assert numbers("- [ ] a\n- [x] b\n- c\n  - [X] d") == [" ☐ ", " ☑ ", " • ", "    ☑ "]
    assert numbers("1. [ ] a\n2. [x] b") == ["  1. ☐ ", "  2. ☑ "]
    assert "• [y] a" in shown("- [y] a")


def test_tags_are_text() -> None:
    assert shown("use <div> & <b>this</b>") == "use <div> & <b>this</b>"
    assert "<table>" in shown("<table>\n<tr></tr>\n</table>")


def test_tables_of_wide_letters_stand_in_columns() -> None:
    lines = shown("| 名前 | n |\n|---|---|\n| 日本語 | 1 |\n| é | 2 |").splitlines()
    cells = [
        cell_len(line[: line.index(mark)])
        for line, mark in ((lines[0], "n"), (lines[2], "1"), (lines[3], "2"))
    ]
    assert len(set(cells)) == 1


def test_code_in_lists_and_quotations_has_a_frame_and_the_number_that_copies_it() -> None:
    text = (
        "1. one\n\n   ```python\n   x = '$a_b$'\n\n   y\n   ```\n2. two\n\n   ~~~\n   $c_d$\n   ~~~\n\n"
        "```sh\nls\n```\n\n> ```\n> quoted\n> ```\n\n- tail\n  ```\n  open"
    )
    for finished in (True, False):
        growing = GrowingMarkdown()
        lines: list[str] = []
        for end in (len(text),) if finished else range(1, len(text) + 1):
            lines = [line.plain.strip(" ▌") for line in growing.lines(text[:end], 40, finished=finished)]
        heads = [line for line in lines if line.startswith("┌")]
        assert heads == ["┌ 1 python", "┌ 2 code", "┌ 3 sh", "┌ 4 code", "┌ 5 code"]
        assert [line.strip() for line in lines if line.startswith("│")] == [
            "│ x = '$a_b$'", "│", "│ y", "│ $c_d$", "│ ls", "│ quoted", "│ open"
        ]  # fmt: skip
    assert [code.strip() for code in code_blocks(text)][1:4] == ["$c_d$", "ls", "quoted"]
    wide = [line.plain for line in GrowingMarkdown().lines("- a\n\n  ```\n  " + "字" * 40, 30, finished=True)]
    assert all(cell_len(line) <= 30 for line in wide)
