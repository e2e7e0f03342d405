"""Converted models compute what transformers computes, for every kind of architecture by the same path."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from checkpoints import ARCHITECTURES, VOCAB, write_checkpoint
from endless import without_stops

import edgelm
from edgelm.model.load import load
from edgelm_converters.convert import convert

PROMPT = np.random.default_rng(1).integers(4, VOCAB, 90).tolist()


@pytest.mark.parity
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unquantized_logits_and_greedy_text_equal_transformers(architecture: str, tmp_path: Path) -> None:
    network = write_checkpoint(tmp_path / "source", architecture)
    made = convert(tmp_path / "source", tmp_path / "out", mode="none", dtype="float32")

    with torch.no_grad():
        expected = network(torch.tensor([PROMPT])).logits[0].numpy()
    got = np.array(load(made.directory, check_fit=False).network(mx.array([PROMPT]))[0])
    assert np.abs(got - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())
    assert expected.std() > 0.1, "logits too flat to mean anything"

    with torch.no_grad():
        continued = network.generate(
            torch.tensor([PROMPT]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=1
        )
    with edgelm.load(made.directory, check_fit=False) as model:
        without_stops(model)
        assert list(model.generate(PROMPT, max_tokens=24).tokens) == continued[0, len(PROMPT) :].tolist()


@pytest.mark.parity
def test_the_rope_base_of_transformers_5_is_not_lost(tmp_path: Path) -> None:
    """mlx-lm alone reads this checkpoint with base 10000 and says nothing."""
    write_checkpoint(tmp_path / "source", "llama")
    made = convert(tmp_path / "source", tmp_path / "out", mode="none", dtype="float32", verify=False)
    loaded = load(made.directory, check_fit=False)
    assert loaded.config["rope_theta"] == 77_000.0
    assert loaded.network.model.layers[0].self_attn.rope.base == 77_000.0
