"""InternLM2: a llama whose projections are one matrix, by groups."""

from __future__ import annotations

from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.fused.orders import BY_GROUP
from edgelm_converters.sources.gguf.families.rule import merged, same
from edgelm_converters.sources.gguf.families.settings import refuse_free_heads

OUTER = (
    same("token_embd.weight", "model.tok_embeddings.weight", "vocab", "hidden"),
    same("output_norm.weight", "model.norm.weight", "hidden"),
    same("output.weight", "output.weight", "vocab", "hidden"),
)
BLOCK = (
    same("attn_norm.weight", "attention_norm.weight", "hidden"),
    same("ffn_norm.weight", "ffn_norm.weight", "hidden"),
    merged(
        "attention.wqkv.weight",
        ("qkv", "hidden"),
        ("attn_q.weight", ("q", "hidden")),
        ("attn_k.weight", ("kv", "hidden")),
        ("attn_v.weight", ("kv", "hidden")),
        rows=BY_GROUP,
    ),
    same("attn_output.weight", "attention.wo.weight", "hidden", "q"),
    same("ffn_gate.weight", "feed_forward.w1.weight", "feed_forward", "hidden"),
    same("ffn_down.weight", "feed_forward.w2.weight", "hidden", "feed_forward"),
    same("ffn_up.weight", "feed_forward.w3.weight", "feed_forward", "hidden"),
)


def _internlm2(config: Config, reading: Reading) -> None:
    refuse_free_heads(reading)
    config["bias"] = False


FAMILIES = (GGUFFamily("internlm2", "internlm2", "InternLM2ForCausalLM", OUTER, BLOCK, _internlm2),)
