"""EXAONE 3 and 3.5: a llama under GPT-2's names."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.settings import refuse_free_heads

OUTER = (
    same("token_embd.weight", "transformer.wte.weight", "vocab", "hidden"),
    same("output_norm.weight", "transformer.ln_f.weight", "hidden"),
    same("output.weight", "lm_head.weight", "vocab", "hidden"),
)
BLOCK = (
    same("attn_norm.weight", "ln_1.weight", "hidden"),
    same("ffn_norm.weight", "ln_2.weight", "hidden"),
    same("attn_q.weight", "attn.attention.q_proj.weight", "q", "hidden"),
    same("attn_k.weight", "attn.attention.k_proj.weight", "kv", "hidden"),
    same("attn_v.weight", "attn.attention.v_proj.weight", "kv", "hidden"),
    same("attn_output.weight", "attn.attention.out_proj.weight", "hidden", "q"),
    same("ffn_gate.weight", "mlp.c_fc_0.weight", "feed_forward", "hidden"),
    same("ffn_up.weight", "mlp.c_fc_1.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "mlp.c_proj.weight", "hidden", "feed_forward"),
)


def _exaone(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    config |= {"num_layers": config["num_hidden_layers"], "activation_function": "silu"}


FAMILIES = (
    GGUFFamily(
        "exaone",
        "exaone",
        "ExaoneForCausalLM",
        OUTER,
        BLOCK,
        _exaone,
        prefix="transformer.h.",
        norm=("layer_norm_epsilon", "attention.layer_norm_rms_epsilon"),
    ),
)
