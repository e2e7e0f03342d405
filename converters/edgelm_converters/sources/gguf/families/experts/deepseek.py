"""DeepSeek 2 and 3, and what is built like them (Kimi, GLM 4.7 Flash): attention from a compressed latent.

The matrix that makes keys and values of the latent is stored as two, that of keys turned; older files have it whole. mlx-lm's
DeepSeek 2 wants it whole, its DeepSeek 3 in two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.families.common import (
    FEED_FORWARD,
    OUTER,
    TWO_NORMS,
    experts,
    router,
    shared_expert,
)
from edgelm_converters.sources.gguf.families.experts.glm import SIGMOID, SOFTMAX, grouped_experts
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, outer_lengths
from edgelm_converters.sources.gguf.families.rows import Sizes
from edgelm_converters.sources.gguf.families.rule import Named, Rule, same
from edgelm_converters.sources.gguf.families.values import Values
from edgelm_converters.sources.gguf.metadata import Keys


@dataclass(frozen=True, slots=True)
class LatentInTwo:
    """One matrix [heads * (nope + value), latent] as [heads, latent, nope] and [heads, value, latent]."""

    is_stored_whole: bool

    def from_gguf(self, stored: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Cut the matrix in two, or join the two, as the network has it."""
        return _cut(stored[0], sizes) if self.is_stored_whole else [_join(stored)]

    def to_gguf(self, network: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Do the other."""
        return [_join(network)] if self.is_stored_whole else _cut(network[0], sizes)


def _cut(whole: Values, sizes: Sizes) -> list[Values]:
    heads = whole.reshape(sizes["heads"], sizes["nope"] + sizes["value"], -1)
    keys, values = np.split(heads, [sizes["nope"]], axis=1)
    return [np.swapaxes(keys, 1, 2), values]


def _join(parts: Sequence[Values]) -> Values:
    keys, values = parts
    heads = np.concatenate([np.swapaxes(keys, 1, 2), values], axis=1)
    return heads.reshape(-1, heads.shape[-1])


KEYS, VALUES, WHOLE = ("heads", "latent", "nope"), ("heads", "value", "latent"), ("kv_b", "latent")
K_B, V_B, KV_B = (
    Named("attn_k_b.weight", KEYS),
    Named("attn_v_b.weight", VALUES),
    Named("attn_kv_b.weight", WHOLE),
)
IN_TWO = (
    same("attn_k_b.weight", "self_attn.embed_q.weight", *KEYS),
    same("attn_v_b.weight", "self_attn.unembed_out.weight", *VALUES),
    Rule(
        (KV_B,),
        (Named("self_attn.embed_q.weight", KEYS), Named("self_attn.unembed_out.weight", VALUES)),
        values=LatentInTwo(is_stored_whole=True),
    ),
)
AS_ONE = (
    Rule(
        (K_B, V_B), (Named("self_attn.kv_b_proj.weight", WHOLE),), values=LatentInTwo(is_stored_whole=False)
    ),
    same("attn_kv_b.weight", "self_attn.kv_b_proj.weight", *WHOLE),
)
REST = (
    *TWO_NORMS,
    same("attn_q.weight", "self_attn.q_proj.weight", "q", "hidden"),
    same("attn_q_a.weight", "self_attn.q_a_proj.weight", "q_latent", "hidden"),
    same("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", "q_latent"),
    same("attn_q_b.weight", "self_attn.q_b_proj.weight", "q", "q_latent"),
    same("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", "latent_and_rope", "hidden"),
    same("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", "latent"),
    same("attn_output.weight", "self_attn.o_proj.weight", "hidden", "output"),
    *FEED_FORWARD,
    *experts(),
    *shared_expert("mlp.shared_experts"),
)


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    """The lengths of both kinds of file: with the two matrices, heads are said by keys of their own."""
    heads, rope = keys.size("attention.head_count"), keys.size("rope.dimension_count")
    head = keys.size("attention.key_length_mla", keys.size("attention.key_length"))
    value = keys.size("attention.value_length_mla", keys.size("attention.value_length"))
    if rope >= head or rope % 2:
        raise FormatError(f"{keys.path} rotates {rope} of {head} dimensions, expected an even number below")
    latent, experts_count = keys.size("attention.kv_lora_rank"), keys.count("expert_count")
    expert = keys.size("expert_feed_forward_length")
    if experts_count and keys.size("expert_used_count") > experts_count:
        raise FormatError(f"{keys.path} uses more experts than its {experts_count}")
    return outer_lengths(keys, tensors).joined(
        heads=heads,
        head=head,
        kv_heads=heads,
        feed_forward=keys.size("feed_forward_length"),
        nope=head - rope,
        value=value,
        rope=rope,
        latent=latent,
        q_latent=keys.count("attention.q_lora_rank"),
        latent_and_rope=latent + rope,
        experts=experts_count,
        expert=expert,
        shared=keys.count("expert_shared_count") * expert,
    )


def _deepseek(config: Config, reading: Reading) -> None:
    keys, lengths = reading.keys, reading.lengths
    keys.count(
        "attention.head_count_kv"
    )  # 1 where the two matrices are stored, which counts as all heads here
    del config["head_dim"]
    config |= {
        "kv_lora_rank": lengths["latent"],
        "q_lora_rank": lengths["q_latent"] or None,
        "qk_rope_head_dim": lengths["rope"],
        "qk_nope_head_dim": lengths["nope"],
        "v_head_dim": lengths["value"],
        "moe_layer_freq": 1,
        "attention_bias": False,
    }
    scaling = config.get("rope_scaling")
    if scaling and keys.has("rope.scaling.yarn_log_multiplier"):
        # llama.cpp's converter stores a tenth of it. Its graph takes mscale to be the same, as all published models have it.
        log_multiplier = round(keys.number("rope.scaling.yarn_log_multiplier") * 10, 6)
        scaling |= {"mscale": log_multiplier, "mscale_all_dim": log_multiplier}


def _deepseek2(config: Config, reading: Reading) -> None:
    keys = reading.keys
    _deepseek(config, reading)
    config |= grouped_experts(reading, SOFTMAX)
    if config.pop("norm_topk_prob"):
        raise UnsupportedError(
            f"{keys.path} makes the weights of experts add up to one, which mlx-lm's deepseek_v2 does not"
        )
    del config["scoring_func"]
    config["topk_method"] = "group_limited_greedy" if config["n_group"] > 1 else "greedy"
    # mlx-lm's network asks for scaling; by a factor of 1 it is none.
    original = {"original_max_position_embeddings": config["max_position_embeddings"]}
    config.setdefault("rope_scaling", {"type": "yarn", "rope_type": "yarn", "factor": 1.0, **original})


def _deepseek3(config: Config, reading: Reading) -> None:
    _deepseek(config, reading)
    config |= {**grouped_experts(reading), "topk_method": "noaux_tc"}


SECOND = GGUFFamily(
    "deepseek2",
    "deepseek_v2",
    "DeepseekV2ForCausalLM",
    OUTER,
    (*REST, *AS_ONE, *router("mlp.gate.weight")),
    _deepseek2,
    _lengths,
    rotates_all=False,
)
THIRD = dataclasses.replace(
    SECOND,
    model_type="deepseek_v3",
    class_name="DeepseekV3ForCausalLM",
    block=(*REST, *IN_TWO, *router("mlp.gate.weight", "mlp.gate.e_score_correction_bias")),
    configure=_deepseek3,
)


def _version(keys: Keys) -> GGUFFamily:
    """The third weighs experts by sigmoids; first files of GLM 4.7 Flash do not say so: llama.cpp knows them by their size."""
    tokens = keys.metadata.get("tokenizer.ggml.tokens")
    size = (keys.size("block_count"), len(tokens) if isinstance(tokens, list) else 0)
    is_flash = not keys.has("expert_gating_func") and size in ((47, 154880), (48, 154880))
    return THIRD if is_flash or keys.count("expert_gating_func") == SIGMOID else SECOND


FAMILIES = (dataclasses.replace(SECOND, variant=_version, others=(THIRD,)),)
