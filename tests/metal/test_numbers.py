"""Guesses, TF32, and models stored in bfloat16."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgelm import device
from edgelm.cli.commands.doctor.metal.widths import measure_widths
from edgelm.model.load import load
from edgelm.runtime.speculation.width import most_guesses

pytestmark = pytest.mark.metal

PRODUCT = """
import edgelm_converters
import mlx.core as mx, numpy as np
left, right = (np.random.default_rng(seed).standard_normal((512, 512)).astype(np.float32) for seed in (0, 1))
found = np.array(mx.array(left) @ mx.array(right))
exact = left.astype(np.float64) @ right.astype(np.float64)
print(np.linalg.norm(found - exact) / np.linalg.norm(exact))
"""


def test_guesses_stay_where_every_width_chooses_the_same(tiny: Path) -> None:
    most = most_guesses(device.detect(), 4, 2)
    assert most <= 7
    for width in measure_widths(tiny, range(1, most + 2)).widths:
        assert width.other_choices == 0, width


def test_conversions_multiply_in_full_float32() -> None:
    """On M5 the relative error is 7.7e-4 with TF32 and 2.9e-7 without (mlx #3860)."""
    kept = {name: value for name, value in os.environ.items() if name != "MLX_ENABLE_TF32"}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", PRODUCT], capture_output=True, text=True, env=environment, check=True
    )
    assert float(said.stdout) < 1e-5


def test_bfloat16_is_cast_where_a_chip_has_none(tiny: Path) -> None:
    expected = "float16" if device.detect().generation in (1, 2) else "bfloat16"
    assert load(tiny).dtype == expected
