"""A checkpoint comes under the names that mlx-lm reads, however its experts lie and whatever transformers 5 left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import transformers
from checkpoints import COMMON

from edgelm.zoo.configs.normalise import normalise_config
from edgelm.zoo.network import build_network
from edgelm.zoo.protocol import sanitized_weights
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.layout import arranged_arrays
from edgelm.zoo.weights.names import renamed

EXPERTS, HIDDEN, WIDTH = 3, 64, 32
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": WIDTH, "num_hidden_layers": 1}
MLP = "model.layers.0.mlp"

FAMILIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "qwen3_moe": ({**MOE, "num_local_experts": EXPERTS, "head_dim": 16}, MLP, f"{MLP}.switch_mlp"),
    "qwen2_moe": (
        {**MOE, "num_experts": EXPERTS, "shared_expert_intermediate_size": 32}, MLP, f"{MLP}.switch_mlp",
    ),
    "glm4_moe": (
        {**MOE, "n_routed_experts": EXPERTS, "first_k_dense_replace": 0, "head_dim": 16}, MLP, f"{MLP}.switch_mlp",
    ),
    "dots1": ({**MOE, "n_routed_experts": EXPERTS, "n_shared_experts": 1, "head_dim": 16}, MLP, f"{MLP}.experts"),
    "mixtral": (
        {"num_local_experts": EXPERTS, "num_experts_per_tok": 2, "intermediate_size": WIDTH, "num_hidden_layers": 1},
        MLP, "model.layers.0.block_sparse_moe.switch_mlp",
    ),
}  # fmt: skip
"""`model_type` → settings, where transformers 5 keeps experts in memory, where mlx-lm does."""


def config_of(kind: str, **settings: Any) -> dict[str, Any]:
    return published(transformers.CONFIG_MAPPING[kind](**{**COMMON, **settings}))


def published(config: Any) -> dict[str, Any]:
    return normalise_config({**json.loads(config.to_json_string(use_diff=False)), "architectures": ["X"]})


def experts(seed: int = 0) -> dict[str, mx.array]:
    rng = np.random.default_rng(seed)
    shapes = {"gate_proj": (WIDTH, HIDDEN), "up_proj": (WIDTH, HIDDEN), "down_proj": (HIDDEN, WIDTH)}
    return {
        part: mx.array(rng.normal(size=(EXPERTS, *shape)).astype(np.float32))
        for part, shape in shapes.items()
    }


def fused(parts: dict[str, mx.array], where: str, *, is_turned: bool = False) -> dict[str, mx.array]:
    both = mx.concatenate([parts["gate_proj"], parts["up_proj"]], axis=1)
    held = {f"{where}.experts.gate_up_proj": both, f"{where}.experts.down_proj": parts["down_proj"]}
    return {name: mx.swapaxes(array, 1, 2) if is_turned else array for name, array in held.items()}


def apart(parts: dict[str, mx.array], where: str) -> dict[str, mx.array]:
    return {
        f"{where}.experts.{at}.{part}.weight": array[at]
        for part, array in parts.items()
        for at in reversed(range(EXPERTS))
    }


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("is_turned", [False, True])
def test_experts_together_come_apart_where_the_network_has_them(kind: str, is_turned: bool) -> None:
    settings, where, home = FAMILIES[kind]
    parts = experts()
    found = arranged_arrays(
        config_of(kind, **settings), fused(parts, where, is_turned=is_turned), Path("source")
    )
    assert set(found) == {f"{home}.{part}.weight" for part in parts}
    assert all(mx.array_equal(found[f"{home}.{part}.weight"], array) for part, array in parts.items())


def test_experts_of_a_wrapper_keep_their_prefix_in_any_layout() -> None:
    """Qwen3-VL's are turned, and Qwen3.5's one by one, in the releases; transformers 5 writes them otherwise."""
    text = {**COMMON, **MOE, "num_experts": EXPERTS, "head_dim": 16}
    where, parts = "model.language_model.layers.0.mlp", experts()
    for kind in ("qwen3_vl_moe", "qwen3_5_moe"):
        config = published(transformers.CONFIG_MAPPING[kind](text_config=text))
        for held in (fused(parts, where), fused(parts, where, is_turned=True), apart(parts, where)):
            found = arranged_arrays(config, held, Path("source"))
            assert set(found) == {f"{where}.switch_mlp.{part}.weight" for part in parts}, kind
            assert all(
                mx.array_equal(found[f"{where}.switch_mlp.{part}.weight"], array)
                for part, array in parts.items()
            )


def test_experts_that_fit_nowhere_stay_as_they_are() -> None:
    config = config_of("qwen3_moe", **FAMILIES["qwen3_moe"][0])
    odd = {
        f"{MLP}.experts.gate_up_proj": mx.zeros((EXPERTS, 7, 5)),
        f"{MLP}.experts.down_proj": mx.zeros((EXPERTS, 5, 7)),
    }
    elsewhere = {"model.layers.9.mlp.experts.down_proj": mx.zeros((EXPERTS, HIDDEN, WIDTH))}
    assert set(arranged_arrays(config, odd | elsewhere, Path("source"))) == set(odd | elsewhere)


def test_qwen3_next_with_experts_together_gets_its_norms_shifted() -> None:
    """mlx-lm's `sanitize` returns at once where no expert lies by itself, and would leave norms at what they add to one."""
    config = config_of(
        "qwen3_next", **MOE, num_experts=EXPERTS, shared_expert_intermediate_size=32, head_dim=16
    )
    norm, convolution = "model.layers.0.input_layernorm.weight", "model.layers.0.linear_attn.conv1d.weight"
    rest = {norm: mx.zeros((HIDDEN,)), convolution: mx.zeros((8, 1, 4)), "mtp.norm.weight": mx.zeros((1,))}
    made = {}
    for name, held in (("apart", apart(experts(), MLP)), ("together", fused(experts(), MLP))):
        arrays = arranged_arrays(config, rest | held, Path("source"))
        made[name] = sanitized_weights(build_network(config, Path("source")), arrays)
    assert made["apart"].keys() == made["together"].keys()
    assert all(mx.array_equal(array, made["together"][name]) for name, array in made["apart"].items())
    assert mx.array_equal(made["together"][norm], mx.ones((HIDDEN,)))


