"""Which files of a model repository are needed, decided from its listing alone.

Only weights of one kind (safetensors before PyTorch before Meta before GGUF), the configuration, the
tokenizer and the chat template: never images, code, optimizer states or a second copy of the weights.
Knows nothing of the network: indexes are handed in already read.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm.units import format_bytes

WeightKind = Literal["safetensors", "pytorch", "meta", "gguf"]

CONFIG = "config.json"
INDEX_OF: dict[WeightKind, str] = {
    "safetensors": "model.safetensors.index.json",
    "pytorch": "pytorch_model.bin.index.json",
}
_SINGLE_OF: dict[WeightKind, str] = {"safetensors": "model.safetensors", "pytorch": "pytorch_model.bin"}
_PATTERN_OF: dict[WeightKind, str] = {
    "safetensors": "model*.safetensors",
    "pytorch": "pytorch_model*.bin",
    "meta": "consolidated.*.pth",
    "gguf": "*.gguf",
}
_TOKENIZERS: tuple[frozenset[str], ...] = (
    frozenset({"tokenizer.json"}),
    frozenset({"tokenizer.model"}),
    frozenset({"spiece.model"}),
    frozenset({"sentencepiece.bpe.model"}),
    frozenset({"vocab.json", "merges.txt"}),
    frozenset({"vocab.txt"}),
)
_SUPPORTING = frozenset().union(*_TOKENIZERS) | {
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "quantize_config.json",
    "quant_config.json",
}
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file as the Hub lists it."""

    size_bytes: int
    sha256: str | None = None
    """Known for files in large-file storage, which weights are."""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    repo: str
    revision: str
    """The commit."""
    files: dict[str, RemoteFile]
    licence: str | None = None
    gguf_architecture: str | None = None
    """As the Hub read it from the GGUF file."""

    def matching(self, pattern: str) -> list[str]:
        """Top-level files, in order."""
        return sorted(name for name in self.files if "/" not in name and fnmatch.fnmatchcase(name, pattern))

    def size_bytes(self, names: Iterable[str]) -> int:
        return sum(self.files[name].size_bytes for name in names)


def weight_kind(listing: Listing) -> WeightKind:
    """What the weights are stored as, the best kind first.

    Raises:
        UnsupportedError: no weights that edgelm reads.
    """
    for kind, pattern in _PATTERN_OF.items():
        if listing.matching(pattern) and (kind != "meta" or "params.json" in listing.files):
            return kind
    if "adapter_config.json" in listing.files:
        raise UnsupportedError(f"{listing.repo} is an adapter, expected a whole model")
    shown = ", ".join(sorted(listing.files)[:8]) or "nothing"
    raise UnsupportedError(
        f"{listing.repo} has no weights in safetensors, PyTorch or GGUF format; it holds {shown}"
    )


def needed_files(listing: Listing, kind: WeightKind, index: Any = None) -> list[str]:
    """Every file to download for a model of safetensors, PyTorch or Meta weights, weights last.

    Weights come last so that a directory that has them has everything.

    Args:
        index: the parsed index of the shards, where the listing has one.

    Raises:
        FormatError: no tokenizer, or shards missing from the repository.
    """
    require_tokenizer(listing)
    described = {"params.json"} if kind == "meta" else {CONFIG}
    supporting = sorted((described | _SUPPORTING) & listing.files.keys())
    weights = _weights(listing, kind, index)
    if kind in INDEX_OF and INDEX_OF[kind] in listing.files and _shards_of(index, listing, kind) == set(weights):
        supporting.append(INDEX_OF[kind])
    return supporting + weights


def require_config(listing: Listing, kind: WeightKind) -> None:
    """Refuse a repository without a configuration.

    Raises:
        FormatError: no config.json.
    """
    if kind in ("safetensors", "pytorch") and CONFIG not in listing.files:
        raise FormatError(f"{listing.repo} has no {CONFIG}, expected one beside its weights")


