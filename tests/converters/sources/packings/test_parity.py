"""Converted models of packed sources compute what transformers computes with the weights that are meant."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import packed_checkpoints as packings
import pytest
import torch
import transformers
from checkpoints import COMMON, VOCAB, write_checkpoint, write_tokenizer
from packed_checkpoints import Packing, pack
from safetensors.torch import load_file, save_file

from edgelm.model.load import load
from edgelm_converters.convert import Converted, convert

IDS = np.random.default_rng(1).integers(8, VOCAB, 40).tolist()
FP8 = {"quant_method": "fp8"}
CT = {"quant_method": "compressed-tensors"}  # no widths, which the shapes tell

DEEPSEEK = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "q_lora_rank": 32, "kv_lora_rank": 32,
    "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16, "num_key_value_heads": 4,
}  # fmt: skip
MATRICES = r"(q_a|q_b|kv_a|kv_b|q|k|v|o|qkv|gate|up|gate_up|down)_proj(_with_mqa)?\.weight$"
TEXT = {**COMMON, "num_hidden_layers": 2, "head_dim": 16}
PIXTRAL = {
    "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "head_dim": 16,
}  # fmt: skip


def mistral3(directory: Path) -> None:
    write(
        directory,
        transformers.Mistral3Config(text_config={**TEXT, "model_type": "mistral"}, vision_config=PIXTRAL),
    )


def deepseek(directory: Path) -> None:
    write(directory, transformers.DeepseekV3Config(**{**COMMON, **DEEPSEEK}))


def write(directory: Path, config: Any) -> None:
    torch.manual_seed(3)
    kind = (
        transformers.AutoModelForImageTextToText
        if hasattr(config, "vision_config")
        else transformers.AutoModelForCausalLM
    )
    network = kind.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(directory)
    write_tokenizer(directory)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "llama": lambda directory: write_checkpoint(directory, "llama"),
    "qwen3_moe": lambda directory: write_checkpoint(directory, "qwen3_moe"),
    "phi3": lambda directory: write_checkpoint(directory, "phi3"),
    "mistral3": mistral3,
    "deepseek_v3": deepseek,
}
"""Dense, experts in a stack, fused projections, a wrapper with a tower, and one whose `sanitize` turns a packed matrix."""

CASES: dict[str, tuple[Packing, dict[str, Any], bool]] = {
    "FP8 in blocks": (packings.fp8_blocks(48, 40), {**FP8, "weight_block_size": [48, 40]}, False),
    "MXFP8": (packings.mxfp8(), FP8, True),
    "NVFP4": (packings.nvfp4(), CT, False),
    "MXFP4": (packings.mxfp4(), CT, True),
    "INT4": (packings.integers(4, 32), CT, True),
    "INT4 with zero points": (packings.integers(4, 32, symmetric=False), CT, True),
    "INT8": (packings.integers(8, None, packed=False), CT, True),
}
"""Name → (packing, settings, whether MLX has the form)."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("plain") / name
            SOURCES[name](made[name])
        return made[name]

    return make


def logits_of(converted: Converted) -> np.ndarray:
    network = load(converted.directory, check_fit=False).network
    return np.array(network(mx.array([IDS]))[0].astype(mx.float32))


