"""Networks with fused projections through llama.cpp's own converter: logits and tokens are the original's."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import COMMON
from gguf_families import FamilyCase, check_family, with_settings
from llama_cpp_converter import LlamaCppConverter

pytestmark = [pytest.mark.peer, pytest.mark.parity, pytest.mark.slow]

GPT = {"n_embd": 64, "n_head": 4, "n_layer": 3, "n_positions": 256, "n_inner": 256}
GPT_COMMON = {name: COMMON[name] for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}

NEOX = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25},
    "intermediate_size": 256,  # mlx-lm takes it for granted that this is 4 x hidden
}
PYTHIA = with_settings(rotary_pct=0.25, rotary_emb_base=10_000)
"""What a published config has and transformers 5 writes otherwise."""

CASES = {
    "gpt2": FamilyCase(
        "GPT2", GPT, network="GPT2LMHeadModel", common=GPT_COMMON, original=with_settings(n_ctx=256)
    ),
    "gpt-bigcode": FamilyCase("GPTBigCode", {**GPT, "multi_query": True}, common=GPT_COMMON),
    "gpt-neox": FamilyCase("GPTNeoX", NEOX, original=PYTHIA),
    "gpt-neox-sequential": FamilyCase("GPTNeoX", {**NEOX, "use_parallel_residual": False}, original=PYTHIA),
}


@pytest.mark.parametrize("name", CASES)
def test_logits_and_tokens_are_the_originals(name: str, llama_cpp: LlamaCppConverter, tmp_path: Path) -> None:
    check_family(CASES[name], llama_cpp, tmp_path)
