"""A mended network converts, quantizes, casts and takes adapters as every other; stock mlx-lm loads what is converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_tokenizer
from mlx_lm.utils import load_model
from upstream import DIFFERENT, EQUAL, Published, logits_in_pieces, logits_of, mended, publish
from upstream_cases import CASES

from edgelm.zoo.lora import adaptable, install, wrap
from edgelm_converters.convert import convert

pytestmark = [pytest.mark.parity, pytest.mark.slow]

SAME_IN_MLX_LM = {"multipliers": True, "correction bias": False, "unnormalised experts": False}
"""Fix → whether it lies in the weights, so that stock mlx-lm computes the same."""


@pytest.fixture(scope="module", params=SAME_IN_MLX_LM)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Published, Path, list[str]]:
    """The fix, the model as published, converted without quantization, and the notes of the receipt."""
    root = tmp_path_factory.mktemp("converted")
    published = publish(CASES[request.param].config(), root / "source")
    write_tokenizer(root / "source")
    done = convert(root / "source", root / "made", mode="none", dtype="float32")
    return request.param, published, done.directory, done.manifest.receipt["notes"]


def test_the_converted_model_is_the_published_one(made: tuple[str, Published, Path, list[str]]) -> None:
    _, published, directory, _ = made
    network = mended(directory)
    assert published.error(logits_of(network)) < EQUAL
    assert published.error(logits_in_pieces(network, [30, 17])[:60]) < EQUAL


def test_stock_mlx_lm_loads_it(made: tuple[str, Published, Path, list[str]]) -> None:
    name, published, directory, notes = made
    network, _ = load_model(directory)
    error = published.error(logits_of(network))
    assert any("by mlx-lm's own code" in note for note in notes) != SAME_IN_MLX_LM[name]
    assert error < EQUAL if SAME_IN_MLX_LM[name] else error > DIFFERENT


def test_quantized_and_cast_it_is_near(made: tuple[str, Published, Path, list[str]], tmp_path: Path) -> None:
    _, published, directory, _ = made
    write_tokenizer(directory)
    done = convert(directory, tmp_path / "small", bits=8, group_size=32, dtype="float16")
    found = logits_of(mended(done.directory))
    kept = np.corrcoef(found.ravel(), published.logits.ravel())[0, 1]
    assert kept > 0.99


def test_an_adapter_changes_it(made: tuple[str, Published, Path, list[str]]) -> None:
    network: Any = mended(made[2])
    before = logits_of(network)
    path, module = next(
        (path, m) for path, m in adaptable(network).items() if path.endswith(("down_proj", "o_proj"))
    )
    layer = wrap(path, module, rank=2, scale=1.0)
    install(network, {path: layer})
    assert np.array_equal(logits_of(network), before)
    layer.lora_b = mx.ones(layer.lora_b.shape)
    assert not np.array_equal(logits_of(network), before)
