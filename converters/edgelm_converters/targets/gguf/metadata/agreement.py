"""What a file will say of its model, read back as edgelm reads files, and held against the config it was made of.

Of the keys on offer those are kept that the family's own reader asks for. A setting that the file cannot say, and that the
network of mlx-lm reads, is refused by its name: nobody could tell afterwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm.zoo.configs.arguments import arguments_of
from edgelm.zoo.configs.normalise import normalise_config
from edgelm_converters.sources.gguf.config import INFORMATION
from edgelm_converters.sources.gguf.families.family import GGUFFamily, Reading
from edgelm_converters.sources.gguf.families.hybrid.falcon_h1 import MULTIPLIERS
from edgelm_converters.sources.gguf.families.lengths import Lengths, Tensors
from edgelm_converters.sources.gguf.families.settings import base_config
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.targets.gguf.metadata.keys import Offered
from edgelm_converters.targets.gguf.metadata.settings import ModelSettings

_WRITTEN = INFORMATION - {
    "tensor_data_layout",
    "pooling_type",
    "embedding_length_out",
    "nextn_predict_layers",
}
"""Keys that change no number here, and that llama.cpp may ask for."""
_UNSAID = frozenset({
    "model_type", "max_position_embeddings", "tie_word_embeddings", "vocab_size_per_layer_input", "architectures",
    "rope_scaling", "rope_parameters", "text_config", "sliding_window_pattern", "layer_types", "head_dim", "pad_token_id",
    "bos_token_id", "eos_token_id", "block_auto_adjust_ff_dim", "block_ff_dim", "block_multiple_of",
    "block_ffn_dim_multiplier", "attn_layer_period", "attn_layer_offset", "expert_layer_period", "expert_layer_offset",
    "topk_method", "scoring_func",
})  # fmt: skip
"""ModelSettings that are said in several ways, or compared on their own."""


_GROUPS = frozenset({"topk_group"})
_OWN_UNSAID = {
    # What `sanitize` has multiplied into the weights already.
    "falcon-h1": frozenset(MULTIPLIERS) | {"mlp_multipliers", "ssm_multipliers"},
    # The width is that of `block_ff_dim`.
    "lfm2": frozenset({"intermediate_size"}),
    # Every head has its own.
    "gptneox": frozenset({"num_key_value_heads"}),
    # The bias for the choice of experts is there or not.
    "ernie4_5-moe": frozenset({"moe_use_aux_free"}),
    # It follows from the heads.
    "mamba2": frozenset({"time_step_rank"}),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Agreed:
    """What the file says, and what edgelm makes of it."""

    keys: dict[str, Any]
    """By their full names."""
    lengths: Lengths
    config: dict[str, Any]
    """Normalised."""


def agree(
    family: GGUFFamily, offered: Offered, tensors: Tensors, config: Mapping[str, Any], source: str
) -> Agreed:
    """Choose the keys that a file of `family` has, and hold what they say against `config`.

    Args:
        tensors: the stored tensors, or stand-ins; those of rope factors can be read.
        config: normalised.
        source: for messages.

    Raises:
        UnsupportedError: a setting that the file cannot say.
        FormatError: the config lacks what the family needs.
    """
    path = Path(source)
    keys = Keys(
        {f"{family.architecture}.{key}": value for key, value in offered.items()}, family.architecture, path
    )
    lengths = family.lengths(keys, tensors)
    reading = Reading(keys, lengths, tensors)
    read = base_config(family, reading)
    family.configure(read, reading)
    told = normalise_config(read)
    _hold(told, config, family, source)
    asked = {key.removeprefix(f"{family.architecture}.") for key in keys.asked}
    kept = asked | _WRITTEN | family.ignored_keys
    return Agreed({key: value for key, value in keys.metadata.items() if _short(key) in kept}, lengths, told)


def _short(key: str) -> str:
    return key.partition(".")[2]


def _hold(told: Mapping[str, Any], config: Mapping[str, Any], family: GGUFFamily, source: str) -> None:
    ours, theirs = arguments_of(told, _text(config)), arguments_of(told, _text(told))
    for name in sorted(
        (ours.keys() & theirs.keys()) - _UNSAID - _OWN_UNSAID.get(family.architecture, frozenset())
    ):
        if name in _GROUPS and theirs.get("n_group") == ours.get("n_group") == 1:
            continue  # of one group, all are used
        if ours[name] is not None and not _same(ours[name], theirs[name]):
            raise _unsaid(source, family, name, ours[name], theirs[name])
    kinds, again = ModelSettings.of(config).get("layer_types"), ModelSettings.of(told).get("layer_types")
    if kinds is not None and again is not None and kinds != again:
        raise _unsaid(source, family, "layer_types", kinds, again)


def _unsaid(source: str, family: GGUFFamily, name: str, ours: Any, theirs: Any) -> UnsupportedError:
    return UnsupportedError(
        f"{source} has {name} {str(ours)[:80]}, and a {family.architecture} GGUF of it can only mean {str(theirs)[:80]}",
        hint="a file without it would compute something else; edgelm itself runs the model as it is",
    )


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, dict) else config


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return bool(one) == bool(other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or abs(one - other) <= 1e-6 * max(abs(one), abs(other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (not one and not other)
