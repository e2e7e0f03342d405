"""The text part of models with towers computes what transformers computes, and what is left out is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from checkpoints import COMMON, VOCAB, write_tokenizer
from transformers.models.timm_wrapper.modeling_timm_wrapper import TimmWrapperModel

from edgelm.errors import UnsupportedError
from edgelm.model.load import load
from edgelm.zoo.configs.normalise import normalise_config
from edgelm.zoo.network import build_network
from edgelm_converters.convert import convert

TEXT = {**COMMON, "num_hidden_layers": 2, "head_dim": 16}
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}  # fmt: skip
PIXTRAL = {**SIGLIP, "model_type": "pixtral", "head_dim": 16}
MROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
QWEN = {"depth": 1, "hidden_size": 32, "out_hidden_size": 64, "num_heads": 2, "intermediate_size": 64}
DELTA = {
    "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "rope_parameters": {**MROPE, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.25, "mrope_interleaved": True},
}  # fmt: skip

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GEMMA4 = {
    "num_hidden_layers": 6, "global_head_dim": 32, "num_kv_shared_layers": 2, "sliding_window": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
}  # fmt: skip

DEEPSEEK = {
    "model_type": "deepseek_v3", "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1,
    "moe_intermediate_size": 32, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "q_lora_rank": 32,
    "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16, "num_key_value_heads": 4,
}  # fmt: skip
MINIMAX = {
    "num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 32, "dense_intermediate_size": 128,
    "shared_intermediate_size": 32, "rotary_dim": 8, "mlp_layer_types": ["dense", "sparse"],
    "layer_types": ["full_attention", "minimax_m3_sparse"], "index_n_heads": 2, "index_head_dim": 16,
    "index_block_size": 8, "index_topk_blocks": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
}  # fmt: skip
GEMMA3N = {
    "num_hidden_layers": 5, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 32,
    "vocab_size_per_layer_input": VOCAB, "laurel_rank": 8, "sliding_window": 32, "altup_num_inputs": 2,
    "activation_sparsity_pattern": [0.5] * 2 + [0.0] * 3,
}  # fmt: skip
PATCHES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "pos_emb_height": 4, "pos_emb_width": 4,
}  # fmt: skip
LEFT_OUT = ("vision", "visual", "projector", "patch_merge_mlp", "audio")

FAMILIES: dict[str, Callable[[], Any]] = {
    "gemma3": lambda: transformers.Gemma3Config(
        text_config={**TEXT, "num_hidden_layers": 6, "query_pre_attn_scalar": 16, "sliding_window": 32},
        vision_config=SIGLIP, mm_tokens_per_image=4, image_token_index=5, boi_token_index=6, eoi_token_index=7,
    ),
    "gemma4": lambda: transformers.Gemma4Config(
        text_config={
            **TEXT, **GEMMA4, "hidden_size_per_layer_input": 32,
            "vocab_size_per_layer_input": VOCAB,
        },
        vision_config={k: v for k, v in SIGLIP.items() if k != "model_type"}, audio_config=None,
    ),
    "mistral3 of mistral": lambda: transformers.Mistral3Config(
        text_config={**TEXT, "model_type": "mistral"}, vision_config=PIXTRAL, image_token_index=5
    ),
    "mistral3 of ministral3": lambda: transformers.Mistral3Config(
        text_config={**TEXT, "model_type": "ministral3"}, vision_config=PIXTRAL, image_token_index=5
    ),
    "qwen2_vl": lambda: transformers.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": MROPE},
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "patch_size": 14},
    ),
    "qwen2_5_vl": lambda: transformers.Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": MROPE}, vision_config={**QWEN, "fullatt_block_indexes": [0]}
    ),
    "qwen3_vl": lambda: transformers.Qwen3VLConfig(
        text_config={**TEXT, "rope_parameters": MROPE}, vision_config={**QWEN, "deepstack_visual_indexes": [0]}
    ),
    "qwen3_5": lambda: transformers.Qwen3_5Config(text_config={**TEXT, **DELTA}, vision_config=QWEN),
    "qwen3_vl_moe": lambda: transformers.Qwen3VLMoeConfig(
        text_config={**TEXT, **MOE, "rope_parameters": MROPE},
        vision_config={**QWEN, "deepstack_visual_indexes": [0]},
    ),
    "qwen3_5_moe": lambda: transformers.Qwen3_5MoeConfig(
        text_config={**TEXT, **DELTA, **MOE, "shared_expert_intermediate_size": 32}, vision_config=QWEN
    ),
    "llama4": lambda: transformers.Llama4Config(
        text_config={
            **TEXT, "num_hidden_layers": 4, "intermediate_size": 32, "intermediate_size_mlp": 64,
            "num_local_experts": 4, "num_experts_per_tok": 1,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 14, "vision_output_dim": 32, "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
    ),
    "lfm2_vl": lambda: transformers.Lfm2VlConfig(
        text_config={**TEXT, "model_type": "lfm2", "num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2},
        vision_config={**SIGLIP, "model_type": "siglip2_vision_model"},
    ),
    "llava of mistral": lambda: transformers.LlavaConfig(
        text_config={**TEXT, "model_type": "mistral"}, vision_config=PIXTRAL
    ),
    "llava of llama": lambda: transformers.LlavaConfig(
        text_config={**TEXT, "model_type": "llama"}, vision_config={**SIGLIP, "model_type": "clip_vision_model"}
    ),
    "kimi_k25": lambda: transformers.Kimi_K25Config(
        text_config={**{k: v for k, v in TEXT.items() if k != "head_dim"}, **DEEPSEEK}, vision_config=PATCHES,
        projection_hidden_size=32, tie_word_embeddings=False,
    ),
    "minimax_m3_vl": lambda: transformers.MiniMaxM3VLConfig(
        text_config={**TEXT, **MINIMAX}, vision_config={k: v for k, v in SIGLIP.items() if k != "model_type"},
        projector_hidden_size=64,
    ),
    "muse_glimmer": lambda: transformers.MuseGlimmerConfig(
        text_config={**TEXT, "num_hidden_layers": 4, "sliding_window": 32}, vision_config=PATCHES,
        out_hidden_size=128, projector_hidden_size=32,
    ),
    "gemma3n": lambda: transformers.Gemma3nConfig(
        text_config={**TEXT, **GEMMA3N}, vision_config={"vocab_offset": VOCAB},
        audio_config={"hidden_size": 32, "conf_num_attention_heads": 2, "conf_num_hidden_layers": 1},
    ),
}  # fmt: skip


@pytest.fixture
def no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma 3n's tower is one of timm's, which need not be there: one matrix stands for it."""

    def stand_in(self: Any, config: Any) -> None:
        super(TimmWrapperModel, self).__init__(config)
        self.timm_model = torch.nn.Linear(2, 2)
        self.post_init()

    monkeypatch.setattr(TimmWrapperModel, "__init__", stand_in)


