"""The registry of quantization methods: names as flags take them, and traits that fit together."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgelm_converters.conversion import Conversion
from edgelm_converters.methods.method import QuantizationMethod
from edgelm_converters.methods.registry import METHODS, ROUNDING


def test_methods_go_from_the_fastest_to_the_most_careful() -> None:
    assert list(METHODS) == ["rtn", "fast", "good", "best"]
    assert all(method.name == name and method.description for name, method in METHODS.items())


def test_one_method_is_the_baseline() -> None:
    assert [method for method in METHODS.values() if method.is_baseline] == [ROUNDING]


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_hessians_come_from_text(method: QuantizationMethod) -> None:
    assert method.needs_text or not method.needs_hessians


def test_every_method_is_a_choice_of_the_quality() -> None:
    for name, method in METHODS.items():
        assert Conversion(quality=name).method is method


def test_the_registry_imports_no_mlx() -> None:
    code = "import sys, edgelm_converters.methods.registry; print([m for m in ('mlx.core', 'numpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
