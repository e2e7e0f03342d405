"""What is predicted from headers and configs, against the same models in memory."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

from edgelm import device
from edgelm.errors import FitError, FormatError, NotFoundError, OptionError
from edgelm.pricing import fit as fits
from edgelm.pricing.weight_bytes import price_weights, quantize_headers
from edgelm.zoo.caches.shape import CacheShape, trace_cache
from edgelm.zoo.network import build_network
from edgelm.zoo.precision.dense import dequantize
from edgelm.zoo.weights.files import read_headers
from edgelm.zoo.weights.safetensors_header import TensorInfo

Config = dict[str, Any]

LLAMA: Config = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 320,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
GEMMA3: Config = {
    "model_type": "gemma3_text",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 64,
    "sliding_window": 32,
    "sliding_window_pattern": 2,
}
MIXTRAL: Config = {
    **LLAMA,
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "rope_theta": 1e6,
}
DEEPSEEK: Config = {
    "model_type": "deepseek_v2",
    "vocab_size": 64,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "moe_intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 32,
    "first_k_dense_replace": 1,
    "topk_group": 1,
    "n_group": 1,
    "rope_scaling": {
        "type": "yarn", "factor": 2, "original_max_position_embeddings": 4096, "mscale": 1.0,
        "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1,
    },
}  # fmt: skip
MAMBA2: Config = {
    "model_type": "mamba2",
    "num_heads": 4,
    "head_dim": 16,
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "state_size": 8,
    "num_hidden_layers": 2,
    "layer_norm_epsilon": 1e-5,
    "conv_kernel": 4,
    "n_groups": 1,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_limit": [0.0, 1.0],
    "time_step_rank": 2,
    "tie_word_embeddings": True,
}
QWEN3_4B: Config = {
    "model_type": "qwen3",
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rms_norm_eps": 1e-6,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
}
TYPES = {mx.float32: "F32", mx.bfloat16: "BF16", mx.float16: "F16", mx.uint32: "U32", mx.uint8: "U8"}


def _network(config: Config) -> Any:
    return build_network(config, Path("test"))


def _shape(config: Config) -> CacheShape:
    shape = trace_cache(_network(config))
    assert shape is not None
    return shape


def _headers(network: Any) -> dict[str, TensorInfo]:
    """The headers that an unread network would be saved with."""
    return {
        name: TensorInfo(TYPES[value.dtype], value.shape, 0, value.nbytes)
        for name, value in tree_flatten(network.parameters())
    }


def _save(network: Any, config: Config, directory: Path, **quantization: int) -> None:
    mx.save_safetensors(str(directory / "model.safetensors"), dict(tree_flatten(network.parameters())))
    said = {**config, "quantization": quantization} if quantization else config
    (directory / "config.json").write_text(json.dumps(said))


def _bytes(network: Any) -> int:
    return sum(value.nbytes for _, value in tree_flatten(network.parameters()))


def _cache_bytes(caches: list[Any]) -> int:
    arrays = [value for cache in caches for value in vars(cache).values()]
    flat = [item for value in arrays for item in (value if isinstance(value, list) else [value])]
    return sum(item.nbytes for item in flat if isinstance(item, mx.array))


def _cpu(total_gb: float = 32) -> device.Device:
    mac = device.simulate("M1", total_gb)
    return dataclasses.replace(mac, backend="cpu", chip="a CPU", generation=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [LLAMA, GEMMA3, MIXTRAL, DEEPSEEK, MAMBA2], ids=lambda config: config["model_type"]
)
def test_the_cache_grows_as_predicted(config: Config) -> None:
    network = _network(config)
    mx.eval(network.parameters())
    caches = make_prompt_cache(network)
    for tokens in (255, 1):  # a sliding window is cut at the first single token
        mx.eval(network(mx.ones((1, tokens), dtype=mx.int32), cache=caches))
    assert _shape(config).elements_at(256) * 4 == _cache_bytes(caches)


def test_windows_bound_what_a_layer_keeps() -> None:
    shape = _shape(GEMMA3)
    assert [layer.window for layer in shape.layers] == [32, None, 32, None]
    assert shape.growing_elements_per_token == 2 * 2 * 32
    assert shape.elements_at(10) == 4 * 2 * 32 * 10
    assert _shape(MAMBA2).growing_elements_per_token == 0


@pytest.mark.slow
def test_tracing_reads_no_weights() -> None:
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    llama_70b = {**LLAMA, "hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672}
    shape = _shape({**llama_70b, "num_attention_heads": 64, "num_key_value_heads": 8})
    assert shape.growing_elements_per_token == 80 * 2 * 8 * 128
    assert mx.get_peak_memory() - before < 1_000_000


def test_an_architecture_that_looks_at_values_is_unknown_not_guessed() -> None:
    config = {
        "model_type": "dbrx",
        "vocab_size": 64,
        "d_model": 64,
        "n_layers": 1,
        "n_heads": 4,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    }
    network = _network(config)
    assert trace_cache(network) is None
    fit = fits.price(_headers(network), None, config, device.simulate("M1", 8))
    assert (fit.kv_bytes, fit.kv_bytes_per_token, fit.max_context) == (None, None, None)
    assert fit.unknown == ("KV cache",)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("bits", [None, 4, 3])
def test_weights_cost_what_they_cost_in_memory(tmp_path: Path, dtype: mx.Dtype, bits: int | None) -> None:
    network = _network(LLAMA)
    network.set_dtype(dtype)
    if bits is not None:
        nn.quantize(network, 32, bits)
    quantization = {} if bits is None else {"bits": bits, "group_size": 32}
    _save(network, LLAMA, tmp_path, **quantization)
    loaded, config = load_model(tmp_path)
    headers = read_headers(tmp_path)
    on_metal = price_weights(headers, config, device.simulate("M3", 8))
    assert on_metal.loaded_bytes == _bytes(loaded)
    assert on_metal.float_bytes == dtype.size
    loaded.set_dtype(mx.float32)
    dequantize(loaded, mx.float32)
    on_cpu = price_weights(headers, config, _cpu())
    assert on_cpu.loaded_bytes == _bytes(loaded)
    assert on_cpu.is_dequantized is (bits is not None)


def test_weights_stay_packed_on_a_cpu_that_has_no_room(tmp_path: Path) -> None:
    network = _network(LLAMA)
    network.set_dtype(mx.bfloat16)
    nn.quantize(network, 32, 4)
    _save(network, LLAMA, tmp_path, bits=4, group_size=32)
    small = dataclasses.replace(_cpu(), available_bytes=1_000_000)
    priced = price_weights(read_headers(tmp_path), {"quantization": {"bits": 4}}, small)
    network.set_dtype(mx.float32)
    assert not priced.is_dequantized
    assert priced.loaded_bytes == _bytes(network)


@pytest.mark.parametrize("config", [LLAMA, MIXTRAL], ids=lambda config: config["model_type"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_what_a_width_would_cost_is_what_it_costs(config: Config, bits: int) -> None:
    network = _network(config)
    network.set_dtype(mx.bfloat16)
    predicted = quantize_headers(_headers(network), config, bits)
    mac = device.simulate("M3", 8)
    # mlx-lm keeps Mixtral's router at 8 bits; the plan does not know of such exceptions.
    nn.quantize(network, 64, bits)
    assert price_weights(predicted, {"quantization": {"bits": bits}}, mac).loaded_bytes == _bytes(network)


def test_quantizing_twice_is_refused() -> None:
    network = _network(LLAMA)
    nn.quantize(network, 64, 4)
    with pytest.raises(OptionError, match="already"):
        quantize_headers(_headers(network), LLAMA, 3)


def test_a_token_reads_its_experts_and_not_its_embedding() -> None:
    config = MIXTRAL
    headers = _headers(_network(config))
    priced = price_weights(headers, config, device.simulate("M3", 8))
    experts = 3 * 3 * 8 * 128 * 256 * 4  # layers, projections, experts, width, feed-forward, bytes
    embedding = 320 * 128 * 4
    assert priced.read_bytes_per_token == priced.loaded_bytes - embedding - experts * 6 // 8
    tied = {name: info for name, info in headers.items() if not name.startswith("lm_head")}
    priced = price_weights(tied, config, device.simulate("M3", 8))
    assert priced.read_bytes_per_token == priced.loaded_bytes - experts * 6 // 8


def test_a_mixture_that_does_not_say_how_many_experts_has_no_roof() -> None:
    config = {name: value for name, value in MIXTRAL.items() if "experts" not in name}
    fit = fits.price(_headers(_network(MIXTRAL)), None, config, device.simulate("M3", 8))
    assert fit.read_bytes_per_token is None
    assert fits.decode_roof_tokens_per_s(fit, 1e11) is None


def test_the_published_figures_of_qwen3_4b() -> None:
    """4-bit on an M4 Max: 134.5 token/s decode, 3.35 GB (shared reference of the project)."""
    network = _network(QWEN3_4B)
    network.set_dtype(mx.bfloat16)
    headers = quantize_headers(_headers(network), QWEN3_4B, 4)
    mac = device.simulate("M4 Max", 64)
    config = {**QWEN3_4B, "quantization": {"bits": 4}}
    fit = fits.price(headers, trace_cache(network), config, mac)
    assert 2.2e9 < fit.weights_bytes < 2.35e9
    assert fit.kv_bytes_per_token == 36 * 2 * 8 * 128 * 2
    assert fit.weights_bytes < 3.35e9 < fit.total_bytes * 1.3
    roof = fits.decode_roof_tokens_per_s(fit, mac.bandwidth_bytes_per_s)
    assert roof is not None
    assert 134.5 < roof < 2 * 134.5
    deeper = fits.decode_roof_tokens_per_s(fit, mac.bandwidth_bytes_per_s, depth=8192)
    assert deeper is not None
    assert deeper < roof


@pytest.mark.parametrize(("memory_gb", "verdict"), [(128, "fits"), (13, "tight"), (8, "does not fit")])
def test_verdicts(memory_gb: int, verdict: str) -> None:
    network = _network(QWEN3_4B)
    network.set_dtype(mx.bfloat16)
    fit = fits.price(_headers(network), trace_cache(network), QWEN3_4B, device.simulate("M3", memory_gb))
    assert fit.verdict == verdict


def test_the_longest_context_is_the_longest_that_fits() -> None:
    network = _network(QWEN3_4B)
    network.set_dtype(mx.bfloat16)
    headers, cache = _headers(network), trace_cache(network)
    mac = device.simulate("M3", 16)
    longest = fits.price(headers, cache, QWEN3_4B, mac).max_context
    assert longest is not None
    assert longest < 40960
    assert fits.price(headers, cache, QWEN3_4B, mac, context=longest).verdict == "tight"
    assert fits.price(headers, cache, QWEN3_4B, mac, context=longest + 1).verdict == "does not fit"
    assert fits.price(headers, cache, QWEN3_4B, device.simulate("M3", 128)).max_context == 40960


def test_what_does_not_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    _save(_network(LLAMA), LLAMA, tmp_path)
    tiny = dataclasses.replace(_cpu(), available_bytes=2_000_000)
    with pytest.raises(FitError, match=r"needs .* \(weights 2\.1 MB as float32, KV cache") as refused:
        fits.require_fit(tmp_path, LLAMA, tiny)
    assert "1.8 MB is safe to use" in str(refused.value)
    assert "--no-fit-check" in (refused.value.hint or "")
    roomier = dataclasses.replace(_cpu(), available_bytes=8_000_000)
    with pytest.raises(FitError) as refused:
        fits.require_fit(tmp_path, LLAMA, roomier)
    assert "a context of at most" in (refused.value.hint or "")
    assert fits.require_fit(tmp_path, LLAMA, roomier, context=64).verdict != "does not fit"


def test_what_is_not_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no model\*\.safetensors"):
        fits.check_fit(tmp_path, LLAMA, _cpu())
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(FormatError, match="header"):
        fits.check_fit(tmp_path, LLAMA, _cpu())


@pytest.mark.slow
def test_the_workspace_of_a_prefill_is_about_what_is_measured() -> None:
    config = {**LLAMA, "hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 8}
    gc.collect()
    before = mx.get_active_memory()  # what other tests of this process still hold
    network = _network(config)
    mx.eval(network.parameters())
    caches = make_prompt_cache(network)
    fit = fits.price(_headers(network), trace_cache(network), config, device.detect(), context=1024)
    for _ in range(1024 // fit.chunk_tokens):
        mx.clear_cache()
        mx.reset_peak_memory()
        network(mx.ones((1, fit.chunk_tokens), dtype=mx.int32), cache=caches)
        mx.eval([cache.state[:2] for cache in caches])
    measured = mx.get_peak_memory() - before - _bytes(network) - _cache_bytes(caches)
    assert fit.workspace_bytes is not None
    assert 0.7 < measured / fit.workspace_bytes < 1.3


def test_context_length_is_read_from_a_nested_config_too() -> None:
    assert fits.context_length({"text_config": {"max_position_embeddings": 8}}) == 8
    assert fits.context_length({"n_positions": 1024}) == 1024
    assert fits.context_length({}) is None


def test_gptq_codes_are_counted_unpacked() -> None:
    headers = {
        "l.qweight": TensorInfo("I32", (16, 64), 0, 4096),
        "l.scales": TensorInfo("F16", (1, 64), 0, 128),
        "l.qzeros": TensorInfo("I32", (1, 8), 0, 32),
    }
    priced = price_weights(headers, {"quantization_config": {"bits": 4}}, _cpu())
    assert priced.loaded_bytes == 4 * math.prod((128, 64))
