"""Settings that mlx-lm's architecture never looks at are refused by name; defaults are those of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.normalise import normalise_config
from edgelm.zoo.configs.unread import check_settings_are_read
from edgelm.zoo.fixes.honoured import is_honoured

PASSED_OVER: list[tuple[str, dict[str, Any]]] = [
    ("olmoe", {"clip_qkv": 8.0}),
    ("phi", {"qk_layernorm": True}),
    ("gemma3_text", {"final_logit_softcapping": 30.0}),
    ("gemma3_text", {"attn_logit_softcapping": 50.0}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
]


def checked(config: dict[str, Any]) -> None:
    check_settings_are_read(config, is_honoured)


def config_of(kind: str, **changes: Any) -> dict[str, Any]:
    return normalise_config({**transformers.CONFIG_MAPPING[kind](**changes).to_dict(), "model_type": kind})


@pytest.mark.parametrize(("kind", "changes"), PASSED_OVER)
def test_a_setting_that_would_be_passed_over_is_refused(kind: str, changes: dict[str, Any]) -> None:
    checked(config_of(kind))
    (name,) = changes
    with pytest.raises(
        UnsupportedError, match=f"the config says {name} .*, which mlx-lm's {kind} never reads"
    ):
        checked(config_of(kind, **changes))


def test_settings_that_are_read_pass() -> None:
    checked(config_of("granite", logits_scaling=7.0, embedding_multiplier=3.0))
    checked(config_of("gemma2", final_logit_softcapping=20.0))


def test_a_key_that_no_config_class_has_says_nothing() -> None:
    checked({**config_of("llama"), "clip_qkv": 8.0})


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("qwen3_moe", "norm_topk_prob", False),
        ("glm4", "attention_bias", True),
        ("llama", "rms_norm_eps", 1e-6),
    ],
)
def test_what_a_config_leaves_out_is_what_transformers_takes(kind: str, key: str, value: object) -> None:
    sparse = {"model_type": kind, "architectures": ["X"], "hidden_size": 64, "num_attention_heads": 4}
    assert normalise_config(sparse)[key] == value
    assert "intermediate_size" not in normalise_config(sparse)
