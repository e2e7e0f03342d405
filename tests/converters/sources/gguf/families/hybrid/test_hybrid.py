"""Hybrids and state spaces through llama.cpp's own converter: logits and tokens are the original's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf.constants import GGMLQuantizationType as Kind
from gguf_families import (
    TOLERANCE,
    FamilyCase,
    chained,
    check_family,
    converted_logits,
    difference,
    logits_of,
    with_settings,
    with_tensors,
)
from gguf_tokenizers import write_sentencepiece_tokenizer
from llama_cpp_converter import LlamaCppConverter

from edgelm_converters.convert import convert

pytestmark = [pytest.mark.peer, pytest.mark.parity, pytest.mark.slow]

MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 2, "mamba_expand": 2}
GRANITE = {
    **MAMBA2,
    "num_hidden_layers": 4,
    "layer_types": ["mamba", "attention", "mamba", "mamba"],
    "embedding_multiplier": 3.0, "residual_multiplier": 0.7, "attention_multiplier": 0.2, "logits_scaling": 2.0,
    "mamba_n_groups": 1,
}  # fmt: skip
GRANITE_KEYS = with_settings(layer_types=GRANITE["layer_types"])
"""transformers 5 calls them "linear_attention" and "full_attention"."""
NEMOTRON = {
    "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 16, "n_groups": 2, "head_dim": 32,
    "layers_block_type": ["mamba", "mlp", "attention", "mamba", "mlp"],
}  # fmt: skip
DELTA = {
    "num_hidden_layers": 4, "head_dim": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 6,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_conv_kernel_dim": 4,
}  # fmt: skip
KIMI = {
    "num_hidden_layers": 4, "kv_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "num_key_value_heads": 4,
    "linear_head_dim": 16, "linear_num_heads": 4, "linear_conv_kernel_dim": 4, "num_local_experts": 6, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "n_shared_experts": 1, "routed_scaling_factor": 1.5,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
}  # fmt: skip
DENSE = re.compile(r"block_sparse_moe\.((?:gate|up|down)_proj)")
# transformers renames dense layers with those of experts when it saves.
KIMI_TENSORS = with_tensors(
    lambda tensors: {DENSE.sub(r"mlp.\1", name): each for name, each in tensors.items()}
)
KIMI_KEYS = with_settings(
    "n_group", "topk_group",
    linear_attn_config={
        "kda_layers": [1, 2, 3], "full_attn_layers": [4], "num_heads": 4, "head_dim": 16, "short_conv_kernel_size": 4
    },
    num_experts=6, num_experts_per_token=2, num_shared_experts=1, first_k_dense_replace=1, moe_router_activation_func="sigmoid",
)  # fmt: skip
JAMBA = {
    "num_hidden_layers": 4, "attn_layer_period": 4, "attn_layer_offset": 2, "expert_layer_period": 2, "expert_layer_offset": 1,
    "num_experts": 4, "num_experts_per_tok": 2, "mamba_d_state": 8, "mamba_dt_rank": 8, "use_mamba_kernels": False,
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 50_000.0, "partial_rotary_factor": 0.25}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def without_least_step(network: Any) -> None:
    """transformers' prefill of Nemotron-H has time steps of `time_step_min` at least.

    Its decoding, NVIDIA's own code and llama.cpp have not.
    """
    for module in network.modules():
        if hasattr(module, "time_step_limit"):
            module.time_step_limit = (0.0, float("inf"))


CASES = {
    "mamba": FamilyCase("Mamba", {"state_size": 8, "layer_norm_epsilon": 1e-5}),
    "mamba2": FamilyCase(
        "Mamba2", {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1, "chunk_size": 16}
    ),
    "mamba2-tied": FamilyCase(
        "Mamba2",
        {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1, "tie_word_embeddings": True},
    ),
    "falcon-mamba": FamilyCase("FalconMamba", {"state_size": 8, "layer_norm_epsilon": 1e-5}),
    "jamba": FamilyCase("Jamba", JAMBA, tokenizer=write_sentencepiece_tokenizer),
    "jamba-dense": FamilyCase("Jamba", {**JAMBA, "num_experts": 1}, tokenizer=write_sentencepiece_tokenizer),
    "falcon-h1": FamilyCase(
        "FalconH1",
        {
            **MAMBA2, "mamba_d_ssm": 128, "mamba_n_groups": 1, "head_dim": 16, "mamba_rms_norm": True,
            "mamba_norm_before_gate": False, "embedding_multiplier": 1.3, "lm_head_multiplier": 0.6, "key_multiplier": 0.7,
            "attention_in_multiplier": 0.8, "attention_out_multiplier": 1.2,
            "ssm_in_multiplier": 1.1, "ssm_out_multiplier": 0.9, "mlp_multipliers": [0.9, 1.2],
            "ssm_multipliers": [0.7, 0.8, 0.9, 1.1, 1.2],
        },
    ),
    "granite-hybrid": FamilyCase(
        "GraniteMoeHybrid",
        {**GRANITE, "num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 128},
        original=GRANITE_KEYS,
    ),
    "granite-hybrid-moe": FamilyCase(
        "GraniteMoeHybrid",
        {**GRANITE, "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 96},
        original=GRANITE_KEYS,
    ),
    "nemotron-h": FamilyCase(
        "NemotronH",
        NEMOTRON,
        adjust=without_least_step,
        original=with_settings(
            "num_experts_per_tok", "n_routed_experts", "n_group", "topk_group", "layers_block_type",
            hybrid_override_pattern="M-*M-", rms_norm_eps=1e-5, num_hidden_layers=5,
        ),
    ),
    "nemotron-h-moe": FamilyCase(
        "NemotronH",
        {
            **NEMOTRON,
            "layers_block_type": ["mamba", "moe", "attention", "mamba", "moe"],
            "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "n_shared_experts": 1,
            "moe_shared_expert_intermediate_size": 80, "routed_scaling_factor": 1.7,
        },
        adjust=without_least_step,
    ),
    "lfm2": FamilyCase(
        "Lfm2",
        {"num_hidden_layers": 4, "layer_types": ["conv", "full_attention", "conv", "conv"], "block_multiple_of": 16},
    ),
    "lfm2-moe": FamilyCase(
        "Lfm2Moe",
        {
            **EXPERTS, "num_hidden_layers": 4, "layer_types": ["conv", "full_attention", "conv", "conv"], "num_dense_layers": 1,
        },
    ),
    "kimi-linear": FamilyCase("KimiLinear", KIMI, original=chained(KIMI_TENSORS, KIMI_KEYS)),
    "qwen3-next": FamilyCase(
        "Qwen3Next",
        {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 48, "rope_parameters": ROPE},
        options=("--no-mtp",),
    ),
    "qwen3.5": FamilyCase(
        "Qwen3_5Text", {**DELTA, "rope_parameters": ROPE}, network="Qwen3_5ForCausalLM", options=("--no-mtp",)
    ),
    "qwen3.5-moe": FamilyCase(
        "Qwen3_5MoeText",
        {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 48, "rope_parameters": ROPE},
        network="Qwen3_5MoeForCausalLM", options=("--no-mtp",),
    ),
}  # fmt: skip


def with_further_head(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A layer that predicts a further token, as Qwen publishes it: another layer of attention, with its own way in."""
    layer = {
        name.replace("model.layers.3", "mtp.layers.0"): each
        for name, each in tensors.items()
        if ".layers.3." in name
    }
    norms = ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")
    head = {f"mtp.{name}.weight": torch.randn(64) for name in norms} | {"mtp.fc.weight": torch.randn(64, 128)}
    return {**tensors, **layer, **head}


