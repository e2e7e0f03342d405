"""Distillation: it lowers the divergence, only trains what is stored, and keeps the start if it does not help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from edgelm.quant.distillation.student import UnpackedEmbedding, UnpackedLinear, make_student
from edgelm.quant.distillation.train import Row, distill
from edgelm.quant.matrix.formats import dequantized, rounded
from edgelm.quant.scheme import Scheme
from edgelm.zoo.network import build_network

CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 60, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "rope_theta": 1e4,
}  # fmt: skip
SETTINGS = Scheme("affine", 2, 32).settings


def network() -> Any:
    mx.random.seed(5)
    made = build_network(CONFIG, Path("nowhere"))
    mx.eval(made.parameters())
    made.eval()
    return made


def student_and_rows() -> tuple[Any, list[Row], dict[str, mx.array]]:
    source, student = network(), network()
    paths = [path for path, module in source.named_modules() if hasattr(module, "to_quantized")]
    weights = {path: module.weight for path, module in source.named_modules() if path in paths}
    packed = {path: rounded(weight.astype(mx.bfloat16), SETTINGS) for path, weight in weights.items()}
    trainable = make_student(student, packed.__getitem__, dict.fromkeys(paths, SETTINGS))
    rows: list[Row] = []
    for _ in range(8):
        ids = mx.random.randint(0, 60, (1, 24))
        logits = source(ids)
        mx.eval(logits)
        rows.append((ids, lambda logits=logits: logits))  # type: ignore[misc]
    return student, rows, trainable


def test_a_student_computes_what_the_quantized_layers_do() -> None:
    weight = mx.random.normal((60, 64)).astype(mx.bfloat16)
    packed = rounded(weight, SETTINGS)
    dense = dequantized(packed, SETTINGS)
    x = mx.random.normal((2, 3, 64))
    assert mx.allclose(UnpackedLinear(packed, SETTINGS, None)(x), x @ dense.T, atol=1e-4)
    embedding = UnpackedEmbedding(packed, SETTINGS, None)
    assert mx.allclose(embedding(mx.array([[7, 59]])), dense[mx.array([[7, 59]])], atol=1e-5)
    assert mx.allclose(embedding.as_linear(x), x @ dense.T, atol=1e-4)


@pytest.mark.slow
def test_training_lowers_the_divergence_on_rows_it_did_not_see() -> None:
    student, rows, trainable = student_and_rows()
    assert {path.rpartition(".")[2] for path in trainable} == {"scales", "biases", "weight"}
    assert all(value.ndim == 1 for path, value in trainable.items() if path.endswith(".weight"))
    losses: list[float] = []
    found = distill(
        student, rows, lambda _: mx.bfloat16, steps=40, rate=2e-3, on_step=lambda _, loss: losses.append(loss)
    )
    assert len(losses) == 40
    assert found.kl_after < 0.8 * found.kl_before
    assert found.parameters.keys() == trainable.keys()
    assert {value.dtype for value in found.parameters.values()} == {mx.bfloat16}


def test_a_training_that_makes_it_worse_is_thrown_away() -> None:
    student, rows, _ = student_and_rows()
    found = distill(student, rows, lambda _: mx.bfloat16, steps=3, rate=50.0, on_step=lambda *_: None)
    assert found.parameters == {}
    assert found.kl_after == pytest.approx(found.kl_before)
