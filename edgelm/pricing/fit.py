"""Will it run: weights, KV cache and workspace of a model, against what the device can give.

Everything is counted from config.json and the headers of the weights; nothing is loaded. What cannot be
counted is None and named in `Fit.unknown`, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm import device as devices
from edgelm.errors import FitError
from edgelm.pricing.chunks import SMALLEST_CHUNK, chunks_for, halved
from edgelm.pricing.shapes import attention_heads, count_in, feed_forward_width, hidden_width
from edgelm.pricing.verdict import Verdict, longest_within, verdict_of
from edgelm.pricing.weight_bytes import Headers, WeightBytes, price_weights
from edgelm.units import count, format_bytes
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.caches.shape import CacheShape, trace_cache
from edgelm.zoo.configs.normalise import context_length
from edgelm.zoo.network import build_network
from edgelm.zoo.weights.files import read_headers
from edgelm.zoo.weights.head import settled_config

_AS_COMPUTED = CacheSettings()

DEFAULT_CONTEXT_TOKENS = 4096
"""What a model must have room for, where nothing else is asked and it can do as much."""

_MAX_CONTEXT_TOKENS = 1 << 24

# Head widths for which MLX's Metal attention never writes out the scores of a prompt (mlx 0.32.2 and later; 96 by mlx #3943, 72
# by #4330; 192 and 256 only by `force_fused`, which mlx-lm does not ask for).
_METAL_FUSED_WIDTHS = (64, 72, 80, 96, 128)

# cuDNN's: multiples of 8 up to this, in half precision.
_CUDA_WIDEST_FUSED = 128

# Architectures of mlx-lm whose attention is matrix products and a softmax, and config keys that make it so: scores with
# a cap, and latent attention, which adds the scores of the positions as a mask of their size.
_WRITES_SCORES = ("gemma2", "olmo", "phi3small")
_WRITES_SCORES_KEYS = ("attn_logit_softcapping", "kv_lora_rank")

# Of a llama's chunk, measured on MLX's CPU backend with 4 to 8 layers (mx.get_peak_memory): the live arrays
# of one layer come to 14 to 15 of its width and 2.1 of its feed-forward width.
_LIVE_WIDTHS = 16
_LIVE_FEED_FORWARD_WIDTHS = 2.5


@dataclass(frozen=True)
class Fit:
    """The account: bytes, tokens and a verdict."""

    weights_bytes: int
    read_bytes_per_token: int | None
    """Bytes of weights that are read to decode one token."""
    is_dequantized: bool
    """Quantized weights will be unpacked to float32 (MLX's CPU backend)."""
    kv_bytes_per_token: int | None
    """That each token adds to the cache once every sliding window is full; 0 where all state is bounded."""
    kv_bytes: int | None
    """The cache with `context_tokens` in it."""
    workspace_bytes: int | None
    """Peak of what a chunk of the prompt computes, at the end of the context."""
    chunk_tokens: int
    """Prompt tokens computed at once: as many as the device bears and the budget allows, 32 at least."""
    budget_bytes: int
    """What the device can safely give."""
    context_tokens: int
    verdict: Verdict
    max_context: int | None
    """The longest context within the budget, and within what the model was trained for."""
    unknown: tuple[str, ...] = ()
    """What is missing from the sum."""

    @property
    def total_bytes(self) -> int:
        """All that is known of."""
        return self.weights_bytes + (self.kv_bytes or 0) + (self.workspace_bytes or 0)


def check_fit(
    directory: Path,
    config: dict[str, Any],
    device: devices.Device,
    *,
    context: int | None = None,
    kind: CacheSettings = _AS_COMPUTED,
) -> Fit:
    """Price the model in `directory` on `device`.

    Args:
        config: its normalised config.json.
        context: tokens to make room for; None takes 4096, or the model's own context if that is shorter.
        kind: how its cache is kept.

    Raises:
        NotFoundError: there are no weights.
        FormatError: a header is broken, or the config lacks what the architecture needs.
        UnsupportedError: mlx-lm cannot run the architecture.
    """
    headers = read_headers(directory)
    config = settled_config(config, headers, directory)
    return price(headers, trace(config, directory), config, device, context=context, kind=kind)


def require_fit(
    directory: Path,
    config: dict[str, Any],
    device: devices.Device,
    *,
    context: int | None = None,
    kind: CacheSettings = _AS_COMPUTED,
) -> Fit:
    """Price the model as `check_fit` does, and refuse it where it does not fit.

    Raises:
        FitError: it does not fit; the message has the numbers and the hint a way out.
    """
    fit = check_fit(directory, config, device, context=context, kind=kind)
    if fit.verdict == "does not fit":
        raise FitError(_account(directory, fit, device), hint=_way_out(fit, device))
    return fit


def trace(config: dict[str, Any], directory: Path) -> CacheShape | None:
    """Trace the cache that the architecture of a normalised config makes; None where it cannot be told.

    Raises:
        FormatError: the config lacks what the architecture needs.
        UnsupportedError: mlx-lm cannot run the architecture.
    """
    return trace_cache(build_network(config, directory))


def price(
    headers: Headers,
    cache: CacheShape | None,
    config: Mapping[str, Any],
    device: devices.Device,
    *,
    context: int | None = None,
    kind: CacheSettings = _AS_COMPUTED,
) -> Fit:
    """Price tensors that need not exist, such as those a conversion would write; see `check_fit`."""
    trained = context_length(dict(config))
    usual = min(trained or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    tokens = usual if context is None else context
    return account_of(headers, cache, config, device, kind).at(tokens, trained)


def account_of(
    headers: Headers,
    cache: CacheShape | None,
    config: Mapping[str, Any],
    device: devices.Device,
    kind: CacheSettings = _AS_COMPUTED,
) -> Account:
    """Return the parts of the sum for one model on one device; see `price`."""
    return Account(price_weights(headers, config, device), cache, config, device, kind)


def decode_roof_tokens_per_s(
    fit: Fit, bandwidth_bytes_per_s: float | None, *, depth: int = 0
) -> float | None:
    """Return the tokens per second that no decoder can exceed: memory bandwidth over bytes read per token.

    Args:
        bandwidth_bytes_per_s: of the memory that weights are read from; None if not known.
        depth: tokens in the cache, which are read too.

    Returns:
        None where the bandwidth or the bytes are not known. Published decode speeds on Apple silicon
        reach about half to three quarters of it.
    """
    if bandwidth_bytes_per_s is None or fit.read_bytes_per_token is None:
        return None
    return bandwidth_bytes_per_s / (fit.read_bytes_per_token + depth * (fit.kv_bytes_per_token or 0))


@dataclass(frozen=True, slots=True)
class Account:
    """The parts of the sum, as functions of the context."""

    weights: WeightBytes
    cache: CacheShape | None
    config: Mapping[str, Any]
    device: devices.Device
    kind: CacheSettings = _AS_COMPUTED

    def at(self, tokens: int, trained: int | None) -> Fit:
        """Return the whole account of a context of `tokens`; `trained` is the context that the model was trained for."""
        chunk = self.chunk_at(tokens)
        workspace = self.workspace_bytes(tokens, chunk)
        parts = {"KV cache": self.cache, "workspace": workspace}
        return Fit(
            weights_bytes=self.weights.loaded_bytes,
            read_bytes_per_token=self.weights.read_bytes_per_token,
            is_dequantized=self.weights.is_dequantized,
            kv_bytes_per_token=self._growth_bytes(),
            kv_bytes=self.kv_bytes(tokens) if self.cache else None,
            workspace_bytes=workspace,
            chunk_tokens=chunk,
            budget_bytes=devices.memory_budget_bytes(self.device),
            context_tokens=tokens,
            verdict=self.verdict(tokens),
            max_context=self.max_context(trained),
            unknown=tuple(name for name, part in parts.items() if part is None),
        )

    def verdict(self, tokens: int) -> Verdict:
        """Return whether a prompt of `tokens` fits, in chunks as long as the budget allows."""
        budget = devices.memory_budget_bytes(self.device)
        return verdict_of(
            self.total_bytes(tokens, self.chunk_at(tokens)), budget, self.device.available_bytes
        )

    def max_context(self, trained: int | None) -> int | None:
        """Find the longest context by bisection, since the sum grows with it. None where its growth is not known."""
        if self.cache is None:
            return None
        budget = devices.memory_budget_bytes(self.device)
        longest = longest_within(
            lambda tokens: self.total_bytes(tokens, SMALLEST_CHUNK), budget, trained or _MAX_CONTEXT_TOKENS
        )
        return longest if longest < _MAX_CONTEXT_TOKENS else None

    def chunk_at(self, tokens: int) -> int:
        """Return the prompt tokens to compute at once in a prompt of `tokens`: as the runtime takes them, 32 at least."""
        budget = devices.memory_budget_bytes(self.device)
        sizes = list(halved(chunks_for(self.device, attention_heads(self.config)).near))
        return next((size for size in sizes if self.total_bytes(tokens, size) <= budget), sizes[-1])

    def total_bytes(self, tokens: int, chunk: int) -> int:
        """Return the bytes of weights, cache and workspace for a prompt of `tokens`, computed `chunk` at a time."""
        return self.weights.loaded_bytes + self.kv_bytes(tokens) + (self.workspace_bytes(tokens, chunk) or 0)

    def kv_bytes(self, tokens: int) -> int:
        """Return the bytes of a KV cache of `tokens`; 0 where its shape is not known."""
        if self.cache is None:
            return 0
        whole = self._bytes(self.cache.elements_at(self.kind.kept(tokens)))
        return int(whole * self.kind.share(self.weights.float_bytes))

    def _growth_bytes(self) -> int | None:
        if self.cache is None:
            return None
        if self.kind.max_context is not None:
            return 0
        whole = self._bytes(self.cache.growing_elements_per_token)
        return int(whole * self.kind.share(self.weights.float_bytes))

    def workspace_bytes(self, tokens: int, chunk: int) -> int | None:
        """Return the bytes of one layer's live arrays over one chunk, its scores, and its cache copied as it grows.

        mlx-lm's quantized caches multiply packed rows, and no fused attention takes those: the scores of a chunk,
        heads × chunk × tokens, are written out on every device, in the type of the queries.
        """
        tokens = self.kind.seen(tokens, chunk)
        width = hidden_width(self.config)
        heads = attention_heads(self.config)
        if width is None:
            return None
        chunk = min(tokens, chunk)
        live = _LIVE_WIDTHS * width + _LIVE_FEED_FORWARD_WIDTHS * feed_forward_width(self.config, width)
        is_fused = self._is_fused(width, heads or 1) and self.kind.kv_bits is None
        scores = 0 if is_fused else (heads or 1) * tokens
        copied = self.cache.largest_layer_elements_per_token * tokens if self.cache else 0
        return self._bytes(int(chunk * (live + scores)) + copied)

    def _is_fused(self, width: int, heads: int) -> bool:
        """Whether MLX's attention over a prompt never writes out its scores, which are then heads × chunk × tokens."""
        model_type, text = self.config.get("model_type"), self.config.get("text_config")
        parts = [part for part in (text, self.config) if isinstance(part, Mapping)]
        if model_type in _WRITES_SCORES or any(
            part.get(key) for part in parts for key in _WRITES_SCORES_KEYS
        ):
            return False
        head_width = count_in(self.config, "head_dim") or width // heads
        if self.device.backend == "cuda":
            is_half = self.weights.float_bytes == 2
            return is_half and head_width % 8 == 0 and head_width <= _CUDA_WIDEST_FUSED
        return self.device.backend == "metal" and head_width in _METAL_FUSED_WIDTHS

    def _bytes(self, elements: int) -> int:
        return elements * self.weights.float_bytes


def _account(directory: Path, fit: Fit, device: devices.Device) -> str:
    unpacked = " as float32" if device.backend == "cpu" else ""
    parts = [f"weights {format_bytes(fit.weights_bytes)}{unpacked}"]
    if fit.kv_bytes is not None:
        parts.append(f"KV cache {format_bytes(fit.kv_bytes)} for {count(fit.context_tokens, 'token')}")
    if fit.workspace_bytes is not None:
        parts.append(f"workspace {format_bytes(fit.workspace_bytes)}")
    return (
        f"{directory.name} needs {format_bytes(fit.total_bytes)} ({', '.join(parts)}), but"
        f" {format_bytes(fit.budget_bytes)} is safe to use here ({device.chip},"
        f" {format_bytes(device.memory_bytes)} in all)"
    )


def _way_out(fit: Fit, device: devices.Device) -> str:
    """What to do instead; a longest context is one that fits as the cache is kept now."""
    if fit.max_context:
        way = f"ask for a context of at most {count(fit.max_context, 'token')}"
    elif device.backend == "cpu":
        way = "choose a smaller model, close other programs"
    else:
        way = "convert it to fewer bits, choose a smaller model"
    return f"{way}, or go on at your own risk with --no-fit-check"
