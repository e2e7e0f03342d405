"""Labelled facts: aligned where a person reads them, tab-separated where a program does."""

from __future__ import annotations

import pytest

from edgelm.cli.show import facts
from edgelm.cli.show.facts import fact_lines, labelled
from edgelm.cli.show.lineage_lines import print_lineage
from edgelm.library.lineage import Ancestor


def node(name: str, *parents: Ancestor) -> Ancestor:
    return Ancestor(name, "base", "model", None, None, True, parents)


FACTS = {
    "name": "a",
    "steps": 0,
    "nothing": None,
    "recipe": {"bits": 4, "parts": {"head": 8}},
    "list": ["x", 1],
}


def test_in_a_pipe_a_fact_is_a_label_a_tab_and_a_value() -> None:
    assert list(fact_lines(FACTS)) == [
        "name\ta", "steps\t0", "recipe.bits\t4", "recipe.parts.head\t8", "list\tx, 1"
    ]  # fmt: skip
    assert list(labelled([("step", 1), ("longer", "b\n  c"), ("step", None)])) == [
        "step\t1", "longer\tb c", "step\tNone"
    ]  # fmt: skip


def test_on_a_terminal_values_stand_under_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "is_piped", lambda: False)
    assert list(fact_lines(FACTS)) == [
        "name   a", "steps  0", "recipe", "  bits  4", "  parts", "    head  8", "list   x, 1"
    ]  # fmt: skip
    assert list(labelled({"a": 1, "long": 2})) == ["a     1", "long  2"]


def test_what_something_is_built_on_has_its_label_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_lineage(node("child"))
    assert capsys.readouterr().out == ""
    print_lineage(node("child", node("parent", node("first"))))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "built on\tbase: child", "built on\tbase: parent", "built on\tbase: first"
    ]  # fmt: skip
