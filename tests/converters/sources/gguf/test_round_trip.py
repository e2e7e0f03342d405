"""transformers → GGUF by llama.cpp's conventions → open_gguf → mlx-lm: the same tensors and logits.

The GGUF is written with gguf's own name map and key writers, so that a name or key that is wrong here
is not wrong in the same way there.
"""

from __future__ import annotations

import importlib

import gguf
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from edgelm.zoo.configs.normalise import normalise_config
from edgelm_converters.sources.gguf.checkpoint import open_gguf

pytestmark = pytest.mark.parity

TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 60,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 32,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}
MINISTRAL = {
    **YARN,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
SAME_FACTORS = [1.0, 1.1, 1.5, 2.0, 3.0, 4.0]
# One list for short and long: mlx-lm always uses the long one.
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "long_factor": SAME_FACTORS,
    "short_factor": SAME_FACTORS,
    "original_max_position_embeddings": 64,
}
CASES = {
    "llama": ("llama", "Llama", {}),
    "llama-tied": ("llama", "Llama", {"tie_word_embeddings": True}),
    "llama-bias": ("llama", "Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-llama3": ("llama", "Llama", {"rope_parameters": LLAMA3}),
    "llama-linear": ("llama", "Llama", {"rope_parameters": LINEAR}),
    "llama-wide-heads": ("llama", "Llama", {"head_dim": 32}),
    "smollm3": ("smollm3", "SmolLM3", {"num_hidden_layers": 4, "tie_word_embeddings": True}),
    "mistral3": ("mistral3", "Ministral3", {"rope_parameters": MINISTRAL}),
    "qwen2": ("qwen2", "Qwen2", {}),
    "qwen2-yarn": ("qwen2", "Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", "Qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", "Gemma2", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 128}),
    "gemma3": ("gemma3", "Gemma3", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 4,
                                    "num_hidden_layers": 7, "tie_word_embeddings": True}),
    "phi3": ("phi3", "Phi3", {}),
    "phi3-longrope": ("phi3", "Phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 64}),
}  # fmt: skip


def build(name, settings):
    """A seeded transformers model; norms and biases are random too, else half the test would be idle."""
    import torch
    import transformers

    config_name = f"{name}TextConfig" if name == "Gemma3" else f"{name}Config"
    config = getattr(transformers, config_name)(**{**TINY, **settings}, attn_implementation="eager")
    torch.manual_seed(5)
    model = getattr(transformers, f"{name}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(
                    torch.randn_like(parameter) * 0.2 + (0 if "Gemma" in name or "bias" in key else 1)
                )
    return model


def permute(weights, heads):
    """LlamaModel.permute in convert_hf_to_gguf.py."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def export(model, architecture, path, llama3_factors):
    """Write `model` as convert_hf_to_gguf.py would: set_gguf_parameters, then modify_tensors."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture != "gemma2":
        writer.add_rope_freq_base(rope["rope_theta"])
    if architecture != "phi3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    add_rope(writer, architecture, config, rope, head_dim, llama3_factors)
    add_windows(writer, architecture, config)
    add_tensors(writer, architecture, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_rope(writer, architecture, config, rope, head_dim, llama3_factors):
    kind = rope.get("rope_type", "default")
    if architecture == "phi3":
        writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
        writer.add_rope_scaling_orig_ctx_len(
            rope.get("original_max_position_embeddings", config.max_position_embeddings)
        )
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(head_dim, rope["rope_theta"], rope))
    elif kind == "longrope":
        writer.add_rope_scaling_attn_factors(1.1)
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))
    elif kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if architecture == "mistral3":
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
        writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
        writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])


def add_windows(writer, architecture, config):
    if architecture in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture == "phi3":
        writer.add_sliding_window(config.sliding_window or 0)


def add_tensors(writer, architecture, model):
    config = model.config
    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        module, _, suffix = name.rpartition(".")
        values = parameter.numpy()
        projection = module.rpartition(".")[2]
        if architecture in ("llama", "smollm3", "mistral3") and projection in heads:
            values = permute(values, heads[projection])
        if architecture in ("gemma2", "gemma3") and projection.endswith("norm"):
            values = values + 1
        writer.add_tensor(f"{names.get_name(module)}.{suffix}", np.ascontiguousarray(values))


@pytest.fixture(params=CASES, ids=str)
def case(request, tmp_path, llama3_factors):
    architecture, name, settings = CASES[request.param]
    model = build(name, settings)
    path = tmp_path / "model.gguf"
    export(model, architecture, path, llama3_factors)
    return model, open_gguf(path)


def mlx_model(checkpoint):
    config = normalise_config(checkpoint.config)
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    network = module.Model(module.ModelArgs.from_dict(config))
    weights = {name: tensor.read() for name, tensor in checkpoint.tensors.items()}
    if hasattr(network, "sanitize"):
        weights = network.sanitize(weights)
    network.load_weights(list(weights.items()), strict=True)
    assert all(value.dtype == mx.float32 for _, value in tree_flatten(network.parameters()))
    return network


def test_tensors_and_logits_survive(case):
    import torch

    model, checkpoint = case
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    assert set(checkpoint.tensors) == set(state)
    for name, expected in state.items():
        np.testing.assert_allclose(
            np.array(checkpoint.tensors[name].read()), expected, rtol=0, atol=3e-7, err_msg=name
        )

    for key in (
        "hidden_size",
        "num_hidden_layers",
        "vocab_size",
        "rms_norm_eps",
        "tie_word_embeddings",
        "eos_token_id",
    ):
        assert checkpoint.config[key] == getattr(model.config, key), key

    ids = np.random.default_rng(2).integers(0, 60, (1, 40))
    with torch.no_grad():
        expected = model(torch.tensor(ids), use_cache=False).logits.numpy()
    found = np.array(mlx_model(checkpoint)(mx.array(ids)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_transformers_reads_the_config_back(case):
    """The config is a transformers config, not only one that mlx-lm can read."""
    import transformers

    model, checkpoint = case
    again = type(model.config).from_dict(dict(checkpoint.config))
    assert isinstance(again, transformers.PretrainedConfig)
    for key in ("hidden_size", "num_key_value_heads", "max_position_embeddings", "vocab_size"):
        assert getattr(again, key) == getattr(model.config, key)
    ours, theirs = again.rope_parameters, model.config.rope_parameters
    ours, theirs = ours.get("full_attention", ours), theirs.get("full_attention", theirs)
    for key, value in theirs.items():
        assert ours.get(key) == (pytest.approx(value) if isinstance(value, float) else value), key