def expected(twin: Path) -> np.ndarray:
    config = transformers.AutoConfig.from_pretrained(twin)
    kind = (
        transformers.AutoModelForImageTextToText
        if hasattr(config, "vision_config")
        else transformers.AutoModelForCausalLM
    )
    network = kind.from_pretrained(twin, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return network(input_ids=torch.tensor([IDS])).logits[0].numpy()


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("architecture", SOURCES)
def test_logits_equal_transformers(
    architecture: str, case: str, plain: Callable[[str], Path], tmp_path: Path
) -> None:
    packing, settings, is_kept = CASES[case]
    pack(plain(architecture), tmp_path / "source", packing, settings, rf"^(?!.*vision).*\.{MATRICES}")
    wanted = expected(tmp_path / "source-twin")
    assert wanted.std() > 0.1
    dense = convert(tmp_path / "source", tmp_path / "dense", mode="none", dtype="float32")
    assert np.abs(logits_of(dense) - wanted).max() < 1e-4 * np.abs(wanted).max()
    made = convert(tmp_path / "source", tmp_path / "made")
    became = made.manifest.receipt["tensors"]
    kept = [words for words in became if "(kept)" in words]
    assert bool(kept) == is_kept
    if is_kept:
        assert not [words for words in became if "→ 8-bit" in words and "kept" not in words]
        assert np.abs(logits_of(made) - wanted).max() < 1e-4 * np.abs(wanted).max()
    else:
        assert [words for words in became if "→ 8-bit" in words or "→ 6-bit" in words]
        assert made.manifest.bits_per_weight < 16
        # A router may take another expert where two are close.
        close = np.abs(logits_of(made) - wanted).max(-1) < 0.1 * np.abs(wanted).max()
        assert close.mean() > 0.5


@pytest.mark.parity
def test_gpt_oss_in_the_blocks_that_it_was_published_in(tmp_path: Path) -> None:
    """Blocks [E, O, G, 16] hold [E, O, G * 32]; unpacked, transformers has them turned."""
    write_checkpoint(tmp_path / "plain", "gpt_oss")

    def packing(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        parts, meant = packings.mxfp4(("codes", "scales"))(weight.swapaxes(1, 2).contiguous())
        codes = parts["codes"].reshape(*parts["scales"].shape, 16)
        return {"blocks": codes, "scales": parts["scales"]}, meant.swapaxes(1, 2)

    settings = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    pack(tmp_path / "plain", tmp_path / "source", packing, settings, r"experts\.(gate_up|down)_proj$")
    wanted = expected(tmp_path / "source-twin")
    made = convert(tmp_path / "source", tmp_path / "made")
    assert "MXFP4 → mxfp4 group 32 (kept)" in made.manifest.receipt["tensors"]
    assert np.abs(logits_of(made) - wanted).max() < 1e-4 * np.abs(wanted).max()


def mixture(directory: Path) -> None:
    """Qwen3.5's, in a wrapper; transformers 5 saves experts one by one."""
    rope = {
        "rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.25,
        "mrope_interleaved": True,
    }  # fmt: skip
    text = {
        **TEXT, "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
        "linear_value_head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32, "rope_parameters": rope,
    }  # fmt: skip
    tower = {"depth": 1, "hidden_size": 32, "out_hidden_size": 64, "num_heads": 2, "intermediate_size": 64}
    write(directory, transformers.Qwen3_5MoeConfig(text_config=text, vision_config=tower))


@pytest.mark.parity
@pytest.mark.parametrize("block", [(48, 40), (32, 32)])
def test_experts_in_one_tensor_as_transformers_5_saves_them(block: tuple[int, int], tmp_path: Path) -> None:
    """`experts.gate_up_proj` with `gate_up_proj_scale_inv`, one grid an expert."""
    mixture(tmp_path / "apart")
    fused(tmp_path / "apart", tmp_path / "plain")

    def packing(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        each = [packings.fp8_blocks(*block)(expert) for expert in weight]
        codes, scales = ([parts[name] for parts, _ in each] for name in ("weight", "weight_scale_inv"))
        return {"": torch.stack(codes), "scale_inv": torch.stack(scales)}, torch.stack(
            [meant for _, meant in each]
        )

    settings = {**FP8, "weight_block_size": list(block)}
    assert pack(tmp_path / "plain", tmp_path / "source", packing, settings, r"experts\.(gate_up|down)_proj$")
    wanted = expected(tmp_path / "source-twin")
    dense = convert(tmp_path / "source", tmp_path / "dense", mode="none", dtype="float32")
    assert np.abs(logits_of(dense) - wanted).max() < 1e-4 * np.abs(wanted).max()
    made = convert(tmp_path / "source", tmp_path / "made", verify=False)
    assert made.manifest.receipt["tensors"]["F8_E4M3 → 8-bit group 64"] >= 8


@pytest.mark.parity
def test_packed_experts_that_have_to_be_arranged_first_stay_packed(tmp_path: Path) -> None:
    """Qwen3.5's experts that lie one by one are stacked by `zoo.weights.layout`, before `sanitize` sees them."""
    mixture(tmp_path / "plain")
    experts = r"experts\.\d+\.(gate|up|down)_proj\.weight$"
    meant = pack(tmp_path / "plain", tmp_path / "source", packings.integers(4, 32), CT, experts)
    made = convert(tmp_path / "source", tmp_path / "made")
    assert made.manifest.receipt["tensors"]["INT4 → 4-bit group 32 (kept)"] == 12
    stored: dict[str, mx.array] = dict(mx.load(str(made.directory / "model.safetensors")))  # type: ignore[arg-type]
    for name, weight in meant.items():
        block, at, part = name.split(".layers.")[1].split(".experts.")[0], *name.split(".")[-3:-1]
        (path,) = {
            each.removesuffix(".scales") for each in stored
            if f".layers.{block}." in each and each.endswith(f"switch_mlp.{part}.scales")
        }  # fmt: skip
        triple = (stored[f"{path}.{kind}"][int(at)] for kind in ("weight", "scales", "biases"))
        values = mx.dequantize(
            *(each.astype(mx.float32) if each.dtype != mx.uint32 else each for each in triple), 32, 4
        )
        np.testing.assert_array_equal(np.array(values), weight.numpy())


def fused(source: Path, target: Path) -> Path:
    """A copy of a mixture with its experts in one tensor, as transformers 5 holds them."""
    shutil.copytree(source, target)
    stored = load_file(source / "model.safetensors")
    experts: dict[str, dict[str, dict[int, torch.Tensor]]] = {}
    for name in [name for name in stored if ".experts." in name]:
        path, at, part, _ = name.rsplit(".", 3)
        experts.setdefault(path, {}).setdefault(part, {})[int(at)] = stored.pop(name)
    for path, parts in experts.items():
        gate, up, down = (
            torch.stack([parts[part][at] for at in sorted(parts[part])])
            for part in ("gate_proj", "up_proj", "down_proj")
        )
        stored[f"{path}.gate_up_proj"], stored[f"{path}.down_proj"] = torch.cat([gate, up], 1), down
    save_file(stored, target / "model.safetensors", {"format": "pt"})
    return target