FURTHER = chained(with_tensors(with_further_head), with_settings(mtp_num_hidden_layers=1))
CASES |= {
    f"{name}-mtp": dataclasses.replace(CASES[name], options=(), original=FURTHER)
    for name in ("qwen3.5", "qwen3.5-moe", "qwen3-next")
}


def changed(name: str, *options: str, **settings: Any) -> FamilyCase:
    """A case with other settings, or other flags of the converter."""
    case = CASES[name]
    return dataclasses.replace(
        case, settings={**case.settings, **settings}, options=(*case.options, *options)
    )


LATENT = {"moe_latent_size": 32, "n_group": 2, "topk_group": 1}
VARIANTS = {
    "mamba-without-bias": changed("mamba", use_conv_bias=False),
    "mamba2-wide": changed("mamba2", expand=2, num_heads=4, head_dim=32, use_conv_bias=False),
    "falcon-h1-plain": changed(
        "falcon-h1", mamba_rms_norm=False, mamba_n_groups=2, tie_word_embeddings=False
    ),
    "granite-hybrid-tied": changed("granite-hybrid-moe", tie_word_embeddings=True),
    "granite-hybrid-fused": changed("granite-hybrid-moe", "--fuse-qkv"),
    "nemotron-h-latent": changed("nemotron-h-moe", **LATENT),
    "lfm2-exact": changed("lfm2", block_auto_adjust_ff_dim=False, conv_L_cache=4),
    "lfm2-fused": changed("lfm2", "--fuse-qkv"),
    "lfm2-moe-sparse": changed("lfm2-moe", num_dense_layers=0),
    "jamba-fused": changed("jamba", "--fuse-qkv"),
    "qwen3.5-equal-heads": changed("qwen3.5", linear_num_value_heads=2, tie_word_embeddings=True),
    "qwen3.5-moe-fused": changed("qwen3.5-moe", "--fuse-gate-up-exps"),
    "qwen3-next-fused": changed("qwen3-next", "--fuse-gate-up-exps"),
    "qwen3-next-equal-heads": changed("qwen3-next", linear_num_value_heads=2),
}


