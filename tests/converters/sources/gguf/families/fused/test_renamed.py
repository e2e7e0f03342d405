"""Families that transformers does not have, as equal networks that it has: a network of the other kind judges.

Each checkpoint is a transformers network whose tensors are put together, renamed and scaled as the family publishes them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_families import FamilyCase, chained, check_family, with_settings, with_tensors
from gguf_tokenizers import write_sentencepiece_tokenizer
from llama_cpp_converter import LlamaCppConverter

pytestmark = [pytest.mark.peer, pytest.mark.parity, pytest.mark.slow]

Tensors = dict[str, torch.Tensor]
HEADS, KV_HEADS, HEAD, HIDDEN = 4, 2, 16, 64


def renamed(
    names: dict[str, str], change: Callable[[str, torch.Tensor], torch.Tensor] = lambda _, each: each
) -> Callable[[Tensors], Tensors]:
    def rename(tensors: Tensors) -> Tensors:
        found = {}
        for name, tensor in tensors.items():
            new = name
            for old, other in names.items():
                new = re.sub(old, other, new)
            found[new] = change(name, tensor)
        return found

    return rename


def fused(name: str, join: Callable[..., torch.Tensor]) -> Callable[[Tensors], Tensors]:
    """q, k and v of each layer as one tensor."""

    def fuse(tensors: Tensors) -> Tensors:
        found = {key: each for key, each in tensors.items() if not re.search(r"[qkv]_proj", key)}
        for key in tensors:
            if "q_proj" in key:
                parts = [tensors[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                found[key.replace("self_attn.q_proj", name)] = join(*parts)
        return found

    return fuse


def by_group(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    parts = [each.reshape(KV_HEADS, -1, HEAD, HIDDEN) for each in (q, k, v)]
    return torch.cat(parts, dim=1).reshape(-1, HIDDEN)


def in_turn(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.cat([q, k, v])


INTERNLM2 = chained(
    with_tensors(fused("attention.wqkv", by_group)),
    with_tensors(
        renamed(
            {
                "embed_tokens": "tok_embeddings", "lm_head": "output", "self_attn.o_proj": "attention.wo",
                "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
                "input_layernorm": "attention_norm",
                "post_attention_layernorm": "ffn_norm",
            }
        )
    ),
    with_settings(model_type="internlm2", architectures=["InternLM2ForCausalLM"], bias=False, rope_theta=10_000.0),
)  # fmt: skip

EMBEDDINGS, DEPTH, BASE = 3.0, 1.2, 32


def unscaled(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The judge's weights have MiniCPM's scales in them."""
    if "embed_tokens" in name:
        return tensor / EMBEDDINGS
    if "o_proj" in name or "down_proj" in name:
        return tensor / (DEPTH / 3**0.5)
    return tensor * (HIDDEN / BASE) if "lm_head" in name else tensor


MINICPM = chained(
    with_tensors(renamed({}, unscaled)),
    with_settings(
        model_type="minicpm", architectures=["MiniCPMForCausalLM"], scale_emb=EMBEDDINGS, scale_depth=DEPTH,
        dim_model_base=BASE, rope_theta=10_000.0,
    ),
)  # fmt: skip


def ungated(network: Any) -> None:
    """Qwen 2's shared expert has a gate, which is a half everywhere when its weights are zero."""
    for name, parameter in network.named_parameters():
        if "shared_expert_gate" in name:
            parameter.data.zero_()


def halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor / 2 if "shared_expert.down_proj" in name else tensor


def without_gate(tensors: Tensors) -> Tensors:
    return {name: each for name, each in tensors.items() if "shared_expert_gate" not in name}


BAILING = chained(
    with_tensors(without_gate),
    with_tensors(fused("attention.query_key_value", in_turn)),
    with_tensors(
        renamed(
            {"embed_tokens": "word_embeddings", "self_attn.o_proj": "attention.dense", "shared_expert": "shared_experts"},
            halved,
        )
    ),
    with_settings(
        model_type="bailing_moe", architectures=["BailingMoeForCausalLM"], num_shared_experts=1, first_k_dense_replace=0,
        norm_topk_prob=True, rope_theta=10_000.0,
    ),
)  # fmt: skip
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

CASES = {
    "internlm2": FamilyCase("Llama", tokenizer=write_sentencepiece_tokenizer, original=INTERNLM2),
    "minicpm": FamilyCase("Llama", tokenizer=write_sentencepiece_tokenizer, original=MINICPM),
    "bailing": FamilyCase(
        "Qwen2Moe",
        {**EXPERTS, "shared_expert_intermediate_size": 32, "norm_topk_prob": True, "qkv_bias": False},
        adjust=ungated,
        original=BAILING,
    ),
    "exaone": FamilyCase("Exaone", network="AutoModelForCausalLM", original=with_settings(rope_theta=500_000.0)),
    "minicpm3": FamilyCase(
        "MiniCPM3",
        {
            "q_lora_rank": 32, "kv_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "num_key_value_heads": 4,
            "tie_word_embeddings": False,
        },
        tokenizer=write_sentencepiece_tokenizer,
    ),
}  # fmt: skip


TIED = chained(
    with_tensors(renamed({}, lambda name, tensor: tensor if "embed_tokens" in name else unscaled(name, tensor))),
    with_settings(
        model_type="minicpm", architectures=["MiniCPMForCausalLM"], scale_emb=1.0, scale_depth=DEPTH, dim_model_base=BASE,
        rope_theta=10_000.0,
    ),
    # The judge's logits are divided by its last norm.
    with_tensors(renamed({}, lambda name, tensor: tensor * (HIDDEN / BASE) if name == "model.norm.weight" else tensor)),
)  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
SECOND = {
    "head_dim": 16, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "n_group": 2, "topk_group": 1,
}  # fmt: skip
SECOND_KEYS = {
    "num_experts": 6, "num_shared_experts": 1, "score_function": "sigmoid", "rope_theta": 10_000.0,
    "partial_rotary_factor": 0.5,
}  # fmt: skip
HALF = {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}}
VARIANTS = {
    "exaone-llama3": dataclasses.replace(
        CASES["exaone"],
        settings={"rope_parameters": LLAMA3},
        original=with_settings(rope_theta=10_000.0, rope_scaling=LLAMA3),
    ),
    "bailing2": FamilyCase(
        "SarvamMoE",
        {**SECOND, **HALF},
        network="AutoModelForCausalLM",
        original=with_settings(
            architectures=["BailingMoeV2ForCausalLM"], model_type="bailing_moe", **SECOND_KEYS
        ),
    ),
    "minicpm3-tied": dataclasses.replace(
        CASES["minicpm3"], settings={**CASES["minicpm3"].settings, "tie_word_embeddings": True}
    ),
    "minicpm-tied": dataclasses.replace(
        CASES["minicpm"], settings={"tie_word_embeddings": True}, original=TIED
    ),
}


@pytest.mark.parametrize("name", [*CASES, *VARIANTS])
def test_logits_and_tokens_are_the_originals(name: str, llama_cpp: LlamaCppConverter, tmp_path: Path) -> None:
    check_family({**CASES, **VARIANTS}[name], llama_cpp, tmp_path)