@pytest.mark.parity
@pytest.mark.usefixtures("no_timm")
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_text_equal_transformers(family: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = transformers.AutoModelForImageTextToText.from_config(
        FAMILIES[family](), attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(tmp_path / "source")
    write_tokenizer(tmp_path / "source")
    ids = np.random.default_rng(1).integers(8, VOCAB, 60).tolist()
    with torch.no_grad():
        # transformers 5.24's Llama 4 needs an image for its whole forward.
        whole = network.language_model if family == "llama4" else network
        expected = whole(input_ids=torch.tensor([ids])).logits[0].numpy()
    made = convert(tmp_path / "source", tmp_path / "made", mode="none", dtype="float32")
    for directory in (tmp_path / "source", made.directory):
        got = np.array(load(directory, check_fit=False).network(mx.array([ids]))[0])
        assert np.abs(got - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())
    assert expected.std() > 0.1
    dropped = made.manifest.receipt["dropped"]
    assert dropped
    assert all(any(part in name for part in LEFT_OUT) for name in dropped)


@pytest.mark.parametrize(
    ("outer", "inner"), [("mistral3", "qwen2"), ("llava", "gemma"), ("llava", "phi3"), ("pixtral", "qwen3")]
)
def test_a_text_model_that_would_be_taken_for_a_llama_is_refused(
    outer: str, inner: str, tmp_path: Path
) -> None:
    config = {"model_type": outer, "text_config": {**TEXT, "model_type": inner}}
    with pytest.raises(
        UnsupportedError, match=f"mlx-lm's {outer} runs text models of .*, and this one is {inner}"
    ):
        build_network(normalise_config(config), tmp_path)
