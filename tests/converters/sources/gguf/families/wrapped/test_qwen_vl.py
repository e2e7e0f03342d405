"""Text models out of models that see, through llama.cpp's own converter: logits and tokens are the original's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import COMMON
from gguf_families import FamilyCase, check_family, with_tensors
from llama_cpp_converter import LlamaCppConverter

pytestmark = [pytest.mark.peer, pytest.mark.parity, pytest.mark.slow]

VISION = {
    "depth": 1, "hidden_size": 32, "embed_dim": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64,
    "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
}  # fmt: skip
TOKENS = {
    "image_token_id": 300,
    "video_token_id": 301,
    "vision_start_token_id": 302,
    "vision_end_token_id": 303,
}
ROPE = {"rope_type": "default", "rope_theta": 50_000.0, "mrope_section": [2, 3, 3]}


def turned(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts as they were published: transformers 5 saves them with the last two axes the other way round."""
    return {name: each.swapaxes(-1, -2) if ".experts." in name else each for name, each in tensors.items()}


def wrapped(name: str, **text: Any) -> FamilyCase:
    settings = {
        "text_config": {**COMMON, "rope_parameters": ROPE, **text},
        "vision_config": VISION,
        "tie_word_embeddings": text.get("tie_word_embeddings", False),
        **TOKENS,
    }
    return FamilyCase(name, settings, network=f"{name}ForConditionalGeneration", common={})


EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
CASES = {
    "qwen2-vl": wrapped("Qwen2VL"),
    "qwen2.5-vl": wrapped("Qwen2_5_VL", tie_word_embeddings=True),
    "qwen3-vl": wrapped("Qwen3VL", head_dim=16),
    "qwen3-vl-tied": wrapped("Qwen3VL", head_dim=16, tie_word_embeddings=True),
    "qwen3-vl-fused": dataclasses.replace(wrapped("Qwen3VL", head_dim=32), options=("--fuse-qkv",)),
    "qwen2-vl-fused": dataclasses.replace(wrapped("Qwen2VL"), options=("--fuse-qkv",)),
    "qwen3-vl-moe": dataclasses.replace(wrapped("Qwen3VLMoe", **EXPERTS), original=with_tensors(turned)),
}


@pytest.mark.parametrize("name", CASES)
def test_logits_and_tokens_are_the_originals(name: str, llama_cpp: LlamaCppConverter, tmp_path: Path) -> None:
    check_family(CASES[name], llama_cpp, tmp_path)
