"""SmolLM2-135M-Instruct from its GGUF: the same numbers and text as transformers and mlx-lm give.

Its tokens are compared in tokenizers/test_smollm2.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import edgelm
from edgelm.library.manifest import Manifest
from edgelm.model.load import load
from edgelm_converters.result.texts import LOGITS_TEXT

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def reference(smollm2_gguf: Path) -> Any:
    """transformers' model of the same GGUF, dequantized to float32."""
    import torch
    import transformers

    settings = transformers.GgufConfig(gguf_file=smollm2_gguf.name, dequantize=True)
    return transformers.AutoModelForCausalLM.from_pretrained(
        smollm2_gguf.parent, gguf_file=smollm2_gguf.name, quantization_config=settings, dtype=torch.float32
    ).eval()


@pytest.mark.parity
def test_logits_equal_transformers_on_the_same_gguf(smollm2: Path, reference: Any) -> None:
    import torch

    loaded = load(smollm2)
    ids = loaded.tokenizer.encode(LOGITS_TEXT)
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0].numpy()
    got = np.array(loaded.network(mx.array([ids]))[0])
    assert len(ids) > 80
    assert np.abs(got - expected).max() < 1e-3


@pytest.mark.peer
def test_stock_mlx_lm_generates_the_same_greedy_tokens(smollm2: Path) -> None:
    from mlx_lm import load as mlx_lm_load
    from mlx_lm.generate import generate_step

    network, tokenizer = mlx_lm_load(str(smollm2))
    # The same arithmetic on both sides: mlx-lm's own default, float16 on a CPU, runs at one token a second.
    network.set_dtype(mx.float32)
    prompt = tokenizer.encode("The capital of France is")
    expected = [int(token) for token, _ in generate_step(mx.array(prompt), network, max_tokens=8)]
    with edgelm.load(smollm2) as model:
        assert list(model.generate(prompt, max_tokens=8).tokens) == expected


def test_a_chat_remembers_and_reuses_its_cache(smollm2: Path) -> None:
    with edgelm.load(smollm2) as model:
        chat = model.chat(system="Answer in one word.", max_tokens=12)
        first = chat.send("What is the capital of France?")
        assert "Paris" in first.text
        second = chat.send("And of Italy?")
        assert second.usage.cached_tokens >= first.usage.prompt_tokens
        cold = model.chat(messages=chat.messages[:2], system="Answer in one word.", max_tokens=12)
        assert cold.send("And of Italy?").text == second.text


def test_the_weights_are_kept_exactly(smollm2: Path) -> None:
    manifest = Manifest.read(smollm2)
    assert manifest is not None
    assert manifest.receipt["tensors"] == {
        "F32 → float16": 61,
        "Q4_1 → 4-bit group 32 (kept)": 210,
        "Q8_0 → 8-bit group 32 (kept)": 1,
    }
    assert manifest.receipt["comparison"]["mean_kl"] < 1e-7
    assert manifest.licence == "apache-2.0"
    assert manifest.bits_per_weight == pytest.approx(5.845, abs=0.01)
