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
from edgelm.zoo.weights.choice import NAMING, Choice, SplitKind, choose, kind_of

WeightKind = Literal["safetensors", "pytorch", "meta", "gguf"]

CONFIG = "config.json"
INDEX_OF: dict[WeightKind, str] = {kind: naming.index for kind, naming in NAMING.items()}
_META = "consolidated.*.pth"
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
_TEMPLATE = re.compile(r"additional_chat_templates/\w[\w.-]*\.jinja")
"""Named templates beside the default one, as transformers saves them."""
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

    def top_level(self) -> list[str]:
        """List the files that are in no folder and not hidden, in order."""
        return sorted(name for name in self.files if "/" not in name and not name.startswith("."))

    def matching(self, pattern: str) -> list[str]:
        """List the files of the top level that match."""
        return [name for name in self.top_level() if fnmatch.fnmatchcase(name, pattern)]

    def size_bytes(self, names: Iterable[str]) -> int:
        """Return the size of `files` together."""
        return sum(self.files[name].size_bytes for name in names)


def may_name_weights(listing: Listing) -> bool:
    """Return whether the configuration has to be asked which file or index is the model's (`transformers_weights`)."""
    return CONFIG in listing.files and bool(listing.matching("*.safetensors"))


def weight_kind(listing: Listing, explicit: str | None = None) -> WeightKind:
    """Return what the weights are stored as: of safetensors and PyTorch the one that transformers loads, before Meta and GGUF.

    Args:
        explicit: the file or index that the configuration names.

    Raises:
        NotFoundError: no weights that edgelm reads.
        UnsupportedError: an adapter instead of a model.
    """
    if explicit is not None:
        return "safetensors"
    split = kind_of(listing.top_level())
    if split is not None:
        return split
    if listing.matching(_META) and "params.json" in listing.files:
        return "meta"
    if _gguf_models(listing):
        return "gguf"
    if "adapter_config.json" in listing.files:
        raise UnsupportedError(f"{listing.repo} is an adapter, expected a whole model")
    shown = ", ".join(sorted(listing.files)[:8]) or "nothing"
    raise NotFoundError(
        f"{listing.repo} has no weights in safetensors, PyTorch or GGUF format; it holds {shown}"
    )


def needed_files(
    listing: Listing, kind: WeightKind, index: Any = None, *, explicit: str | None = None
) -> list[str]:
    """List every file to download for a model of safetensors, PyTorch or Meta weights, weights last.

    Weights come last so that a directory that has them has everything.

    Args:
        index: the parsed index of the shards, where the listing has one.
        explicit: the file or index that the configuration names.

    Raises:
        NotFoundError: no configuration or no tokenizer.
        FormatError: an index that is none, or shards missing from the repository.
    """
    described = {"params.json"} if kind == "meta" else {CONFIG}
    templates = {name for name in listing.files if _TEMPLATE.fullmatch(name)}
    supporting = sorted((described | _SUPPORTING) & listing.files.keys() | templates)
    if kind == "safetensors" or kind == "pytorch":
        choice = split_weights(listing, kind, index, explicit=explicit)
        # An index that does not decide is left over from another way of storing the same weights.
        index_name = [choice.index] if choice.index is not None else []
        return [*supporting, *index_name, *choice.files]
    weights = _all_shards(listing.matching(_META))
    _refuse_absent(listing, weights)
    return supporting + sorted(weights)


def split_weights(listing: Listing, kind: SplitKind, index: Any, *, explicit: str | None = None) -> Choice:
    """Choose the weight files of a model, as in a directory.

    Raises:
        NotFoundError: there are none.
        FormatError, UnsafeError: see `edgelm.zoo.weights.choice`.
    """
    choice = choose(kind, listing.top_level(), lambda _: index, listing.repo, explicit=explicit)
    if choice is None:
        raise NotFoundError(f"{listing.repo} has no {kind} weights")
    return choice


def require_description(listing: Listing, kind: WeightKind) -> None:
    """Refuse a repository whose weights nothing describes.

    Raises:
        NotFoundError: no configuration, or none of the tokenizer files that edgelm reads.
    """
    if kind != "meta" and CONFIG not in listing.files:
        raise NotFoundError(f"{listing.repo} has no {CONFIG}, expected one beside its weights")
    if not any(files <= listing.files.keys() for files in _TOKENIZERS):
        raise NotFoundError(f"{listing.repo} has no tokenizer, expected tokenizer.json or tokenizer.model")


def _refuse_absent(listing: Listing, shards: set[str]) -> None:
    absent = sorted(shards - listing.files.keys())
    if absent:
        raise FormatError(
            f"{listing.repo} lacks {len(absent)} of its {len(shards)} weight files: {', '.join(absent[:3])}",
            hint="the upload may be unfinished; try another revision",
        )


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


def choose_gguf(listing: Listing, selector: str | None) -> list[str]:
    """Choose the files of the GGUF model meant by `selector`, several if it is split, the first part first.

    Args:
        selector: a file's name, a quantization (`Q4_K_M`), or None for the only model there is.

    Raises:
        NotFoundError: several models or none, listing what there is.
        FormatError: a split model lacks parts.
    """
    models = _gguf_models(listing)
    chosen = [model for model, parts in models.items() if selector is None or _is_meant(parts, selector)]
    if len(chosen) != 1:
        raise _not_one_gguf(listing, models, chosen, selector)
    parts = models[chosen[0]]
    _refuse_absent(listing, _all_shards(parts))
    return parts


def _gguf_models(listing: Listing) -> dict[str, list[str]]:
    """File names by the name of the model that they are parts of; vision projectors left out."""
    models: dict[str, list[str]] = {}
    for name in sorted(listing.files):
        # Projectors of images, importances, and the AppleDouble files of a foreign disk (`._x.gguf`), are no models.
        last = name.rpartition("/")[2].lower()
        is_companion = last.startswith(".") or "mmproj" in last or "imatrix" in last
        if name.lower().endswith(".gguf") and not is_companion:
            models.setdefault(_SHARD.sub(".", name), []).append(name)
    return models


def _is_meant(parts: list[str], selector: str) -> bool:
    if selector in parts:
        return True
    stem = _SHARD.sub(".", parts[0]).rpartition("/")[2].lower().removesuffix(".gguf")
    # A whole dotted or dashed word: Q4_K must not choose Q4_K_M.
    return selector.lower() in re.split(r"[.\-]", stem)


def _not_one_gguf(
    listing: Listing, models: dict[str, list[str]], chosen: list[str], selector: str | None
) -> NotFoundError:
    if not models:
        return NotFoundError(f"{listing.repo} has no GGUF file, expected one for {selector!r}")
    offered = chosen or list(models)
    shown = ", ".join(f"{name} ({format_bytes(listing.size_bytes(models[name]))})" for name in offered[:20])
    what = "several GGUF files" if selector is None or chosen else f"no GGUF file for {selector!r}"
    example = next((name for name in offered if "q4_k_m" in name.lower()), offered[0])
    return NotFoundError(
        f"{listing.repo} has {what}: {shown}", hint=f"say which one: {listing.repo}/{models[example][0]}"
    )
