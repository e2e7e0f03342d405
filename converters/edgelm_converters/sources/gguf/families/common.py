"""Rules that many families share. Names left are llama.cpp's, right transformers'; shapes are in named lengths."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.rows import RowOrder, halves_of, in_turn
from edgelm_converters.sources.gguf.families.rule import Rule, same, split

EMBEDDING = same("token_embd.weight", "model.embed_tokens.weight", "vocab", "hidden")
NORM = same("output_norm.weight", "model.norm.weight", "hidden")
HEAD = same("output.weight", "lm_head.weight", "vocab", "hidden")
OUTER = (EMBEDDING, NORM, HEAD)

ATTENTION_NORM = same("attn_norm.weight", "input_layernorm.weight", "hidden")
FEED_FORWARD_NORM = same("ffn_norm.weight", "post_attention_layernorm.weight", "hidden")
TWO_NORMS = (ATTENTION_NORM, FEED_FORWARD_NORM)


def attention(
    q: RowOrder | None = None, k: RowOrder | None = None, output: str = "o_proj"
) -> tuple[Rule, ...]:
    """Return the rules of q, k, v and the output; `q` and `k` are orders of their rows.

    llama.cpp reads q, k and v in one tensor as well (`create_tensor_qkv`), which its converter writes by `--fuse-qkv`.
    """
    return (
        same("attn_q.weight", "self_attn.q_proj.weight", "q", "hidden", rows=q),
        same("attn_k.weight", "self_attn.k_proj.weight", "kv", "hidden", rows=k),
        same("attn_v.weight", "self_attn.v_proj.weight", "kv", "hidden"),
        split(
            "attn_qkv.weight",
            ("qkv", "hidden"),
            ("self_attn.q_proj.weight", ("q", "hidden")),
            ("self_attn.k_proj.weight", ("kv", "hidden")),
            ("self_attn.v_proj.weight", ("kv", "hidden")),
            rows=in_turn((q, "q"), (k, "kv"), (None, "kv")),
        ),
        same("attn_output.weight", f"self_attn.{output}.weight", "hidden", "q"),
    )


def attention_biases(q: RowOrder | None = None, k: RowOrder | None = None) -> tuple[Rule, ...]:
    """Return the rules of the biases of q, k and v."""
    return (
        same("attn_q.bias", "self_attn.q_proj.bias", "q", rows=q),
        same("attn_k.bias", "self_attn.k_proj.bias", "kv", rows=k),
        same("attn_v.bias", "self_attn.v_proj.bias", "kv"),
        split(
            "attn_qkv.bias",
            ("qkv",),
            ("self_attn.q_proj.bias", ("q",)),
            ("self_attn.k_proj.bias", ("kv",)),
            ("self_attn.v_proj.bias", ("kv",)),
            rows=in_turn((q, "q"), (k, "kv"), (None, "kv")),
        ),
    )


OUTPUT_BIAS = same("attn_output.bias", "self_attn.o_proj.bias", "hidden")

HEAD_NORMS = (
    same("attn_q_norm.weight", "self_attn.q_norm.weight", "head"),
    same("attn_k_norm.weight", "self_attn.k_norm.weight", "head"),
)

FEED_FORWARD = (
    same("ffn_gate.weight", "mlp.gate_proj.weight", "feed_forward", "hidden"),
    same("ffn_up.weight", "mlp.up_proj.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "mlp.down_proj.weight", "hidden", "feed_forward"),
)
FEED_FORWARD_BIASES = (
    same("ffn_gate.bias", "mlp.gate_proj.bias", "feed_forward"),
    same("ffn_up.bias", "mlp.up_proj.bias", "feed_forward"),
    same("ffn_down.bias", "mlp.down_proj.bias", "hidden"),
)


def router(network: str, bias: str | None = None) -> tuple[Rule, ...]:
    """Return the rules of what chooses experts, and of the `bias` that only the choice feels."""
    weight = same("ffn_gate_inp.weight", network, "experts", "hidden")
    return (weight, same("exp_probs_b.bias", bias, "experts")) if bias else (weight,)


def experts(network: str = "mlp.switch_mlp") -> tuple[Rule, ...]:
    """Return the rules of experts, which lie stacked in both: llama.cpp's 3-D tensors are mlx-lm's.

    Gate and up lie in one tensor where its converter was told `--fuse-gate-up-exps`.
    """
    gate, up = f"{network}.gate_proj.weight", f"{network}.up_proj.weight"
    shape = ("experts", "expert", "hidden")
    return (
        same("ffn_gate_exps.weight", gate, *shape),
        same("ffn_up_exps.weight", up, *shape),
        split(
            "ffn_gate_up_exps.weight",
            ("experts", "gate_up_expert", "hidden"),
            (gate, shape),
            (up, shape),
            rows=halves_of("experts", "expert"),
        ),
        same("ffn_down_exps.weight", f"{network}.down_proj.weight", "experts", "hidden", "expert"),
    )


def shared_expert(network: str) -> tuple[Rule, ...]:
    """Return the rules of the expert that every token passes."""
    return (
        same("ffn_gate_shexp.weight", f"{network}.gate_proj.weight", "shared", "hidden"),
        same("ffn_up_shexp.weight", f"{network}.up_proj.weight", "shared", "hidden"),
        same("ffn_down_shexp.weight", f"{network}.down_proj.weight", "hidden", "shared"),
    )


SHARED_EXPERT_GATE = same("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", 1, "hidden")


def with_biases(*rules: Rule) -> tuple[Rule, ...]:
    """Return rules of weights, each with that of its bias, which has the length of the rows."""
    found: list[Rule] = []
    for rule in rules:
        (stored,), (network,) = rule.stored, rule.network
        names = (stored.name.replace(".weight", ".bias"), network.name.replace(".weight", ".bias"))
        found += [rule, same(*names, stored.shape[0], rows=rule.rows)]
    return tuple(found)
