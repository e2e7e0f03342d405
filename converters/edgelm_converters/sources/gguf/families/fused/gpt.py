"""GPT-2, GPT-NeoX (Pythia) and GPT-BigCode (StarCoder): LayerNorms with biases, biases everywhere."""

from __future__ import annotations

import functools

from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.fused.orders import BY_HEAD
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, usual_lengths
from edgelm_converters.sources.gguf.families.rows import RowOrder
from edgelm_converters.sources.gguf.families.rule import Rule, same
from edgelm_converters.sources.gguf.families.settings import refuse_free_heads, rotary_share
from edgelm_converters.sources.gguf.metadata import Keys


def _with_bias(stored: str, network: str, *shape: str, rows: RowOrder | None = None) -> tuple[Rule, Rule]:
    return (
        same(f"{stored}.weight", f"{network}.weight", *shape, rows=rows),
        same(f"{stored}.bias", f"{network}.bias", shape[0], rows=rows),
    )


def _gpt2_outer(network: str) -> tuple[Rule, ...]:
    return (
        same("token_embd.weight", f"{network}wte.weight", "vocab", "hidden"),
        same("position_embd.weight", f"{network}wpe.weight", "positions", "hidden"),
        *_with_bias("output_norm", f"{network}ln_f", "hidden"),
        same("output.weight", "lm_head.weight", "vocab", "hidden"),
    )


GPT2_BLOCK = (
    *_with_bias("attn_norm", "ln_1", "hidden"),
    *_with_bias("attn_qkv", "attn.c_attn", "qkv", "hidden"),
    *_with_bias("attn_output", "attn.c_proj", "hidden", "q"),
    *_with_bias("ffn_norm", "ln_2", "hidden"),
    *_with_bias("ffn_up", "mlp.c_fc", "feed_forward", "hidden"),
    *_with_bias("ffn_down", "mlp.c_proj", "hidden", "feed_forward"),
)
NEOX_OUTER = (
    same("token_embd.weight", "gpt_neox.embed_in.weight", "vocab", "hidden"),
    *_with_bias("output_norm", "gpt_neox.final_layer_norm", "hidden"),
    same("output.weight", "embed_out.weight", "vocab", "hidden"),
)
NEOX_BLOCK = (
    *_with_bias("attn_norm", "input_layernorm", "hidden"),
    *_with_bias("attn_qkv", "attention.query_key_value", "qkv", "hidden", rows=BY_HEAD),
    *_with_bias("attn_output", "attention.dense", "hidden", "q"),
    *_with_bias("ffn_norm", "post_attention_layernorm", "hidden"),
    *_with_bias("ffn_up", "mlp.dense_h_to_4h", "feed_forward", "hidden"),
    *_with_bias("ffn_down", "mlp.dense_4h_to_h", "hidden", "feed_forward"),
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    return usual_lengths(keys, tensors).joined(positions=keys.size("context_length"))


def _gpt2(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    sizes = reading.lengths.at(0)
    for name in ("rope_theta", "head_dim", "num_key_value_heads", "intermediate_size", "num_attention_heads"):
        config.pop(name, None)
    config |= {
        "n_embd": sizes["hidden"],
        "n_head": sizes["heads"],
        "n_layer": reading.layers,
        "n_positions": sizes["positions"],
        "n_ctx": sizes["positions"],
        "n_inner": sizes["feed_forward"],
        "activation_function": "gelu_new",
        "num_key_value_heads": sizes["kv_heads"],
    }


def _bigcode(config: Config, reading: Reading) -> None:
    _gpt2(config, reading)
    sizes = reading.lengths.at(0)
    config["multi_query"] = sizes["kv_heads"] == 1
    config["activation_function"] = "gelu_pytorch_tanh"


def _neox(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    config["rotary_emb_base"] = config["rope_theta"]
    config["rotary_pct"] = config["partial_rotary_factor"] = rotary_share(reading)
    config["use_parallel_residual"] = reading.keys.flag("use_parallel_residual", True)
    # transformers' own default, which llama.cpp computes too.
    config["hidden_act"] = "gelu"


EPSILON = ("layer_norm_epsilon", "attention.layer_norm_epsilon")

FAMILIES = (
    GGUFFamily(
        "gpt2",
        "gpt2",
        "GPT2LMHeadModel",
        _gpt2_outer("model."),
        GPT2_BLOCK,
        _gpt2,
        _lengths,
        prefix="model.h.",
        norm=EPSILON,
    ),
    GGUFFamily(
        "starcoder",
        "gpt_bigcode",
        "GPTBigCodeForCausalLM",
        _gpt2_outer("transformer."),
        GPT2_BLOCK,
        _bigcode,
        _lengths,
        prefix="transformer.h.",
        norm=EPSILON,
    ),
    GGUFFamily(
        "gptneox",
        "gpt_neox",
        "GPTNeoXForCausalLM",
        NEOX_OUTER,
        NEOX_BLOCK,
        _neox,
        functools.partial(usual_lengths, rotates_all=False),
        prefix="gpt_neox.layers.",
        norm=("layer_norm_eps", "attention.layer_norm_epsilon"),
        rotates_all=False,
    ),
)