@pytest.mark.parametrize("name", [*CASES, *VARIANTS])
def test_logits_and_tokens_are_the_originals(name: str, llama_cpp: LlamaCppConverter, tmp_path: Path) -> None:
    check_family({**CASES, **VARIANTS}[name], llama_cpp, tmp_path)


def on_the_grid(network: Any) -> None:
    """Weights that Q8_0 holds as they are, so that what is lost on the way is seen."""
    for name, parameter in network.named_parameters():
        is_plain = name.endswith(("conv.weight", "conv1d.weight", "A_log"))
        if parameter.ndim > 1 and parameter.shape[-1] % 32 == 0 and not is_plain:
            values = parameter.detach().numpy()
            rounded = gguf.quants.dequantize(gguf.quants.quantize(values, Kind.Q8_0), Kind.Q8_0)
            parameter.data = torch.from_numpy(rounded.reshape(values.shape).copy())


WIDE = {"linear_key_head_dim": 32, "linear_value_head_dim": 32}
WIDTHS = {"qwen3.5": WIDE, "qwen3.5-moe": {**WIDE, "shared_expert_intermediate_size": 64}}


@pytest.mark.parametrize("name", ["qwen3.5", "qwen3.5-moe", "granite-hybrid-moe", "lfm2-moe", "mamba2"])
def test_blocks_are_kept_code_for_code(name: str, llama_cpp: LlamaCppConverter, tmp_path: Path) -> None:
    case = CASES[name]
    settings = {**case.settings, **WIDTHS.get(name, {})}
    case = dataclasses.replace(case, settings=settings, adjust=on_the_grid)
    network = case.publish(tmp_path / "source")
    is_published = case.original is not None
    path = llama_cpp.convert(tmp_path / "source", *case.options, outtype="q8_0", as_published=is_published)
    made = convert(path, tmp_path / "out", dtype="float32", verify=False)
    kinds = [kind for kind in made.manifest.receipt["tensors"] if kind.startswith("Q8_0")]
    assert kinds == ["Q8_0 → 8-bit group 32 (kept)"]
    assert difference(converted_logits(made.directory), logits_of(network)) < TOLERANCE