def test_keys_that_gemma3n_shares_are_given_to_the_layers_that_share_them() -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    config = {"model_type": "gemma3n", "text_config": {"layer_types": kinds, "num_kv_shared_layers": 2}}
    stem = "model.language_model.layers."
    own = {
        f"{stem}{at}.self_attn.{part}.weight": mx.full((1,), at)
        for at in (0, 1)
        for part in ("k_proj", "v_proj", "k_norm")
    }
    asked = {f"{stem}{at}.self_attn.q_proj.weight": mx.zeros((1,)) for at in range(4)}
    found = arranged_arrays(config, own | asked, Path("source"))
    assert [found[f"{stem}{at}.self_attn.v_proj.weight"].item() for at in (2, 3)] == [0, 1]
    assert len(found) == 16


def test_a_text_model_by_itself_lies_where_its_wrapper_has_it() -> None:
    text = {**COMMON, **MOE, "num_experts": EXPERTS, "head_dim": 16}
    config = config_of("qwen3_vl_moe_text", **text, tie_word_embeddings=False)
    assert config["model_type"] == "qwen3_vl_moe"
    network = build_network(config, Path("source"))
    wanted = {
        name.replace("language_model.model.", "model.", 1).replace("language_model.", "")
        for name in flat_parameters(network)
    }
    held = {name: mx.zeros((2, 2)) for name in wanted}
    arranged = arranged_arrays(config, held, Path("source"))
    assert set(sanitized_weights(network, arranged)) == set(flat_parameters(network))


def test_names_that_transformers_keeps_in_memory_become_those_of_the_release() -> None:
    held = {"model.language_model.norm.weight": 0, "model.vision_tower.a.weight": 1, "lm_head.weight": 2}
    wrapped = {
        "language_model.model.norm.weight": 0,
        "vision_tower.a.weight": 1,
        "language_model.lm_head.weight": 2,
    }
    assert renamed("gemma3", held) == wrapped
    assert renamed("gemma3", wrapped) == wrapped
    attention = "model.layers.1.self_attn."
    assert renamed("exaone", {f"{attention}o_proj.weight": 0}) == {
        "transformer.h.1.attn.attention.out_proj.weight": 0
    }
    assert renamed("kimi_linear", {f"{attention}forget_gate.dt_bias": 0}) == {f"{attention}dt_bias": 0}


def test_convolutions_cut_into_thirds_are_put_together_and_cut_as_they_are_wide() -> None:
    """transformers 5.24 saves OLMo Hybrid's with as many channels each, though values have more."""
    config = {"model_type": "olmo_hybrid", "linear_num_key_heads": 2, "linear_key_head_dim": 4}
    stem = "model.layers.0.linear_attn."
    whole = mx.random.normal((8 + 8 + 14, 1, 4), key=mx.random.key(0))
    right = {"q": whole[:8], "k": whole[8:16], "v": whole[16:]}
    thirds = {f"{stem}{part}_conv1d.weight": whole[at * 10 : at * 10 + 10] for at, part in enumerate("qkv")}
    for held in (
        {f"{stem}conv1d.weight": whole},
        thirds,
        {f"{stem}{part}_conv1d.weight": array for part, array in right.items()},
    ):
        found = arranged_arrays(config, held, Path("source"))
        assert all(
            mx.array_equal(found[f"{stem}{part}_conv1d.weight"], array) for part, array in right.items()
        )
