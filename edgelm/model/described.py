"""A model by its description only: config.json and the headers of its weights, on this disk or on the Hub.

Of a Hub model only the configuration is downloaded, and of each weight file the first kilobytes are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm.library.models import files_of, resolve
from edgelm.zoo.configs.check import check_architecture
from edgelm.zoo.configs.normalise import normalise_config, read_config
from edgelm.zoo.weights.files import read_headers
from edgelm.zoo.weights.packing import check_announced_packing, check_packing, with_packing
from edgelm.zoo.weights.safetensors_header import TensorInfo


@dataclass(frozen=True)
class Described:
    """What is known of a model before it is loaded, or downloaded."""

    name: str
    directory: Path
    """Where config.json is."""
    config: dict[str, Any]
    """Normalised."""
    headers: dict[str, TensorInfo]
    size_bytes: int | None = None
    """The size of all its files, as `edgelm models` lists it; None of one that is not on this disk."""

    @property
    def weights_bytes(self) -> int:
        """The size of the weight files, or of the tensors in them where they are not on this disk."""
        if self.size_bytes is None:
            return sum(info.size_bytes for info in self.headers.values())
        return sum(path.stat().st_size for path in files_of(self.directory) if path.suffix == ".safetensors")


def describe_model(text: str) -> Described:
    """Describe the model that `text` means: a path, a name from the library, or a Hub id.

    Raises:
        NotFoundError: none of these, or it has no config or no safetensors.
        NetworkError: the Hub cannot be reached or refuses.
        FormatError: a broken config or header.
        UnsafeError: the config asks for code to be run.
        UnsupportedError: mlx-lm has no such architecture, or the weights are not safetensors.
    """
    from edgelm.hub.fetch import looks_like_hub_id

    try:
        directory = resolve(text)
    except NotFoundError:
        if not looks_like_hub_id(text):
            raise
        return _describe_remote(text)
    return describe_directory(directory)


def describe_directory(directory: Path) -> Described:
    """Describe the model in a directory.

    Raises:
        NotFoundError, FormatError, UnsafeError, UnsupportedError: see `describe_model`.
    """
    size_bytes = sum(path.stat().st_size for path in files_of(directory))
    config = _checked(directory)
    headers = read_headers(directory)
    check_packing(with_packing(config, directory), headers, directory)
    return Described(directory.absolute().name, directory, config, headers, size_bytes)


def _checked(directory: Path) -> dict[str, Any]:
    config = normalise_config(read_config(directory))
    check_architecture(config)
    return config


def _describe_remote(text: str) -> Described:
    from edgelm.hub.cache import list_repo
    from edgelm.hub.fetch import explicit_weights, index_of, parse_hub_id
    from edgelm.hub.files import CONFIG, require_description, split_weights, weight_kind
    from edgelm.hub.transfer import download
    from edgelm.progress import ignore_progress

    repo = parse_hub_id(text).repo
    listing = list_repo(repo, None)
    explicit = explicit_weights(listing)
    kind = weight_kind(listing, explicit)
    if kind != "safetensors":
        raise UnsupportedError(
            f"{repo} holds {kind} weights, whose sizes cannot be read without downloading them",
            hint=f"run `edgelm convert {repo}`, then plan the result",
        )
    require_description(listing, kind)
    (config_path,) = download(listing, [CONFIG], ignore_progress)
    config = _checked(config_path.parent)
    check_announced_packing(config, repo)
    headers = {
        name: info
        for file in split_weights(listing, kind, index_of(listing, kind, explicit), explicit=explicit).files
        for name, info in _remote_header(repo, listing.revision, file).items()
    }
    check_packing(with_packing(config, config_path.parent), headers, repo)
    return Described(repo, config_path.parent, config, headers)


def _remote_header(repo: str, revision: str, file: str) -> dict[str, TensorInfo]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import SafetensorsParsingError

    from edgelm.hub.errors import hub_errors

    with hub_errors(repo, revision):
        try:
            metadata = HfApi().parse_safetensors_file_metadata(repo, file, revision=revision)
        except (SafetensorsParsingError, ValueError, TypeError, KeyError) as error:
            raise FormatError(f"{file} of {repo} has a broken safetensors header: {error}") from error
    return {
        name: TensorInfo(info.dtype, tuple(info.shape), *info.data_offsets)
        for name, info in metadata.tensors.items()
    }
