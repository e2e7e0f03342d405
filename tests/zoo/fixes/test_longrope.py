"""LongRoPE turns by short factors up to the original context and by long ones beyond it, as in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from checkpoints import VOCAB, write_checkpoint
from endless import without_stops

import edgelm
from edgelm.model.load import load
from edgelm_converters.convert import convert

pytestmark = pytest.mark.slow

LIMIT = 64
RANDOM = np.random.default_rng(3)
IDS = RANDOM.integers(4, VOCAB, 120).tolist()
ROPE = {
    "rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": LIMIT,
    "short_factor": RANDOM.uniform(1, 2, 8).tolist(), "long_factor": RANDOM.uniform(2, 8, 8).tolist(),
}  # fmt: skip


@pytest.fixture(scope="module", params=["published", "attention_factor"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The transformers model, and the converted directory."""
    root = tmp_path_factory.mktemp("phi3")
    rope = {**ROPE, "attention_factor": 1.4} if request.param == "attention_factor" else ROPE
    network = write_checkpoint(
        root / "source", "phi3", rope_parameters=rope, original_max_position_embeddings=LIMIT
    )
    done = convert(root / "source", root / "made", mode="none", dtype="float32")
    assert done.manifest.receipt["comparison"]["mean_kl"] < 1e-6
    return network, done.directory


@pytest.mark.parity
@pytest.mark.parametrize("length", [1, 40, LIMIT - 1, LIMIT, LIMIT + 1, 120])
def test_logits_on_both_sides_of_the_original_context(made: tuple[Any, Path], length: int) -> None:
    network, directory = made
    with torch.no_grad():
        expected = network(torch.tensor([IDS[:length]])).logits[0].numpy()
    got = np.array(load(directory, check_fit=False).network(mx.array([IDS[:length]]))[0])
    assert np.abs(got - expected).max() < 1e-4
    assert expected.std() > 0.1


@pytest.mark.parity
@pytest.mark.parametrize("length", [20, 100])
def test_greedy_text_whatever_was_asked_before(made: tuple[Any, Path], length: int) -> None:
    """Prompts of both kinds share their beginning, and no cache."""
    network, directory = made
    with torch.no_grad():
        continued = network.generate(
            torch.tensor([IDS[:length]]),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=1,
        )
    with edgelm.load(directory, check_fit=False) as model:
        without_stops(model)
        for other in (100, 20, length):
            found = model.generate(IDS[:other], max_tokens=20, temperature=0.0)
        assert list(found.tokens) == continued[0, length:].tolist()


def test_an_answer_ends_with_the_original_context(made: tuple[Any, Path]) -> None:
    with edgelm.load(made[1], check_fit=False) as model:
        without_stops(model)
        found = model.generate(IDS[:50], max_tokens=40)
        assert len(found.tokens) == LIMIT - 50
        assert found.reason == "length"
