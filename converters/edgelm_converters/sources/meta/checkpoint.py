"""Meta's original LLaMA layout: `consolidated.*.pth`, `params.json` and `tokenizer.model`.

Presents the weights under transformers' names, merged over the model-parallel shards and with the rows of
queries and keys in transformers' order. Merging happens when a tensor is read, one tensor at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlx.core as mx

from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint, SourceOrigin
from edgelm_converters.sources.meta import layout
from edgelm_converters.sources.meta.params import Params, make_config, read_params
from edgelm_converters.sources.pytorch.archive import read_archive
from edgelm_converters.sources.pytorch.checkpoint import copy_tokenizer
from edgelm_converters.sources.pytorch.state_dict import describe_names, find_views, lazy_tensor

SHARD = re.compile(r"consolidated\.(\d+)\.pth")
EMBEDDINGS, OUTPUT = "tok_embeddings.weight", "output.weight"


@dataclass(frozen=True, slots=True)
class _Shard:
    """One file: its tensors under Meta's names."""

    path: Path
    tensors: Mapping[str, LazyTensor]
    is_tied: bool
    """Whether the output projection is the embeddings: absent, or the same bytes."""


def open_meta(directory: Path) -> SourceCheckpoint:
    """Open the checkpoint in `directory`; nothing but pickles and JSON is read, and no code is run.

    Raises:
        NotFoundError: there are no shards, no params.json or no tokenizer.
        UnsafeError: a shard asks for code to be run.
        UnsupportedError: a mixture of experts, a vision model or a quantized one.
        FormatError: a shard is missing or broken, or the shapes do not fit each other or params.json.
    """
    paths = _find_shards(directory)
    params = read_params(directory / "params.json")
    tokenizer = _find_tokenizer(directory)
    shards = [_open_shard(path) for path in paths]
    _check_names(shards, params, directory)
    is_tied = all(shard.is_tied for shard in shards)
    merged = _Merger(shards, params, directory).merge(is_tied)
    embeddings = merged["model.embed_tokens.weight"]
    config = make_config(
        params,
        intermediate_size=merged["model.layers.0.mlp.gate_proj.weight"].shape[0],
        vocabulary_size=embeddings.shape[0],
        is_tied=is_tied,
    )
    config["torch_dtype"] = embeddings.stored_as.removeprefix("torch.")
    return SourceCheckpoint(
        origin=SourceOrigin(str(directory), "meta", tuple(paths)),
        config=config,
        tensors=merged,
        write_tokenizer=partial(copy_tokenizer, tokenizer),
    )


def _find_shards(directory: Path) -> list[Path]:
    numbered = {
        int(match[1]): path
        for path in sorted(directory.glob("consolidated.*.pth"))
        if (match := SHARD.fullmatch(path.name))
    }
    if not numbered:
        raise NotFoundError(f"{directory} holds no consolidated.*.pth")
    missing = set(range(max(numbered))) - numbered.keys()
    if missing:
        raise FormatError(
            f"{directory / f'consolidated.{min(missing):02}.pth'} is missing: "
            f"there are {len(numbered)} shards, up to number {max(numbered)}"
        )
    return [numbered[number] for number in sorted(numbered)]


