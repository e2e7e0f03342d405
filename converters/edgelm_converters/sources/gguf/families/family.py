"""A family of models as data: what it is called, the rules of its tensors, its lengths and its config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors, usual_lengths
from edgelm_converters.sources.gguf.families.rule import Rule
from edgelm_converters.sources.gguf.metadata import Keys

Config = dict[str, Any]

RMS_NORM = ("rms_norm_eps", "attention.layer_norm_rms_epsilon")
LAYER_NORM = ("layer_norm_eps", "attention.layer_norm_epsilon")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says of its model: the source of a config."""

    keys: Keys
    lengths: Lengths
    tensors: Tensors

    @property
    def layers(self) -> int:
        """Layers of the network."""
        return self.lengths.layers

    def has(self, tensor: str) -> bool:
        """Tell whether the file has the tensor of that name."""
        return tensor in self.tensors

    def has_in_any_layer(self, rest: str) -> bool:
        """Tell whether any layer has a tensor "blk.N.`rest`"."""
        return any(f"blk.{layer}.{rest}" in self.tensors for layer in range(self.layers))


@dataclass(frozen=True, slots=True)
class GGUFFamily:
    """Files of one `general.architecture`."""

    architecture: str
    """llama.cpp's name."""
    model_type: str
    """transformers' name; `configure` may set another."""
    class_name: str
    outer: tuple[Rule, ...]
    """Tensors outside of layers."""
    block: tuple[Rule, ...]
    """Tensors of a layer, without "blk.N." and `prefix`."""
    configure: Callable[[Config, Reading], None]
    """Adds to a config what the family has beside the common settings, or changes those."""
    lengths: Callable[[Keys, Tensors], Lengths] = usual_lengths
    prefix: str = "model.layers."
    """What comes before the number of a layer in the network's names."""
    norm: tuple[str, str] = RMS_NORM
    """The config's name of what is added in norms, and the file's."""
    rotates_all: bool = True
    """Whole heads are rotated; else `configure` says how much of them is."""
    common_rope: bool = True
    """Positions are said by the keys that most families have; else `configure` reads them."""
    own_head: bool = False
    """The network gets a head of its own where the file has none: mlx-lm's code does not scale the logits of a tied one."""
    ignored_keys: frozenset[str] = frozenset()
    """Keys that say what is known anyway, beside those that every family may have."""
    ignored_tensors: frozenset[str] = frozenset()
    """Tensors of a layer that the network has no use for, without "blk.N."."""
    scalars: Callable[[Reading], dict[str, float]] | None = None
    """Tensors of one value that the file has in its metadata, by the network's name."""
    variant: Callable[[Keys], GGUFFamily] | None = None
    """Tells which of several families of this architecture a file is of: this one, or one of `others`."""
    others: tuple[GGUFFamily, ...] = ()

    @property
    def has_experts(self) -> bool:
        """Whether the family has mixtures of experts."""
        return any("experts" in tensor.shape for rule in self.block for tensor in rule.stored)
