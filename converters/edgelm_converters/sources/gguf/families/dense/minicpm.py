"""MiniCPM and MiniCPM3: scaled embeddings, layers and logits.

Files from before the scales were written down mean those of the first MiniCPM, which llama.cpp has in its code; MiniCPM3's are
there alone (src/models/minicpm.cpp, minicpm3.cpp). mlx-lm scales logits only before a head of their own, so a tied one is
repeated.
"""

from __future__ import annotations

from edgelm.errors import FormatError
from edgelm_converters.sources.gguf.families.common import FEED_FORWARD, OUTER, TWO_NORMS, attention
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, outer_lengths
from edgelm_converters.sources.gguf.families.rows import permuted
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import refuse_free_heads, scaling_of
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.rope import rope_base

EMBEDDING_SCALE, DEPTH_SCALE, BASE = 12.0, 1.4, 256

LATENT = (
    *TWO_NORMS,
    *FEED_FORWARD,
    same("attn_q_a.weight", "self_attn.q_a_proj.weight", "q_rank", "hidden"),
    same("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", "q_rank"),
    same("attn_q_b.weight", "self_attn.q_b_proj.weight", "q", "q_rank"),
    same("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", "kv_rank_rotated", "hidden"),
    same("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", "kv_rank"),
    same("attn_kv_b.weight", "self_attn.kv_b_proj.weight", "kv_both", "kv_rank"),
    same("attn_output.weight", "self_attn.o_proj.weight", "hidden", "hidden"),
)


def _minicpm(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    keys, layers, hidden = reading.keys, reading.layers, config["hidden_size"]
    residual = keys.positive("residual_scale", DEPTH_SCALE / layers**0.5)
    config |= {
        "tie_word_embeddings": False,
        "scale_emb": keys.positive("embedding_scale", EMBEDDING_SCALE),
        "scale_depth": residual * layers**0.5,
        "dim_model_base": hidden / keys.positive("logit_scale", hidden / BASE),
    }


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = outer_lengths(keys, tensors)
    heads, head = keys.size("attention.head_count"), keys.size("attention.key_length")
    rotated, rank = keys.size("rope.dimension_count"), keys.size("attention.kv_lora_rank")
    if rotated >= head or lengths["hidden"] % heads:
        raise FormatError(
            f"{keys.path} rotates {rotated} of {head} dimensions of {heads} heads, expected fewer of them, "
            f"and heads that divide {lengths['hidden']}"
        )
    return lengths.joined(
        q_rank=keys.size("attention.q_lora_rank"),
        kv_rank=rank,
        kv_rank_rotated=rank + rotated,
        q=heads * head,
        kv_both=heads * (head - rotated) + lengths["hidden"],
        feed_forward=keys.size("feed_forward_length"),
    )


def _minicpm3(config: Config, reading: Reading) -> None:
    keys = reading.keys
    rotated, heads = keys.size("rope.dimension_count"), keys.size("attention.head_count")
    context = config["max_position_embeddings"]
    # mlx-lm's has this kind of scaling built in; a factor of 1 everywhere is none.
    plain = {"rope_type": "longrope", "type": "longrope", "original_max_position_embeddings": context}
    plain |= {name: [1.0] * (rotated // 2) for name in ("long_factor", "short_factor")}
    config |= {
        "rope_theta": rope_base(keys),
        "rope_scaling": scaling_of(reading, rotated) or plain,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.size("attention.head_count_kv", heads),
        "q_lora_rank": keys.size("attention.q_lora_rank"),
        "kv_lora_rank": keys.size("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": keys.size("attention.key_length") - rotated,
        "v_head_dim": config["hidden_size"] // heads,
        "attention_bias": False,
        "tie_word_embeddings": False,
        "scale_emb": EMBEDDING_SCALE,
        "scale_depth": DEPTH_SCALE,
        "dim_model_base": BASE,
    }


FAMILIES = (
    GGUFFamily(
        "minicpm",
        "minicpm",
        "MiniCPMForCausalLM",
        OUTER,
        (*TWO_NORMS, *attention(permuted("heads"), permuted("kv_heads")), *FEED_FORWARD),
        _minicpm,
        own_head=True,
    ),
    GGUFFamily(
        "minicpm3",
        "minicpm3",
        "MiniCPM3ForCausalLM",
        OUTER,
        LATENT,
        _minicpm3,
        _lengths,
        rotates_all=False,
        own_head=True,
    ),
)
