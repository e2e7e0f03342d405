"""Configs of transformers 4 and 5 mean the same to mlx-lm once normalised."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.errors import FormatError
from edgelm.zoo.configs.normalise import normalise_config


def flat(**config: Any) -> dict[str, Any]:
    return normalise_config({"model_type": "llama", **config})


def test_nested_rope_wins_over_flat_and_scaling_gets_both_names() -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    made = flat(rope_parameters=rope, rope_theta=1.0)
    assert made["rope_theta"] == 5e5
    assert made["rope_scaling"] == {"type": "llama3", "rope_type": "llama3", "factor": 8.0}
    assert made["rope_parameters"] == rope


def test_default_rope_is_no_scaling() -> None:
    made = flat(rope_parameters={"rope_type": "default", "rope_theta": 1e4}, rope_scaling={"type": "default"})
    assert "rope_scaling" not in made


def test_configs_of_transformers_4_stay() -> None:
    old = {"model_type": "llama", "rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert normalise_config(old) == old


def test_parameters_by_layer_type_become_the_flat_pair() -> None:
    kinds = (["sliding_attention"] * 5 + ["full_attention"]) * 2
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    made = flat(model_type="gemma3_text", rope_parameters=rope, layer_types=kinds, num_hidden_layers=12)
    assert (made["rope_theta"], made["rope_local_base_freq"], made["sliding_window_pattern"]) == (1e6, 1e4, 6)


def test_parameters_by_layer_type_stay_alone_where_mlx_lm_reads_them() -> None:
    """transformers takes a flat `rope_scaling` for the parameters of every layer, and refuses this one."""
    rope = {
        "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = {"model_type": "gemma4_text", "rope_parameters": rope}
    made = normalise_config(config)
    assert made == {**config, "sliding_window_pattern": 6}, "transformers' period; mlx-lm's is 5"
    assert flat(model_type="gemma4", text_config=config)["text_config"] == made


def test_heads_of_full_attention_said_by_layer_are_said_once() -> None:
    own = {"head_dim": 512, "num_key_value_heads": 4}
    made = flat(per_layer_config={"4": own, "9": own})
    assert (made["global_head_dim"], made["num_global_key_value_heads"]) == (512, 4)
    assert "global_head_dim" not in flat(per_layer_config={"4": own, "9": {"head_dim": 64}})
    assert flat(per_layer_config={"4": own}, global_head_dim=256)["global_head_dim"] == 256


def test_nested_text_configs_are_normalised_too() -> None:
    made = flat(text_config={"model_type": "qwen2", "rope_parameters": {"rope_theta": 7.0}})
    assert made["text_config"]["rope_theta"] == 7.0


def test_partial_rotation_and_gpt_neox_names() -> None:
    rope = {"rope_theta": 2e4, "partial_rotary_factor": 0.5}
    made = normalise_config({"model_type": "gpt_neox", "rope_parameters": rope})
    assert (made["rotary_emb_base"], made["rotary_pct"]) == (2e4, 0.5)


def test_rope_that_is_no_object_is_refused() -> None:
    with pytest.raises(FormatError, match="rope_parameters is 3"):
        flat(rope_parameters=3)


def test_infinities_of_transformers_5_are_numbers() -> None:
    made = flat(time_step_limit=[0.0, {"__float__": "Infinity"}], other={"__float__": "x"})
    assert made["time_step_limit"] == [0.0, float("inf")]
    assert made["other"] == {"__float__": "x"}


def test_a_width_that_is_left_out_is_four_times_the_hidden_size() -> None:
    old = {"model_type": "gpt_bigcode", "n_embd": 64}
    assert normalise_config({**old, "n_inner": None})["n_inner"] == 256
    assert normalise_config({**old, "n_inner": 100})["n_inner"] == 100
    assert normalise_config({"model_type": "gpt2", "n_embd": 64, "n_inner": None})["n_inner"] is None
