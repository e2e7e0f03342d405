"""Sliding windows that mlx-lm's code does not have are computed as transformers does, in one piece and in many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from checkpoints import COMMON, VOCAB, write_tokenizer
from endless import without_stops
from mlx_lm.models.cache import make_prompt_cache

import edgelm
from edgelm.model.load import load
from edgelm.zoo.fixes.window import windows_of
from edgelm_converters.convert import convert

WINDOW = 16
TEXT = {**COMMON, "sliding_window": WINDOW}
PARTLY = {"use_sliding_window": True, "max_window_layers": 1}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
MROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
PIXTRAL = {
    "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "head_dim": 16, "image_size": 28, "patch_size": 14,
}  # fmt: skip

FAMILIES: dict[str, Any] = {
    "mistral": lambda: transformers.MistralConfig(**TEXT),
    "mixtral": lambda: transformers.MixtralConfig(**TEXT, num_local_experts=4, num_experts_per_tok=2),
    "phi3": lambda: transformers.Phi3Config(**TEXT),
    "starcoder2": lambda: transformers.Starcoder2Config(**TEXT),
    "gemma2": lambda: transformers.Gemma2Config(**TEXT, head_dim=16, query_pre_attn_scalar=16),
    "qwen2": lambda: transformers.Qwen2Config(**TEXT, **PARTLY),
    "qwen3": lambda: transformers.Qwen3Config(**TEXT, **PARTLY, head_dim=16),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **TEXT, **MOE, head_dim=16, num_experts=4, use_sliding_window=True
    ),
    "smollm3": lambda: transformers.SmolLM3Config(
        **TEXT, use_sliding_window=True, no_rope_layers=[1, 0, 1], layer_types=None
    ),
    "mistral3 of mistral": lambda: transformers.Mistral3Config(
        text_config={**TEXT, "model_type": "mistral", "head_dim": 16}, vision_config=PIXTRAL, image_token_index=5
    ),
    "qwen2_5_vl": lambda: transformers.Qwen2_5_VLConfig(
        text_config={**TEXT, **PARTLY, "rope_parameters": MROPE},
        vision_config={
            "depth": 1, "hidden_size": 32, "out_hidden_size": 64, "num_heads": 2, "intermediate_size": 64,
            "fullatt_block_indexes": [0],
        },
    ),
}  # fmt: skip


def published(family: str, directory: Path) -> Any:
    """A seeded model of the family in `directory`, with a window of 16 tokens."""
    config = FAMILIES[family]()
    kind = (
        transformers.AutoModelForImageTextToText
        if hasattr(config, "text_config")
        else transformers.AutoModelForCausalLM
    )
    torch.manual_seed(11)
    network = kind.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.12)
    network.save_pretrained(directory)
    write_tokenizer(directory)
    return network


def logits_in_pieces(network: Any, ids: list[int], sizes: list[int]) -> np.ndarray:
    """[T, V], fed through a cache `sizes` tokens at a time, the rest one by one."""
    caches, at, found = make_prompt_cache(network), 0, []
    for size in sizes + [1] * (len(ids) - sum(sizes)):
        found.append(np.array(network(mx.array([ids[at : at + size]]), cache=caches)[0]))
        at += size
    return np.concatenate(found)


@pytest.mark.parity
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_beyond_the_window_equal_transformers(family: str, tmp_path: Path) -> None:
    network = published(family, tmp_path / "source")
    ids = np.random.default_rng(2).integers(8, VOCAB, 70).tolist()
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([ids])).logits[0].numpy()
        first = torch.tensor([[*ids[:1], 9, *ids[2:]]])
        changed = network(input_ids=first).logits[0].numpy()
    made = convert(tmp_path / "source", tmp_path / "made", mode="none", dtype="float32")
    bound = 1e-4 * max(1.0, np.abs(expected).max())
    for directory in (tmp_path / "source", made.directory):
        ours = load(directory, check_fit=False).network
        assert np.abs(np.array(ours(mx.array([ids]))[0]) - expected).max() < bound
        assert np.abs(logits_in_pieces(ours, ids, [10, 23, 7]) - expected).max() < bound
    assert np.abs(changed - expected)[3].max() > 100 * bound, "the second token matters to those near it"


@pytest.mark.slow
def test_a_chat_beyond_the_window_is_told_as_transformers_goes_on(tmp_path: Path) -> None:
    network = published("mistral", tmp_path / "source")
    ids = np.random.default_rng(3).integers(8, VOCAB, 40).tolist()
    with torch.no_grad():
        told = network.generate(
            torch.tensor([ids]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=1
        )
    with edgelm.load(tmp_path / "source", check_fit=False) as model:
        without_stops(model)
        assert list(model.generate(ids, max_tokens=24, temperature=0).tokens) == told[0, len(ids) :].tolist()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sliding_window": 16}, [16, 16, 16]),
        ({"sliding_window": None}, None),
        ({"sliding_window": 256}, None),  # as long as the context
        ({}, None),  # transformers' own default, 4096, is longer
        ({"max_position_embeddings": 32_768}, [4096] * 3),
    ],
)
def test_windows_are_what_transformers_makes_of_the_config(changes: dict[str, Any], expected: Any) -> None:
    assert windows_of({"model_type": "mistral", **COMMON, **changes}) == expected
