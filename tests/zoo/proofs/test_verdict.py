"""What the table says of a config: proved, known to differ, or not proved, each by its settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgelm.zoo.proofs import verdict
from edgelm.zoo.proofs.settings import covers, form_of, settings_of
from edgelm.zoo.proofs.table import OtherCase, name_of, parse_table, shipped_table
from edgelm.zoo.proofs.verdict import proof_of

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256, "rope_theta": 500_000.0,
    "max_position_embeddings": 8192, "is_llama_config": True, "rope_interleaved": False,
}  # fmt: skip


def table(**changes: Any) -> Any:
    forms = {name: [form] for name, form in settings_of(LLAMA).items()}
    entry = {
        "cases": ["plain"], "error": 3e-6, "settings": forms,
        "others": [
            {
                "case": "gelu", "verdict": "differs", "layouts": ["transformers"], "error": 0.28, "words": "",
                "settings": {"hidden_act": "gelu"},
            },
        ],
    }  # fmt: skip
    said = {
        "mlx_lm": verdict._installed(), "transformers": "5.24.0", "tokens": 90, "window": 16, "bound": 1e-4,
        "architectures": {"llama": entry},
    }  # fmt: skip
    return parse_table({**said, **changes})


def test_what_was_proved_is_said_with_what_it_was_proved_by() -> None:
    proof = proof_of(LLAMA, table())
    assert proof.verdict == "proved equal"
    assert "transformers 5.24.0" in proof.words
    assert "90 tokens" in proof.words
    assert "1e-05" in proof.words


def test_another_setting_is_not_proved_and_named() -> None:
    yarn = {
        "rope_type": "yarn",
        "factor": 4.0,
        "attention_factor": 1.2,
        "original_max_position_embeddings": 64,
    }
    proof = proof_of({**LLAMA, "rope_scaling": yarn}, table())
    assert proof.verdict == "not proved"
    assert "rope_type yarn" in proof.words
    assert "rope attention_factor" in proof.words


def test_a_difference_that_is_known_is_told_with_its_size() -> None:
    proof = proof_of({**LLAMA, "hidden_act": "gelu"}, table())
    assert proof.verdict == "known to differ"
    assert "0.3" in proof.words
    assert "hidden_act gelu" in proof.words


def test_a_case_that_no_setting_tells_is_named() -> None:
    said = table()
    entry = said.architectures["llama"]
    beyond = OtherCase("beyond its length", "differs", ("published",), 0.9, "", {})
    only = dataclasses.replace(entry, others=(beyond,))
    proof = proof_of(LLAMA, dataclasses.replace(said, architectures={"llama": only}))
    assert (
        proof.words
        == "known to differ from transformers by 0.9 of the largest logit (case: beyond its length)"
    )
    refused = OtherCase("plain", "refused", ("published",), None, "it needs a package hint: install it", {})
    none = dataclasses.replace(entry, cases=(), others=(refused,))
    proof = proof_of(LLAMA, dataclasses.replace(said, architectures={"llama": none}))
    assert (proof.verdict, proof.words) == ("not proved", "not proved: llama was not run: it needs a package")


def test_other_versions_and_other_architectures_are_not_proved() -> None:
    other = proof_of(LLAMA, table(mlx_lm="0.1.0"))
    assert other.verdict == "not proved"
    assert "mlx-lm 0.1.0" in other.words
    assert "proved equal" in other.words, "what it was with that version is told"
    assert proof_of({"model_type": "made_up"}, table()).words == (
        "not proved: no network of made_up was held against transformers"
    )


def test_a_config_that_transformers_refuses_is_not_proved() -> None:
    proof = proof_of({**LLAMA, "hidden_size": "wide"}, table())
    assert proof.verdict == "not proved"
    assert "no valid one of llama" in proof.words


def test_settings_are_of_the_text_model_and_of_what_transformers_reads() -> None:
    forms = settings_of(LLAMA)
    assert "is_llama_config" not in forms
    assert "hidden_size" not in forms
    assert forms["rope_type"] == "default"
    assert forms["attention_bias"] == "false"
    wrapped = {"model_type": "mistral3", "text_config": {"model_type": "mistral", "sliding_window": 4096}}
    assert settings_of(wrapped)["sliding_window"] == "number"
    assert name_of(wrapped) == "mistral3 of mistral"
    assert name_of({"model_type": "lfm2-vl", "text_config": {"model_type": "lfm2"}}) == "lfm2_vl of lfm2"
    assert name_of({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}) == "gemma3"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, "none"),
        (True, "true"),
        (0, "0"),
        (1.0, "1"),
        (0.5, "number"),
        ("silu", "silu"),
        ([], "empty list"),
    ],
)
def test_forms(value: Any, form: str) -> None:
    assert form_of(value) == form


def test_a_number_that_is_read_proves_one_and_not_zero() -> None:
    assert covers("number", "1")
    assert not covers("number", "0")
    assert not covers("1", "number")


def test_the_shipped_table_is_of_the_mlx_lm_that_is_depended_on() -> None:
    shipped = shipped_table()
    assert shipped.mlx_lm == verdict._installed()
    assert len(shipped.architectures) >= 89
    assert proof_of(LLAMA).verdict == "proved equal"