def _find_tokenizer(directory: Path) -> Path:
    """The directory with the tokenizer: this one, or else the one above, as Llama 1 and 2 came."""
    for place in (directory, directory.absolute().parent):
        if any((place / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
            return place
    raise NotFoundError(
        f"there is no tokenizer.model in {directory} or above it",
        hint="copy the tokenizer of the release into it",
    )


def _open_shard(path: Path) -> _Shard:
    archive = read_archive(path)
    views = find_views(archive)
    is_tied = OUTPUT not in views or views[OUTPUT] == views.get(EMBEDDINGS)
    return _Shard(path, {name: lazy_tensor(view, archive) for name, view in views.items()}, is_tied)


def _check_names(shards: Sequence[_Shard], params: Params, directory: Path) -> None:
    expected = layout.places(params.layer_count).keys() - {OUTPUT}
    for shard in shards:
        unknown = shard.tensors.keys() - expected - layout.IGNORED - {OUTPUT}
        if any("expert" in name or name.endswith("feed_forward.gate.weight") for name in unknown):
            raise UnsupportedError(f"{shard.path} holds a mixture of experts, expected a dense Llama")
        if unknown:
            raise FormatError(
                f"{shard.path} holds tensors that a Llama of {params.layer_count} layers has not: "
                f"{describe_names(unknown)}"
            )
        absent = expected - shard.tensors.keys()
        if absent:
            raise FormatError(f"{shard.path} lacks tensors: {describe_names(absent)}")
        if (OUTPUT in shard.tensors) != (OUTPUT in shards[0].tensors):
            raise FormatError(f"{OUTPUT} is in some shards in {directory} and not in others")


class _Merger:
    """Makes whole tensors of the parts in the shards."""

    def __init__(self, shards: Sequence[_Shard], params: Params, directory: Path) -> None:
        self._shards = shards
        self._params = params
        self._directory = directory

    def merge(self, is_tied: bool) -> dict[str, LazyTensor]:
        places = layout.places(self._params.layer_count)
        if is_tied:
            del places[OUTPUT]
        return self._check_shapes(
            {place.name: self._merge_one(name, place) for name, place in places.items()}
        )

    def _merge_one(self, name: str, place: layout.Place) -> LazyTensor:
        parts = [shard.tensors[name] for shard in self._shards]
        first = parts[0]
        for shard, part in zip(self._shards, parts, strict=True):
            if part.shape != first.shape or part.dtype != first.dtype:
                raise FormatError(
                    f"{name} has shape {part.shape} and type {part.stored_as} in {shard.path}, "
                    f"but {first.shape} and {first.stored_as} in {self._shards[0].path}"
                )
        axis = self._axis(name, place, first)
        if axis is not None and len(first.shape) != 2:
            raise FormatError(f"{name} has shape {first.shape} in {self._shards[0].path}, expected a matrix")
        shape = _joined_shape(first.shape, axis, len(parts))
        read = partial(_read, tuple(parts), axis, self._head_count(place))
        return LazyTensor(shape, first.dtype, read, first.stored_as)

    def _axis(self, name: str, place: layout.Place, part: LazyTensor) -> int | None:
        if name == EMBEDDINGS and len(part.shape) == 2 and part.shape[1] == self._params.dim:
            return layout.ROWS
        return place.cut

    def _head_count(self, place: layout.Place) -> int | None:
        """Heads whose rows are to be reordered."""
        counts = {
            "attention.wq.weight": self._params.head_count,
            "attention.wk.weight": self._params.kv_head_count,
        }
        return counts.get(place.part)

    def _check_shapes(self, merged: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
        for name, shape in self._expected_shapes(merged).items():
            if merged[name].shape != shape:
                raise FormatError(
                    f"{name}, merged over {len(self._shards)} shards in {self._directory}, "
                    f"has shape {merged[name].shape}, expected {shape}",
                    hint="a shard may be missing, or params.json may be of another model",
                )
        return merged

    def _expected_shapes(self, merged: Mapping[str, LazyTensor]) -> dict[str, tuple[int, ...]]:
        """The sizes that params.json states, but for the inner width and, where it is not said, the vocabulary."""
        params = self._params
        queries, keys = params.head_count * params.head_dim, params.kv_head_count * params.head_dim
        inner = merged["model.layers.0.mlp.gate_proj.weight"].shape[0]
        vocabulary = params.vocabulary_size or merged["model.embed_tokens.weight"].shape[0]
        by_ending: dict[str, tuple[int, ...]] = {
            "q_proj.weight": (queries, params.dim),
            "k_proj.weight": (keys, params.dim),
            "v_proj.weight": (keys, params.dim),
            "o_proj.weight": (params.dim, queries),
            "gate_proj.weight": (inner, params.dim),
            "up_proj.weight": (inner, params.dim),
            "down_proj.weight": (params.dim, inner),
            "embed_tokens.weight": (vocabulary, params.dim),
            "lm_head.weight": (vocabulary, params.dim),
        }
        return {name: by_ending.get(".".join(name.split(".")[-2:]), (params.dim,)) for name in merged}


def _joined_shape(shape: tuple[int, ...], axis: int | None, count: int) -> tuple[int, ...]:
    return shape if axis is None else tuple(n * count if at == axis else n for at, n in enumerate(shape))


def _read(parts: tuple[LazyTensor, ...], axis: int | None, head_count: int | None) -> mx.array:
    whole = parts[0].read() if axis is None else mx.concatenate([part.read() for part in parts], axis)
    if head_count is not None:
        whole = layout.split_halves(whole, head_count)
    mx.eval(whole)  # drops the parts
    return whole
