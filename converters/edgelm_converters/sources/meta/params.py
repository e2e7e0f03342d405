"""Meta's `params.json` as a transformers config.

The file does not say which Llama it is for. What transformers' conversion script asks the user (the version,
`convert_llama_weights_to_hf.py`, commit 01cc9cd9 and later ones for 3.2) is therefore guessed from the
numbers, in `_context_length` and `_rope_scaling`; where the file has them, `max_seq_len` and
`rope_scaling_factor` overrule the guesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError, UnsupportedError
from edgelm.json_files import read_json

LLAMA3_VOCABULARY = 128_000
"""Llama 3 and later have at least as many tokens, Llama 1 and 2 have 32,000."""
LLAMA31_LEAST_DIM = 4096
"""The width of the 8B; the text models of Llama 3.2 have 2048 and 3072."""

_UNSUPPORTED = {
    "moe": "a mixture of experts",
    "moe_args": "a mixture of experts",
    "num_experts": "a mixture of experts",
    "vision_model": "a vision model",
    "vision_args": "a vision model",
    "vision_chunk_size": "a vision model",
    "vision_num_cross_attention_layers": "a vision model",
    "quantization_args": "an already quantized model",
    "lora_args": "a model with adapters",
    "sliding_window": "a Mistral model with sliding-window attention",
    "nope_layer_interval": "a Llama 4 model",
    "use_qk_norm": "a Llama 4 model",
}
"""Settings whose layout or mathematics differs from Llama 1 to 3.2."""


@dataclass(frozen=True, slots=True)
class Params:
    """The numbers of a dense Llama. `vocabulary_size` is None where the file leaves it to the weights."""

    dim: int
    layer_count: int
    head_count: int
    kv_head_count: int
    has_grouped_heads: bool
    """Whether the file names n_kv_heads: Llama 1 never does."""
    head_dim: int
    norm_eps: float
    vocabulary_size: int | None
    rope_theta: float | None
    scales_rope: bool
    rope_factor: float | None
    context_length: int | None


def read_params(path: Path) -> Params:
    """Read the numbers in the `params.json` at `path`.

    Raises:
        NotFoundError: there is no such file.
        FormatError: a number is missing or is not one.
        UnsupportedError: they are of a mixture of experts, a vision model or a quantized one.
    """
    values = read_json(path)
    values = values["model"] if isinstance(values.get("model"), dict) else values
    for key, what in _UNSUPPORTED.items():
        if values.get(key) not in (None, False, -1, 0):
            raise UnsupportedError(
                f"{path} sets {key}: {what}, expected a dense Llama 1 to 3.2",
                hint="look for a release of the model in the Hugging Face layout",
            )
    return _check(_Reader(values, path))


def _check(reader: _Reader) -> Params:
    dim, head_count = reader.count("dim"), reader.count("n_heads")
    given_kv = reader.optional("n_kv_heads")
    kv_head_count = reader.count("n_kv_heads") if given_kv is not None else head_count
    head_dim = reader.count("head_dim") if reader.optional("head_dim") is not None else dim // head_count
    if head_count % kv_head_count or head_dim % 2 or not head_dim:
        raise FormatError(
            f"{reader.path} has dim {dim}, n_heads {head_count} and n_kv_heads {kv_head_count}, "
            "expected whole heads of an even size, in groups of one size"
        )
    return Params(
        dim=dim,
        layer_count=reader.count("n_layers", most=1000),
        head_count=head_count,
        kv_head_count=kv_head_count,
        has_grouped_heads=given_kv is not None,
        head_dim=head_dim,
        norm_eps=reader.number("norm_eps") or 1e-5,
        vocabulary_size=reader.count("vocab_size")
        if reader.optional("vocab_size") not in (None, -1)
        else None,
        rope_theta=reader.number("rope_theta"),
        scales_rope=bool(reader.optional("use_scaled_rope")),
        rope_factor=reader.number("rope_scaling_factor"),
        context_length=reader.count("max_seq_len") if reader.optional("max_seq_len") is not None else None,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checked access to the values of `path`."""

    values: dict[str, Any]
    path: Path

    def optional(self, key: str) -> Any:
        return self.values.get(key)

    def count(self, key: str, most: int = 1 << 24) -> int:
        value = self.values.get(key)
        if type(value) is not int or not 0 < value <= most:
            raise FormatError(f"{self.path} has {key} {value!r}, expected a count of at most {most}")
        return value

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 < value < 1e12:
            raise FormatError(f"{self.path} has {key} {value!r}, expected a positive number")
        return float(value)


def make_config(
    params: Params, *, intermediate_size: int, vocabulary_size: int, is_tied: bool
) -> dict[str, Any]:
    """Make a transformers config for a Llama; the sizes come from the weights, which know better than formulas."""
    is_llama3 = vocabulary_size >= LLAMA3_VOCABULARY
    theta = params.rope_theta or (500_000.0 if is_llama3 else 10_000.0)
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": params.dim,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": params.layer_count,
        "num_attention_heads": params.head_count,
        "num_key_value_heads": params.kv_head_count,
        "head_dim": params.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": params.norm_eps,
        "vocab_size": vocabulary_size,
        "rope_theta": theta,
        "max_position_embeddings": _context_length(params, is_llama3, theta),
        "tie_word_embeddings": is_tied,
        "bos_token_id": 128_000 if is_llama3 else 1,
        # End of text, of message and of turn: base models emit only the first.
        "eos_token_id": [128_001, 128_008, 128_009] if is_llama3 else 2,
    }
    if params.scales_rope:
        config["rope_scaling"] = _rope_scaling(params, is_tied)
    return config


def _context_length(params: Params, is_llama3: bool, theta: float) -> int:
    """Positions the model was trained for, by its version, as transformers' script has them."""
    if params.context_length is not None:
        return params.context_length
    if params.scales_rope:  # 3.1 and 3.2
        return 131_072
    if is_llama3:
        return 8192
    if theta > 10_000.0:  # Code Llama
        return 16_384
    # Llama 1 has a norm_eps of 1e-6, but for its 65B in some copies; Llama 2's 70B has grouped heads.
    # The first downloads of Llama 2 7B chat said 1e-6 too (meta-llama/llama#771): taken for Llama 1.
    is_llama1 = params.norm_eps < 5e-6 or (params.layer_count == 80 and not params.has_grouped_heads)
    return 2048 if is_llama1 else 4096


def _rope_scaling(params: Params, is_tied: bool) -> dict[str, Any]:
    """Stretch by 32 for Llama 3.2, which is tied and smaller than any 3.1, and by 8 for 3.1.

    Meta's own code has 8 for both, which fails at long contexts (meta-llama/llama-models#241). Size counts
    beside tying, because a checkpoint may hold the tied output projection as a copy.
    """
    is_llama32 = is_tied or params.dim < LLAMA31_LEAST_DIM
    return {
        "rope_type": "llama3",
        "factor": params.rope_factor or (32.0 if is_llama32 else 8.0),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
