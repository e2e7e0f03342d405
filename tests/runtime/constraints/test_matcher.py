"""Masks: what they allow is what may come, for one token and along drafts; the state stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgelm.errors import EngineError, OptionError
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.matcher import Matching

Match = Callable[..., Matching]
Spell = Callable[[str], list[int]]
PERSON = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


def allowed(constraint: Matching, drafts: list[int] | None = None) -> list[set[int]]:
    rows: list[list[bool]] = constraint.allowed(drafts or []).tolist()  # type: ignore[assignment]
    return [{token for token, may in enumerate(row) if may} for row in rows]


def test_the_mask_is_what_may_come(match: Match, spell: Spell) -> None:
    constraint = match(Grammar.from_regex("(yes|no)!?"))
    (y, n), (end,) = spell("yn"), spell("<end>")
    assert allowed(constraint) == [{y, n}]
    for token in spell("yes"):
        constraint.accept(token)
    assert allowed(constraint) == [{*spell("!"), end}]
    assert not constraint.is_over
    constraint.accept(end)
    assert constraint.is_over


def test_rows_along_drafts_are_what_accepting_them_would_give(match: Match, spell: Spell) -> None:
    drafts = spell('{"ok": true}')
    constraint, walked = match(Grammar.from_schema(PERSON)), match(Grammar.from_schema(PERSON))
    rows = allowed(constraint, drafts)
    assert len(rows) == 1 + len(drafts)
    for row, token in zip(rows, drafts, strict=False):
        assert [row] == allowed(walked)
        walked.accept(token)
    assert [rows[-1]] == allowed(walked)
    assert allowed(constraint, drafts) == rows  # the state is as it was
    assert walked.is_over
    assert not constraint.is_over


def test_drafts_count_as_far_as_they_fit(match: Match, spell: Spell) -> None:
    constraint = match(Grammar.from_schema(PERSON))
    assert len(allowed(constraint, spell('{"ok": maybe'))) == 1 + len('{"ok": ')
    assert len(allowed(constraint, spell("x"))) == 1
    assert len(allowed(constraint, [*spell('{"ok": true}<end>'), 5])) == 1 + len('{"ok": true}')


def test_columns_beyond_the_tokenizer_are_never_allowed(match: Match, tokenizer: Any) -> None:
    wide = match(Grammar.from_regex("(?s:.*)"), columns=400)
    assert wide.allowed().shape == (1, 400)
    assert max(allowed(wide)[0]) < len(tokenizer)
    narrow = match(Grammar.from_regex("(?s:.*)"), columns=100)
    assert narrow.allowed([65, 66]).shape == (3, 100)


def test_forced_tokens_are_those_without_a_choice(match: Match, spell: Spell) -> None:
    constraint = match(Grammar.from_schema(PERSON))
    assert constraint.forced(100) == spell('{"ok": ')
    assert constraint.forced(3) == spell('{"o')
    for token in spell('{"ok": t'):
        constraint.accept(token)
    assert constraint.forced(100) == spell("rue}")
    for token in spell("rue}"):
        constraint.accept(token)
    assert constraint.forced(100) == []


def test_special_tokens_are_not_text(match: Match, spell: Spell) -> None:
    constraint = match(Grammar.from_regex("<(end|think)>"))
    assert allowed(constraint) == [set(spell("<"))]


def test_a_token_that_was_not_allowed_is_an_error(match: Match, spell: Spell) -> None:
    constraint = match(Grammar.from_regex("yes"))
    with pytest.raises(EngineError, match="does not match the grammar"):
        constraint.accept(spell("n")[0])
    with pytest.raises(EngineError, match="before its grammar was complete"):
        match(Grammar.from_regex("yes")).accept(spell("<end>")[0])


def test_what_nothing_matches_is_refused(match: Match) -> None:
    with pytest.raises(OptionError, match="the lark cannot be used"):
        match(Grammar.from_lark(r"start: /[^\s\S]/"))
