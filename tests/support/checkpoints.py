"""Tiny random checkpoints as transformers publishes them, made in code and seeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB = 320

COMMON: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 50_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip

YARN = {
    "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 8.0,
}  # fmt: skip

ARCHITECTURES: dict[str, tuple[type, dict[str, Any]]] = {
    "llama": (
        transformers.LlamaConfig,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 77_000.0}},
    ),
    "llama3": (transformers.LlamaConfig, {"rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True}),
    "mistral": (transformers.MistralConfig, {"head_dim": 16, "sliding_window": None}),
    "qwen2": (
        transformers.Qwen2Config,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 33_000.0}},
    ),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 32}),
    "gemma2": (transformers.Gemma2Config, {"head_dim": 16, "query_pre_attn_scalar": 16}),
    "gemma3_text": (
        transformers.Gemma3TextConfig,
        {"head_dim": 16, "query_pre_attn_scalar": 16, "num_hidden_layers": 6},
    ),
    # Layers return keys and values beside hidden states; every layer has token embeddings of its own.
    "gemma4_text": (
        transformers.Gemma4TextConfig,
        {
            "head_dim": 16,
            "global_head_dim": 32,
            "num_hidden_layers": 6,
            "num_kv_shared_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "sliding_window": 32,
            "hidden_size_per_layer_input": 32,
            "vocab_size_per_layer_input": VOCAB,
            "use_double_wide_mlp": True,
        },
    ),
    "phi3": (transformers.Phi3Config, {}),
    "yarn": (transformers.LlamaConfig, {"rope_parameters": {**YARN, "truncate": False}}),
    "yarn_scaled": (
        transformers.Qwen3Config,
        {"head_dim": 16, "rope_parameters": {**YARN, "attention_factor": 1.3}},
    ),
    "yarn_mscale": (transformers.Qwen2Config, {"rope_parameters": {**YARN, "mscale": 0.7}}),
    "mixtral": (transformers.MixtralConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_neox": (
        transformers.GPTNeoXConfig,
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0, "partial_rotary_factor": 0.5},
            "intermediate_size": 256,  # mlx-lm takes it for granted that this is 4 x hidden
        },
    ),
    "olmo2": (transformers.Olmo2Config, {}),
    "glm": (transformers.GlmConfig, {"head_dim": 16}),  # turns half of each head, which mlx-lm ignores
    "gpt_bigcode": (
        transformers.GPTBigCodeConfig,
        {"n_embd": 64, "n_head": 4, "n_layer": 3, "n_positions": 256},
    ),
    "granite": (transformers.GraniteConfig, {}),
    "apertus": (transformers.ApertusConfig, {}),
    "llama_partial": (  # transformers' Llama turns whole heads whatever this says
        transformers.LlamaConfig,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}},
    ),
    "gpt2": (transformers.GPT2Config, {"n_embd": 64, "n_head": 4, "n_layer": 3, "n_positions": 256}),
    "gpt_oss": (
        transformers.GptOssConfig,
        {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "sliding_window": 32},
    ),
    "lfm2": (transformers.Lfm2Config, {"layer_types": ["conv", "full_attention", "conv"]}),
    "exaone4": (transformers.Exaone4Config, {"num_hidden_layers": 4, "sliding_window": 32}),
    "mamba2": (transformers.Mamba2Config, {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1}),
    "starcoder2": (transformers.Starcoder2Config, {}),
    "qwen3_moe": (
        transformers.Qwen3MoeConfig,
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
}
"""Name → (config class, what differs from COMMON)."""


def make_network(architecture: str, **changes: Any) -> Any:
    """A seeded random transformers model in float32, with weights large enough that logits differ."""
    kind, own = ARCHITECTURES[architecture]
    torch.manual_seed(7)
    config = kind(**{**COMMON, **own, **changes})
    network = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.08)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def write_tokenizer(directory: Path) -> None:
    """A byte-level BPE tokenizer of VOCAB entries at most, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["the water on the mountain boils at a lower temperature"] * 4, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = (
        "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|assistant|>' }}{{ m.content }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    fast.save_pretrained(directory)


def write_checkpoint(
    directory: Path, architecture: str = "llama", *, dtype: str = "float32", **options: Any
) -> Any:
    """Publish a tiny checkpoint in `directory`; returns the transformers model it holds.

    `shard` (bytes) splits the weights; other options change the config.
    """
    shard = options.pop("shard", None)
    network = make_network(architecture, **options)
    network.to(getattr(torch, dtype)).save_pretrained(
        directory, **({"max_shard_size": shard} if shard else {})
    )
    write_tokenizer(directory)
    return network
