"""Prompts of the data are shown as a person knows them, whatever template is around them."""

from __future__ import annotations

import re

import pytest

from edgelm.tune.loop.samples import shown


class Words:
    """A token is a word, a space, a line end or a special word."""

    def __init__(self, text: str) -> None:
        self._words = re.findall(r"<[^>]+>|\s|[^\s<]+", text)
        self.ids = tuple(range(len(self._words)))
        self.all_special_ids = [at for at, word in enumerate(self._words) if word.startswith("<")]

    def decode(self, ids: list[int]) -> str:
        return "".join(self._words[at] for at in ids)


@pytest.mark.parametrize(
    ("rendered", "text"),
    [
        ("<start>system\nBe brief.<end>\n<start>user\nWhat is up?<end>\n<start>assistant\n", "What is up?"),
        ("<bos><head>user<tail>\n\nWhat is up?<eot><head>assistant<tail>\n\n", "What is up?"),
        ("<bos>[INST] What is up? [/INST]", "[INST] What is up? [/INST]"),
        ("<start>user\nFirst line\nand second<end>", "First line\nand second"),
        ("Once upon\na time", "Once upon\na time"),
        ("<start>hello<end>", "<start>hello<end>"),
    ],
)
def test_the_last_message_is_shown(rendered: str, text: str) -> None:
    words = Words(rendered)
    assert words.decode(list(words.ids)) == rendered
    assert shown(words.ids, words) == text
