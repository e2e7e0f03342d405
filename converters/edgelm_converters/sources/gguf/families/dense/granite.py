"""Granite, dense and with experts: Llama's attention and four factors."""

from __future__ import annotations

import dataclasses

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.common import OUTER, TWO_NORMS, experts, router
from edgelm_converters.sources.gguf.families.dense.llama import ATTENTION, BLOCK, biases
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, expert_lengths
from edgelm_converters.sources.gguf.families.rule import merged, same
from edgelm_converters.sources.gguf.families.settings import expert_settings, refuse_free_heads
from edgelm_converters.sources.gguf.metadata import Keys

MIXTURE = (
    *ATTENTION,
    *router("block_sparse_moe.router.layer.weight"),
    *experts("block_sparse_moe.switch_mlp"),
    *TWO_NORMS,
)
SHARED = (
    merged(
        "shared_mlp.input_linear.weight",
        ("shared_gate_up", "hidden"),
        ("ffn_gate_shexp.weight", ("shared", "hidden")),
        ("ffn_up_shexp.weight", ("shared", "hidden")),
    ),
    same("ffn_down_shexp.weight", "shared_mlp.output_linear.weight", "hidden", "shared"),
)


def factors(config: Config, reading: Reading) -> None:
    """Add the factors of embeddings, attention, residuals and logits; what the file does not say changes nothing."""
    keys, head = reading.keys, reading.lengths.at(0)["head"]
    config["embedding_multiplier"] = keys.positive("embedding_scale", 1.0)
    config["residual_multiplier"] = keys.positive("residual_scale", 1.0)
    config["attention_multiplier"] = keys.positive("attention.scale", head**-0.5)
    config["logits_scaling"] = keys.positive("logit_scale")


def _granite(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    if reading.keys.raw("rope.scaling.finetuned") is False:
        raise UnsupportedError(
            f"{reading.keys.path} is a granite without positions, which mlx-lm's granite lacks"
        )
    biases(config, reading)
    factors(config, reading)


def _granitemoe(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    biases(config, reading)
    factors(config, reading)
    config |= expert_settings(
        reading, count="num_local_experts", used="num_experts_per_tok", width="intermediate_size"
    )


def _granitemoeshared(config: Config, reading: Reading) -> None:
    """Granite 4's network without a state space layer has the expert that all tokens pass, which granitemoe lacks."""
    _granitemoe(config, reading)
    config |= {
        "shared_intermediate_size": reading.lengths["shared"],
        "layer_types": ["attention"] * reading.layers,
        "position_embedding_type": "rope",
    }


def _lengths(keys: Keys, tensors: Tensors) -> Lengths:
    lengths = expert_lengths(keys, tensors)
    return lengths.joined(expert=lengths["feed_forward"] if lengths["experts"] else 0)


PLAIN = GGUFFamily("granitemoe", "granitemoe", "GraniteMoeForCausalLM", OUTER, MIXTURE, _granitemoe, _lengths)
WITH_SHARED = dataclasses.replace(
    PLAIN,
    model_type="granitemoehybrid",
    class_name="GraniteMoeHybridForCausalLM",
    block=(*MIXTURE, *SHARED),
    configure=_granitemoeshared,
)


def _kind(keys: Keys) -> GGUFFamily:
    return WITH_SHARED if keys.count("expert_shared_feed_forward_length") else PLAIN


FAMILIES = (
    GGUFFamily("granite", "granite", "GraniteForCausalLM", OUTER, BLOCK, _granite),
    dataclasses.replace(PLAIN, variant=_kind, others=(WITH_SHARED,)),
)
