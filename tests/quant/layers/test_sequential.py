"""Quality "best" within a layer: what each module is fitted to, and what the tied head is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from edgelm.quant.apply import quantizable
from edgelm.quant.layers.layerwise import LayerResult
from edgelm.quant.layers.moments import Products
from edgelm.quant.layers.sequential import Sequential
from edgelm.quant.matrix import formats
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.walk import Walk
from edgelm.zoo.network import build_network

SETTINGS = {"bits": 3, "group_size": 32, "mode": "affine"}
CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50, "rms_norm_eps": 1e-5, "head_dim": 16,
    "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def sequential(tmp_path: Path) -> Sequential:
    mx.random.seed(2)
    network = build_network(CONFIG, Path("nowhere"))
    flat: Any = tree_flatten(network.parameters())
    # Scales as a trained network has them; inputs of a layer are correlated, or GPTQ has nothing to gain.
    parameters = {
        path: mx.random.normal(value.shape) * 0.15 if value.ndim > 1 else mx.ones(value.shape)
        for path, value in flat
    }
    network.load_weights(list(parameters.items()))
    settings = dict.fromkeys(quantizable(network), SETTINGS)
    batches = [mx.random.randint(0, 50, (4, 32)) for _ in range(2)]
    walk = Walk(network, parameters.__getitem__, batches, Activations(1 << 30, tmp_path))
    walk.load(None)
    walk.check()
    return Sequential(walk, settings, lambda _: None)


def begin(method: Sequential) -> None:
    method.walk.begin("source")
    method.walk.begin("quantized")


@pytest.mark.slow
def test_a_module_is_fitted_to_what_the_quantized_ones_before_it_in_the_layer_give(
    sequential: Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Products] = []
    monkeypatch.setattr(Products, "zero", _noting(Products.zero, seen))
    begin(sequential)
    walk = sequential.walk
    source = walk.load(0)
    states = [walk.activations.get(("source", batch))["hidden"] for batch in range(2)]
    result = sequential.layer(0)
    assert [products.hessian.shape[0] for products in seen] == [64, 64, 64, 96]  # qkv, o, gate and up, down

    made = dict(source)
    for path in sequential.modules[0]:
        if not path.endswith("down_proj"):
            packed = {kind: result.arrays[f"{path}.{kind}"] for kind in ("weight", "scales", "biases")}
            made[f"{path}.weight"] = formats.dequantized(packed, SETTINGS)
    walk.use(made)
    block = walk.layers[0]
    rows = []
    for hidden in states:
        middle = hidden + block.self_attn(block.input_layernorm(hidden), "causal")
        normed = block.post_attention_layernorm(middle)
        gate = block.mlp.gate_proj(normed)
        rows.append((gate * mx.sigmoid(gate) * block.mlp.up_proj(normed)).reshape(-1, 96))
    given = mx.concatenate(rows)
    assert mx.allclose(seen[-1].hessian, given.T @ given, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_layers_output_is_nearer_to_the_sources_than_with_every_module_on_its_own(
    sequential: Sequential,
) -> None:
    begin(sequential)
    walk = sequential.walk
    source = walk.load(0)
    alone = dict(source)
    for path in sequential.modules[0]:
        searched = formats.searched(source[f"{path}.weight"], SETTINGS, None)
        alone[f"{path}.weight"] = formats.dequantized(searched, SETTINGS)
    wanted = mx.array(walk.run(0, "source", 0))
    walk.use(alone)
    error_alone = mx.square(walk.run(0, "source", 0) - wanted).sum().item()
    sequential.layer(0)
    found = walk.activations.get(("quantized", 0))["hidden"]
    assert mx.square(found - wanted).sum().item() < 0.7 * error_alone


def test_the_tied_head_loses_less_where_the_final_norm_points(sequential: Sequential) -> None:
    begin(sequential)
    for index in range(2):
        sequential.walk.load(index)
        sequential.walk.advance(index, "source")
    found = sequential.head_hessian("source")
    assert found is not None
    hessian = found[1]
    path = "model.embed_tokens"
    weight = sequential.walk.read(f"{path}.weight")
    result = LayerResult()
    sequential.tied_head(result, path, weight, hessian)
    packed = {kind: result.arrays[f"{path}.{kind}"] for kind in ("weight", "scales", "biases")}
    searched = formats.searched(weight, SETTINGS, mx.diag(hessian))

    def loss(packed: dict[str, mx.array]) -> float:
        error = formats.dequantized(packed, SETTINGS) - weight
        return float(((error @ hessian) * error).sum().item())

    assert loss(packed) < 0.9 * loss(searched)
    assert result.outcomes[0].method == "gptq"
    assert result.outcomes[0].tokens == sequential.tokens


def _noting(zero: Any, seen: list[Products]) -> Any:
    def noted(columns: int) -> Products:
        seen.append(zero(columns))
        return seen[-1]

    return noted
