"""What the configs of families have in common, and readers for what several of them have.

llama.cpp keeps some of it in its code rather than in the file; a family's module says so.
"""

from __future__ import annotations

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.families.family import Config, GGUFFamily, Reading
from edgelm_converters.sources.gguf.rope import Factors, rope_base, rope_scaling
from edgelm_converters.sources.gguf.tensors import read_vector


def base_config(family: GGUFFamily, reading: Reading) -> Config:
    """Return the settings that every family has.

    Raises:
        FormatError: a required key is missing or holds nonsense.
        UnsupportedError: rope scaling that edgelm does not know.
    """
    keys, lengths = reading.keys, reading.lengths
    sizes = lengths.at(0)
    config: Config = {
        "architectures": [family.class_name],
        "model_type": family.model_type,
        "hidden_size": sizes["hidden"],
        "num_hidden_layers": lengths.layers,
        "vocab_size": sizes["vocab"],
        "max_position_embeddings": keys.size("context_length"),
        "tie_word_embeddings": not reading.has("output.weight"),
        "torch_dtype": "float16",
    }
    named = {
        "intermediate_size": "feed_forward",
        "num_attention_heads": "heads",
        "num_key_value_heads": "kv_heads",
        "head_dim": "head",
    }
    config |= {name: sizes[length] for name, length in named.items() if length in sizes}
    config[family.norm[0]] = keys.positive(family.norm[1])
    if "head" in sizes and family.common_rope:
        config["rope_theta"] = rope_base(keys)
        scaling = _scaling(family, reading)
        if scaling is not None:
            config["rope_scaling"] = scaling
    return config


def _scaling(family: GGUFFamily, reading: Reading) -> Config | None:
    keys, head = reading.keys, reading.lengths.at(0)["head"]
    dims = keys.size("rope.dimension_count", head)
    if dims != head and family.rotates_all:
        raise UnsupportedError(f"{keys.path} rotates {dims} of {head} dimensions, expected all of them")
    return scaling_of(reading, dims)


def scaling_of(reading: Reading, dims: int) -> Config | None:
    """Read how positions of `dims` rotated dimensions are scaled; None where they are not.

    Raises:
        FormatError: a key is missing or holds nonsense, or factors are of another number of dimensions.
        UnsupportedError: rope scaling that edgelm does not know.
    """
    keys = reading.keys

    def read_factors(name: str) -> Factors | None:
        tensor = reading.tensors.get(name)
        if tensor is not None and tensor.shape != (dims // 2,):
            raise FormatError(f"{keys.path}: {name!r} has shape {tensor.shape}, expected {(dims // 2,)}")
        return read_vector(tensor) if tensor is not None else None

    return rope_scaling(keys, dims, read_factors)


def wrap(config: Config, model_type: str, class_name: str) -> None:
    """Make `config` that of a wrapper whose text model is what it was of."""
    text = {name: value for name, value in config.items() if name not in ("architectures", "torch_dtype")}
    config.clear()
    config |= {
        "architectures": [class_name],
        "model_type": model_type,
        "text_config": text,
        "tie_word_embeddings": text["tie_word_embeddings"],
        "torch_dtype": "float16",
    }


def rotary_share(reading: Reading) -> float:
    """Read which part of each head is rotated.

    Raises:
        FormatError: more than a whole one, or an odd number of dimensions.
    """
    head = reading.lengths.at(0)["head"]
    dims = reading.keys.size("rope.dimension_count", head)
    if dims > head or dims % 2:
        raise FormatError(
            f"{reading.keys.path} rotates {dims} of {head} dimensions, expected an even number up to all"
        )
    return dims / head


def layer_types(flags: list[bool]) -> list[str]:
    """Return what transformers calls layers: those of `flags` see a window."""
    return ["sliding_attention" if is_sliding else "full_attention" for is_sliding in flags]


def windowed_layers(
    reading: Reading, period: int, key: str = "attention.sliding_window_pattern"
) -> list[bool]:
    """Read which layers see a window: a flag for each, or every how many layers one sees everything.

    Args:
        period: what llama.cpp takes where the file says nothing; all but every n-th layer see a window.
    """
    said = reading.keys.flags_or_period(key, reading.layers, period)
    if isinstance(said, list):
        return said
    return [bool((layer + 1) % said) for layer in range(reading.layers)]


def refuse_other_base(reading: Reading) -> None:
    """Refuse layers with windows that have a rotation of their own, where the network has one for all.

    Raises:
        UnsupportedError: they have.
    """
    keys, base = reading.keys, rope_base(reading.keys)
    if keys.positive("rope.freq_base_swa", base) != base:
        raise UnsupportedError(
            f"{keys.path} has a rope.freq_base_swa other than its rope.freq_base of {base}"
        )


def refuse_free_heads(reading: Reading) -> None:
    """Refuse heads that do not add up to the hidden size, where the network cannot have others.

    Raises:
        UnsupportedError: they do not.
    """
    keys, sizes = reading.keys, reading.lengths.at(0)
    if sizes["q"] != sizes["hidden"]:
        raise UnsupportedError(
            f"{keys.path} has {sizes['heads']} heads of {sizes['head']}, "
            f"expected them to add up to {sizes['hidden']} in a {keys.architecture} model"
        )


def expert_settings(reading: Reading, **names: str) -> Config:
    """Return counts and widths of experts under the names that a family has for them.

    Args:
        names: "count", "used", "width", "shared": the config's name for each that it has.

    Raises:
        FormatError: the file has no experts.
    """
    keys, sizes = reading.keys, reading.lengths.at(0)
    if not sizes.get("experts"):
        raise FormatError(f"{keys.path} has no {keys.architecture}.expert_count, expected experts")
    found = {
        "count": sizes["experts"],
        "used": keys.size("expert_used_count"),
        "width": sizes["expert"],
        "shared": sizes["shared"],
    }
    return {config: found[name] for name, config in names.items()}
