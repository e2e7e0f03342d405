"""The error tree: every class is drawn in the docstring, carries its hint, and crosses processes."""

from __future__ import annotations

import inspect
import pickle

import edgelm.errors as errors


def classes() -> list[type[errors.EdgeLMError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.EdgeLMError)
    ]


def test_every_class_is_in_the_drawing() -> None:
    assert len(classes()) > 8
    for kind in classes():
        assert f" {kind.__name__} " in (errors.__doc__ or ""), kind


def test_messages_and_hints_survive_a_process_boundary() -> None:
    for kind in classes():
        again = pickle.loads(pickle.dumps(kind("x is 3, expected 2", hint="say 2")))
        assert type(again) is kind
        assert (again.message, again.hint) == ("x is 3, expected 2", "say 2")
        assert str(again) == "x is 3, expected 2\nhint: say 2"


def test_only_an_interrupt_has_another_exit_code() -> None:
    assert {kind.exit_code for kind in classes() if kind is not errors.Interrupted} == {1}
    assert errors.Interrupted.exit_code == 130
