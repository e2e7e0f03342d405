"""Prompts are priced before they are computed: on simulated Macs from 8 to 128 GB, M1 to M5."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgelm.device import (
    cache_limit_bytes,
    memory_budget_bytes,
    prefix_pool_bytes,
    recommended_working_set_bytes,
    simulate,
    wired_limit_bytes,
)
from edgelm.errors import FitError
from edgelm.machine.memory import GIB
from edgelm.pricing.chunks import SMALLEST_CHUNK, chunks_for
from edgelm.pricing.fit import account_of, price, trace
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.weights.safetensors_header import TensorInfo

MACS = [("M1", 8), ("M2", 16), ("M3", 24), ("M3 Pro", 36), ("M4 Max", 64), ("M2 Ultra", 128), ("M5", 32)]

# An 8B llama in 4 bits: 4.6 GB of weights, 128 KiB of cache a token.
CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rope_theta": 500000.0, "head_dim": 128,
}  # fmt: skip
WEIGHTS = {"model.embed_tokens.weight": TensorInfo("F16", (2_300_000_000,), 0, 4_600_000_000)}


@pytest.fixture(scope="module")
def cache_shape() -> Any:
    return trace(CONFIG, Path("llama-8b"))


def plan(cache_shape: Any, chip: str, memory_gb: float, **settings: Any) -> MemoryPlan:
    account = account_of(WEIGHTS, cache_shape, CONFIG, simulate(chip, memory_gb))
    return MemoryPlan(account, CacheSettings(**settings))


@pytest.mark.parametrize(("chip", "memory_gb"), MACS)
def test_budgets_scale_with_the_machine(cache_shape: Any, chip: str, memory_gb: int) -> None:
    machine = simulate(chip, memory_gb)
    budget = memory_budget_bytes(machine)
    weights = 4_600_000_000
    assert 0.6 * memory_gb * GIB < budget < 0.8 * memory_gb * GIB
    pool, buffers = prefix_pool_bytes(machine, weights), cache_limit_bytes(machine, weights)
    # Both together leave at least half of what the weights leave.
    assert pool <= max(0, budget - weights) // 4
    assert buffers <= max(memory_gb * GIB // 10, 1)
    assert weights + pool + buffers < memory_gb * GIB


@pytest.mark.parametrize(("chip", "memory_gb"), MACS)
def test_only_a_model_near_the_limit_is_wired(chip: str, memory_gb: int) -> None:
    machine = simulate(chip, memory_gb)
    recommended = recommended_working_set_bytes(machine)
    assert wired_limit_bytes(machine, recommended // 2) is None
    assert wired_limit_bytes(machine, recommended * 8 // 10) == recommended * 8 // 10
    assert wired_limit_bytes(machine, 2 * recommended) == recommended
    assert wired_limit_bytes(dataclasses.replace(machine, backend="cpu"), 2 * recommended) is None


@pytest.mark.parametrize(("chip", "memory_gb"), MACS)
def test_the_longest_prompt_fits_and_one_more_does_not(cache_shape: Any, chip: str, memory_gb: int) -> None:
    found = plan(cache_shape, chip, memory_gb)
    longest = found.longest_prompt()
    if memory_gb == 8:  # two thirds of 8 GB hold the weights and little else
        assert longest < 8000
    assert found.chunk_for(longest, 512) >= 32
    with pytest.raises(FitError, match=f"a prompt of {longest + 1:,} tokens needs"):
        found.chunk_for(longest + 1, 512)


def test_more_memory_holds_longer_prompts(cache_shape: Any) -> None:
    lengths = [plan(cache_shape, "M3", memory).longest_prompt() for memory in (8, 16, 24, 36, 64, 128)]
    assert lengths == sorted(set(lengths))


def test_the_chunk_shrinks_before_a_prompt_is_refused(cache_shape: Any) -> None:
    found = plan(cache_shape, "M2", 16)
    chunks = [found.chunk_for(int(found.longest_prompt() * part), 512) for part in (0.1, 0.9, 0.99, 1.0)]
    assert chunks[0] == 512
    assert chunks == sorted(chunks, reverse=True)
    assert chunks[-1] < 512


def test_a_smaller_cache_holds_more(cache_shape: Any) -> None:
    full = plan(cache_shape, "M2", 16)
    assert plan(cache_shape, "M2", 16, kv_bits=8).longest_prompt() > 1.5 * full.longest_prompt()
    assert plan(cache_shape, "M2", 16, kv_bits=4).longest_prompt() > 2.3 * full.longest_prompt()
    assert plan(cache_shape, "M2", 16, kv_dtype="float16").longest_prompt() == full.longest_prompt()
    bounded = plan(cache_shape, "M2", 16, max_context=2048)
    assert bounded.kv_bytes(100_000) == full.kv_bytes(2048)


def test_the_refusal_says_what_fits(cache_shape: Any) -> None:
    found = plan(cache_shape, "M2", 16)
    with pytest.raises(FitError) as caught:
        found.chunk_for(1_000_000, 512)
    assert f"{found.longest_prompt():,} tokens fit" in str(caught.value.hint)
    assert "--kv-bits 8" in str(caught.value.hint)
    assert "weights 4.6 GB" in caught.value.message


def test_what_is_kept_of_other_prompts_gives_way(cache_shape: Any) -> None:
    found = plan(cache_shape, "M2", 16)
    longest = found.longest_prompt()
    assert found.slack_bytes(100, 512) > 4 * GIB
    assert found.slack_bytes(longest, 32) < 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize(("heads", "key_heads"), [(8, 2), (4, 4)])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_packed_caches_plan_is_about_what_is_measured(heads: int, key_heads: int, bits: int) -> None:
    """Scores are most of it: a plan that forgets them is a tenth of the peak."""
    import mlx.core as mx
    from networks import make_network

    from edgelm.zoo.caches.maker import layer_maker

    tokens, chunk = 2048, 256
    width = 32 * heads
    network = make_network(
        "llama",
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        hidden_size=width,
        num_hidden_layers=3,
    )
    settings = CacheSettings(kv_bits=bits)
    layers = layer_maker(network, settings)()
    for _ in range(tokens // chunk):
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        network(mx.zeros((1, chunk), dtype=mx.int32), cache=layers)
        mx.eval([layer.state for layer in layers])
    measured = mx.get_peak_memory() - before
    config = {
        "model_type": "llama", "hidden_size": width, "num_hidden_layers": 3, "intermediate_size": 128,
        "num_attention_heads": heads, "num_key_value_heads": key_heads, "rms_norm_eps": 1e-5, "vocab_size": 96,
    }  # fmt: skip
    shape = trace(config, Path("tiny"))
    for backend in ("cpu", "metal"):
        machine = dataclasses.replace(simulate("M3", 16), backend=backend)  # type: ignore[arg-type]
        weights = {"w": TensorInfo("F32", (10,), 0, 40)}
        account = account_of(weights, shape, config, machine)
        planned = MemoryPlan(account, settings)._workspace_bytes(tokens, chunk) * (
            4 // account.weights.float_bytes
        )
        assert 0.8 < measured / planned < 1.25


def test_scores_of_a_packed_cache_shrink_the_chunk(cache_shape: Any) -> None:
    """8B on 16 GB at 100,000 tokens: one array of scores is 3.3 GB with chunks of 512, on Metal too."""
    full, packed = plan(cache_shape, "M2", 16), plan(cache_shape, "M2", 16, kv_bits=4)
    scores = 32 * 512 * 100_000 * 2
    assert packed._workspace_bytes(100_000, 512) - full._workspace_bytes(100_000, 512) == scores
    assert packed.chunk_for(100_000, 512) < 512
    assert packed.need_bytes(100_000, packed.chunk_for(100_000, 512)) <= packed.budget_bytes


@pytest.mark.parametrize(
    ("backend", "changes", "is_fused"),
    [
        *[("metal", {"head_dim": width}, True) for width in (64, 72, 80, 96, 128)],
        *[("metal", {"head_dim": width}, False) for width in (32, 112, 192, 256)],
        ("metal", {"head_dim": 128, "attn_logit_softcapping": 50.0}, False),
        ("metal", {"head_dim": 128, "kv_lora_rank": 512}, False),
        ("metal", {"head_dim": 128, "model_type": "olmo"}, False),
        ("cuda", {"head_dim": 112}, True),
        ("cuda", {"head_dim": 256}, False),
        ("cpu", {"head_dim": 64}, False),
    ],
)
def test_scores_are_written_out_where_no_kernel_is_fused(
    cache_shape: Any, backend: str, changes: dict[str, Any], is_fused: bool
) -> None:
    machine = dataclasses.replace(simulate("M3", 16), backend=backend)  # type: ignore[arg-type]
    account = account_of(WEIGHTS, cache_shape, {**CONFIG, **changes}, machine)
    growth = (account.workspace_bytes(9000, 512) or 0) - (account.workspace_bytes(8000, 512) or 0)
    assert (growth < 32 * 512 * 1000 * 2) == is_fused


@pytest.mark.parametrize(("chip", "memory_gb"), MACS)
@pytest.mark.parametrize("context", [4096, 30_000, 100_000])
@pytest.mark.parametrize("settings", [{}, {"kv_bits": 4}, {"kv_bits": 8}, {"max_context": 2048}])
def test_what_is_planned_is_what_will_run(
    cache_shape: Any, chip: str, memory_gb: int, context: int, settings: dict[str, Any]
) -> None:
    """`edgelm plan` and the check at load say yes to what the runtime takes, and name its chunks and longest prompt."""
    found = plan(cache_shape, chip, memory_gb, **settings)
    machine, kind = simulate(chip, memory_gb), CacheSettings(**settings)
    fit = price(WEIGHTS, cache_shape, CONFIG, machine, context=context, kind=kind)
    chunks = chunks_for(machine, 32)
    if fit.verdict == "does not fit":
        assert fit.chunk_tokens == SMALLEST_CHUNK
        with pytest.raises(FitError):
            found.chunk_for(context, chunks.near)
    else:
        assert found.chunk_for(context, chunks.near) == fit.chunk_tokens
        assert fit.total_bytes == found.need_bytes(context, fit.chunk_tokens)
    assert fit.max_context == min(found.longest_prompt(), CONFIG["max_position_embeddings"])


def test_growth_is_as_the_cache_is_kept(cache_shape: Any) -> None:
    growths = [
        price(WEIGHTS, cache_shape, CONFIG, simulate("M2", 16), kind=CacheSettings(**settings))
        for settings in ({}, {"kv_bits": 8}, {"kv_bits": 4}, {"kv_dtype": "float16"}, {"max_context": 64})
    ]
    full = 131_072  # 32 layers, 8 heads of 128, keys and values, 2 bytes
    assert [fit.kv_bytes_per_token for fit in growths] == [full, full * 9 // 16, full * 5 // 16, full, 0]


def test_a_draft_lies_beside(cache_shape: Any) -> None:
    alone = plan(cache_shape, "M2", 16)
    small = {"model.embed_tokens.weight": TensorInfo("F16", (300_000_000,), 0, 600_000_000)}
    draft = account_of(small, cache_shape, CONFIG, alone.account.device)
    both = dataclasses.replace(alone, draft=draft)
    assert both.need_bytes(1000, 512) == alone.need_bytes(1000, 512) + 600_000_000 + alone.kv_bytes(1000)
    assert both.longest_prompt() < alone.longest_prompt() // 2
    with pytest.raises(FitError, match=r"weights 5\.2 GB"):
        both.chunk_for(100_000, 512)
