"""Models from the Hugging Face Hub: what an id means, what is refused, and the files of a model.

Everything that can be refused is refused before a byte of weights is downloaded: an architecture that edgelm
cannot run, missing weights, configuration or tokenizer, shards that the repository lacks, too little disk.
Knows nothing of the library or of conversion. No code from a repository is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError, NetworkError, NotFoundError, UnsupportedError
from edgelm.hub.cache import check_space, list_cache, list_repo, remember_revision, snapshot_directory
from edgelm.hub.files import (
    CONFIG,
    INDEX_OF,
    Listing,
    WeightKind,
    choose_gguf,
    may_name_weights,
    needed_files,
    require_description,
    weight_kind,
)
from edgelm.hub.transfer import download
from edgelm.log import logger
from edgelm.progress import OnProgress, ignore_progress

ALL_KINDS: frozenset[WeightKind] = frozenset(("safetensors", "pytorch", "meta", "gguf"))

_SITE = re.compile(r"^(https?://)?(huggingface\.co|hf\.co)/")
_HUB_ID = re.compile(
    r"(?P<repo>\w[\w.-]{0,95}/\w[\w.-]{0,95}?)(:(?P<tag>[\w.-]+)|/(?P<file>[\w./-]+\.gguf))?/?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class HubId:
    """`org/repo`, `org/repo:Q4_K_M` or `org/repo/file.gguf`."""

    repo: str
    selector: str | None = None
    """Which GGUF file: its name, or a quantization."""


@dataclass(frozen=True)
class Download:
    """A model's files in the Hugging Face cache."""

    directory: Path
    """The snapshot; it may hold other files, which other tools put there."""
    revision: str
    """The commit."""
    licence: str | None
    files: tuple[Path, ...]
    gguf: Path | None
    """The file that is the model, where it is a GGUF; the first part of a split one."""
    kind: WeightKind
    sha256: dict[str, str]
    """SHA-256 as the Hub lists it, by file name, for files in large-file storage."""


def looks_like_hub_id(text: str) -> bool:
    """Return whether `text` has the form of a Hub id. A relative path may have it too: look for that first."""
    return _parse(text) is not None


def parse_hub_id(text: str) -> HubId:
    """Read a Hub id; the address of its page is taken too.

    Raises:
        NotFoundError: not of the form of one.
    """
    found = _parse(text)
    if found is None:
        raise NotFoundError(f"{text!r} is not a Hub id, expected organisation/name")
    return found


def _parse(text: str) -> HubId | None:
    found = _HUB_ID.fullmatch(_SITE.sub("", text))
    if found is None or ".." in text or found["repo"].endswith((".gguf", ".safetensors")):
        return None
    return HubId(found["repo"], found["tag"] or found["file"])


def fetch(
    repo_id: str,
    *,
    revision: str | None = None,
    accept: Set[WeightKind] = ALL_KINDS,
    gguf_architectures: Collection[str] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Download:
    """Download what a model needs, resuming what an earlier call began; nothing if it is all here.

    Args:
        repo_id: see `HubId`.
        revision: a branch, tag or commit; the default branch if None.
        accept: kinds of weights that the caller can use.
        gguf_architectures: the `general.architecture` values that the caller can use; None admits all.

    Raises:
        NotFoundError: no such repository, revision or GGUF file; no weights, configuration or tokenizer.
        NetworkError: the Hub cannot be reached or refuses, and the cache does not hold the model.
        UnsupportedError: an architecture or kind of weights that edgelm cannot use.
        UnsafeError: the configuration asks for code to be run.
        FormatError: a broken configuration or index, missing shards, or files damaged on the way.
        OutputError: not enough disk, or it cannot be written.
    """
    said = parse_hub_id(repo_id)
    try:
        listing = list_repo(said.repo, revision)
    except NetworkError as error:
        return _from_cache(said, revision, accept, error)
    kind, names = _plan(said, listing, accept, gguf_architectures)
    check_space(listing, names)
    files = download(listing, names, on_progress)
    remember_revision(listing, revision)
    return _result(listing, kind, files)


def _from_cache(said: HubId, revision: str | None, accept: Set[WeightKind], error: NetworkError) -> Download:
    """The model as the cache has it, or the network's error if that is not whole."""
    listing = list_cache(said.repo, revision)
    if listing is None:
        raise error
    try:
        kind, names = _plan(said, listing, accept, None)
    except (FormatError, NotFoundError) as incomplete:
        raise NetworkError(
            f"{error.message}; the cache does not hold all of it", hint=error.hint
        ) from incomplete
    logger.warning("%s; using the copy of %s in the cache", error.message, said.repo)
    return _result(listing, kind, download(listing, names, ignore_progress))


def _result(listing: Listing, kind: WeightKind, files: tuple[Path, ...]) -> Download:
    return Download(
        directory=snapshot_directory(listing.repo, listing.revision),
        revision=listing.revision,
        licence=listing.licence,
        files=files,
        gguf=files[0] if kind == "gguf" else None,
        kind=kind,
        sha256={name: file.sha256 for name, file in listing.files.items() if file.sha256},
    )


def _plan(
    said: HubId,
    listing: Listing,
    accept: Set[WeightKind],
    gguf_architectures: Collection[str] | None,
) -> tuple[WeightKind, list[str]]:
    """Refuse, or say what to download. Fetches the configuration and the index, which are small."""
    explicit = None if said.selector else explicit_weights(listing)
    kind: WeightKind = "gguf" if said.selector else weight_kind(listing, explicit)
    if kind not in accept:
        raise UnsupportedError(
            f"{listing.repo} holds {kind} weights, which have to be converted",
            hint=f"run `edgelm convert {listing.repo}`",
        )
    if kind == "gguf":
        _check_gguf(listing, gguf_architectures)
        return kind, choose_gguf(listing, said.selector)
    require_description(listing, kind)
    if kind in INDEX_OF:
        _check_config(listing)
    return kind, needed_files(listing, kind, index_of(listing, kind, explicit), explicit=explicit)


def _check_gguf(listing: Listing, known: Collection[str] | None) -> None:
    found = listing.gguf_architecture
    if known is not None and found is not None and found not in known:
        raise UnsupportedError(
            f"{listing.repo} is a GGUF of architecture {found!r}, which is none of the {len(known)} that edgelm converts",
            hint="its original repository in safetensors format may work; docs/gguf.md lists the families",
        )


def _check_config(listing: Listing) -> None:
    from edgelm.zoo.configs.check import check_architecture
    from edgelm.zoo.configs.normalise import read_config
    from edgelm.zoo.weights.packing import check_announced_packing

    (path,) = download(listing, [CONFIG], ignore_progress)
    config = read_config(path.parent)
    check_architecture(config)
    check_announced_packing(config, listing.repo)


def explicit_weights(listing: Listing) -> str | None:
    """Download the configuration and return the file or index that it names as the weights; None if it names none."""
    from edgelm.json_files import read_json
    from edgelm.zoo.weights.files import named_weights

    if not may_name_weights(listing):
        return None
    (path,) = download(listing, [CONFIG], ignore_progress)
    return named_weights(read_json(path), f"{CONFIG} of {listing.repo}")


def index_of(listing: Listing, kind: WeightKind, explicit: str | None = None) -> Any:
    """Download and parse the index of shards; None if the listing has none.

    Args:
        explicit: the file or index that the configuration names.
    """
    from edgelm.json_files import read_json

    name = INDEX_OF.get(kind) if explicit is None else explicit
    if name is None or name not in listing.files or not name.endswith(".json"):
        return None
    (path,) = download(listing, [name], ignore_progress)
    return read_json(path)
