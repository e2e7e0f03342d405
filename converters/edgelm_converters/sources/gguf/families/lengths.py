"""Named lengths of a network, from metadata: what the tables give shapes in.

Every tensor's shape is held against them before anything is read, so that no count in a header is believed alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.reader import StoredTensor

Tensors = Mapping[str, StoredTensor]

PARTS = {
    "q": {"heads", "head"},
    "kv": {"kv_heads", "head"},
    "qkv": {"heads", "kv_heads", "head"},
    "kv_b": {"heads", "nope", "value"},
}
"""Lengths that follow from others: a tensor that has one holds those to what they say."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths by name; those that differ by layer have one for each."""

    layers: int
    """Layers of the network; blocks behind them predict further tokens and are left out."""
    fixed: Mapping[str, int]
    by_layer: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        """Return a length that all layers share."""
        return self.at(None)[name]

    def get(self, name: str, default: int = 0) -> int:
        """Return a length that all layers share, `default` where the family has none of that name."""
        return self.at(None).get(name, default)

    def at(self, layer: int | None) -> dict[str, int]:
        """Return all lengths in a layer, or outside of layers, with those that follow from others."""
        own = {} if layer is None else {name: values[layer] for name, values in self.by_layer.items()}
        sizes = {**self.fixed, **own}
        heads, kv_heads, head = (sizes.get(name, 0) for name in ("heads", "kv_heads", "head"))
        q, kv = heads * head, kv_heads * head
        nope, value = sizes.get("nope", 0), sizes.get("value", 0)
        latent = {"kv_b": heads * (nope + value), "output": heads * value} if nope else {}
        widths = {"gate_up": "feed_forward", "gate_up_expert": "expert", "shared_gate_up": "shared"}
        doubled = {name: 2 * sizes.get(width, 0) for name, width in widths.items()}
        return {"q": q, "kv": kv, "qkv": q + 2 * kv, **latent, **doubled, **sizes}

    def joined(self, **more: int | tuple[int, ...]) -> Lengths:
        """Return these and `more` lengths; a tuple has one for each layer."""
        fixed = {name: value for name, value in more.items() if isinstance(value, int)}
        by_layer = {name: value for name, value in more.items() if not isinstance(value, int)}
        kept = {name: value for name, value in self.fixed.items() if name not in by_layer}
        return Lengths(self.layers, {**kept, **fixed}, {**self.by_layer, **by_layer})


def usual_lengths(keys: Keys, tensors: Tensors, *, rotates_all: bool = True) -> Lengths:
    """Read the lengths of attention and a feed-forward block; the vocabulary is as long as the embedding table.

    Args:
        rotates_all: the family rotates whole heads, so that an older file may have their width only as what is rotated.

    Raises:
        FormatError: a size is missing, impossible, or there is no embedding table.
        UnsupportedError: keys and values of different widths.
    """
    head = _head(keys, rotates_all)
    if keys.size("attention.value_length", head) != head:
        raise UnsupportedError(f"{keys.path} has values of another width than its keys ({head})")
    if head % 2:
        raise FormatError(f"{keys.path} has heads of {head} dimensions, expected an even number")
    heads = keys.size("attention.head_count")
    kv_heads = keys.size("attention.head_count_kv", heads)
    if heads % kv_heads:
        raise FormatError(f"{keys.path} has {heads} attention heads, expected a multiple of {kv_heads}")
    width = keys.size("feed_forward_length")
    return outer_lengths(keys, tensors).joined(heads=heads, kv_heads=kv_heads, head=head, feed_forward=width)


def outer_lengths(keys: Keys, tensors: Tensors) -> Lengths:
    """Read what every network has: layers, hidden size and vocabulary.

    Raises:
        FormatError: a size is missing, impossible, or there is no embedding table.
    """
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise FormatError(f"{keys.path} has no tensor 'token_embd.weight' of two dimensions")
    layers = keys.size("block_count") - keys.count("nextn_predict_layers")
    if layers < 1:
        raise FormatError(f"{keys.path} has no layers beside those that predict further tokens")
    hidden = keys.size("embedding_length")
    return Lengths(layers, {"hidden": hidden, "vocab": embedding.shape[0]})


def expert_lengths(keys: Keys, tensors: Tensors, *, rotates_all: bool = True) -> Lengths:
    """Read `usual_lengths`, and "experts", the width of one, and of what all tokens pass ("shared", 0 for none).

    Raises:
        FormatError: besides those of `usual_lengths`: more experts are used than there are.
    """
    lengths = usual_lengths(keys, tensors, rotates_all=rotates_all)
    experts = keys.count("expert_count")
    if not experts:
        return lengths.joined(experts=0, expert=0, shared=0)
    used = keys.size("expert_used_count")
    if used > experts:
        raise FormatError(f"{keys.path} uses {used} experts, expected at most {experts} (expert_count)")
    expert = keys.size("expert_feed_forward_length", lengths["feed_forward"])
    shared = keys.count("expert_shared_feed_forward_length") or keys.count("expert_shared_count") * expert
    return lengths.joined(experts=experts, expert=expert, shared=shared)


def _head(keys: Keys, rotates_all: bool) -> int:
    share = keys.size("embedding_length") // keys.size("attention.head_count") or 1
    return keys.size(
        "attention.key_length", keys.size("rope.dimension_count", share) if rotates_all else share
    )