def require_tokenizer(listing: Listing) -> None:
    """Refuse a repository without a tokenizer that edgelm reads.

    Raises:
        FormatError: none of the known tokenizer files is there.
    """
    if not any(files <= listing.files.keys() for files in _TOKENIZERS):
        raise FormatError(f"{listing.repo} has no tokenizer, expected tokenizer.json or tokenizer.model")


def _weights(listing: Listing, kind: WeightKind, index: Any) -> list[str]:
    single = _SINGLE_OF.get(kind)
    if single in listing.files:
        return [single]
    if kind in INDEX_OF and INDEX_OF[kind] in listing.files:
        shards = _shards_of(index, listing, kind)
    else:
        shards = _all_shards(listing.matching(_PATTERN_OF[kind]))
    absent = sorted(shards - listing.files.keys())
    if absent:
        raise FormatError(
            f"{listing.repo} lacks {len(absent)} of its {len(shards)} weight files: {', '.join(absent[:3])}",
            hint="the upload may be unfinished; try another revision",
        )
    return sorted(shards)


def _shards_of(index: Any, listing: Listing, kind: WeightKind) -> set[str]:
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise FormatError(f"{INDEX_OF[kind]} of {listing.repo} has no weight_map from tensors to files")
    return set(places.values())


def _all_shards(names: Collection[str]) -> set[str]:
    """`names` and the shards that their own numbering announces."""
    found = set(names)
    for name in names:
        numbered = _SHARD.search(name)
        if numbered:
            count = min(int(numbered[2]), 10_000)
            found |= {_renumber(name, numbered, at) for at in range(1, count + 1)}
    return found


def _renumber(name: str, numbered: re.Match[str], at: int) -> str:
    return f"{name[: numbered.start(1)]}{at:05d}{name[numbered.end(1) :]}"


def choose_gguf(listing: Listing, selector: str | None) -> str:
    """The one GGUF file meant by `selector`: a file name, a quantization (`Q4_K_M`), or None for the only one.

    Raises:
        NotFoundError: several or none, listing what there is.
        UnsupportedError: a model split over several GGUF files.
    """
    names = sorted(name for name in listing.files if name.lower().endswith(".gguf"))
    models = [name for name in names if not name.rpartition("/")[2].lower().startswith("mmproj")]
    chosen = models if selector is None else [name for name in models if _is_meant(name, selector)]
    if len(chosen) != 1 and not (chosen and all(_SHARD.search(name) for name in chosen)):
        raise _not_one_gguf(listing, models, chosen, selector)
    if _SHARD.search(chosen[0]):
        raise UnsupportedError(
            f"{chosen[0]} of {listing.repo} is one part of a split GGUF file",
            hint="join the parts with llama.cpp's llama-gguf-split --merge, or choose another file",
        )
    return chosen[0]


def _is_meant(name: str, selector: str) -> bool:
    if name == selector:
        return True
    stem = name.rpartition("/")[2].lower().removesuffix(".gguf")
    # "Q4_K" must not choose Q4_K_M, nor "Q8_0" the 8_0 of another word: a whole dotted or dashed part.
    return selector.lower() in re.split(r"[.\-]", _SHARD.sub(".", stem + "."))


def _not_one_gguf(
    listing: Listing, models: list[str], chosen: list[str], selector: str | None
) -> NotFoundError:
    shown = ", ".join(
        f"{name} ({format_bytes(listing.files[name].size_bytes)})" for name in (chosen or models)[:20]
    )
    if not models:
        return NotFoundError(f"{listing.repo} has no GGUF file, expected one for {selector!r}")
    what = "has several GGUF files" if selector is None or chosen else f"has no GGUF file for {selector!r}"
    example = next((name for name in chosen or models if "q4_k_m" in name.lower()), (chosen or models)[0])
    return NotFoundError(f"{listing.repo} {what}: {shown}", hint=f"say which one: {listing.repo}/{example}")
