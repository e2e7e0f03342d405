"""`export_gguf`: a model as a GGUF file for llama.cpp and all that is built on it."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.atomic import disk_errors, refuse_existing, scratch_directory
from edgelm.errors import OptionError, OutputError
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.units import format_bytes
from edgelm_converters.exports.measure import compared
from edgelm_converters.exports.names import table_names
from edgelm_converters.exports.report import Exported
from edgelm_converters.exports.source import ExportSource, open_source
from edgelm_converters.result.texts import LOGITS_TEXT, TOKENIZER_SAMPLE
from edgelm_converters.sources.gguf.families.family import GGUFFamily
from edgelm_converters.sources.gguf.reader import StoredTensor
from edgelm_converters.sources.gguf.types.kinds import Kind
from edgelm_converters.targets.gguf.choice import AUTO, named_type
from edgelm_converters.targets.gguf.contents import Contents, PlacedTensors
from edgelm_converters.targets.gguf.framing import Part, StoredLayout, parts_of, write_part
from edgelm_converters.targets.gguf.layout import placements, provisional
from edgelm_converters.targets.gguf.metadata.agreement import Agreed, agree
from edgelm_converters.targets.gguf.metadata.architecture import family_of
from edgelm_converters.targets.gguf.metadata.described import described, sampling
from edgelm_converters.targets.gguf.metadata.factors import Factors, rope_scaling
from edgelm_converters.targets.gguf.metadata.keys import offered_keys
from edgelm_converters.targets.gguf.metadata.scalars import without_scalars
from edgelm_converters.targets.gguf.metadata.settings import ModelSettings
from edgelm_converters.targets.gguf.metadata.special import change_keys
from edgelm_converters.targets.gguf.tokenizer.agreement import check_agreement
from edgelm_converters.targets.gguf.tokenizer.metadata import tokenizer_metadata
from edgelm_converters.targets.gguf.tokenizer.published import PublishedTokenizer

SAMPLES = (*TOKENIZER_SAMPLE, LOGITS_TEXT)
DISK_MARGIN_BYTES = 16 << 20
TASK = "Exporting"


@dataclass(frozen=True)
class _Model:
    """A source, laid out as a GGUF of its family."""

    source: ExportSource
    family: GGUFFamily
    settings: ModelSettings
    contents: Contents
    placed: tuple[PlacedTensors, ...]
    factors: Factors
    agreed: Agreed
    scalars: Mapping[str, Any]

    @property
    def stored(self) -> list[StoredLayout]:
        """All tensors in the file's order: those of factors first."""
        extra = [StoredLayout(name, values.shape, Kind.F32) for name, values in self.factors.items()]
        return extra + [tensor for each in self.placed for tensor in each.stored]

    def pieces(self) -> Iterator[tuple[StoredLayout, npt.NDArray[Any]]]:
        """Bytes of all tensors in that order."""
        for name, values in self.factors.items():
            yield StoredLayout(name, values.shape, Kind.F32), values.view(np.uint8)
        for each in self.placed:
            yield from self.contents.pieces(each)


def export_gguf(
    source: str | Path,
    target: str | Path,
    *,
    tensor_type: str = AUTO,
    split_bytes: int | None = None,
    verify: bool = True,
    revision: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Exported:
    """Write a model as a GGUF file.

    Args:
        source: a model of the library, a path, an installed package or a Hub id: all that `convert` takes.
        target: the file to make, "….gguf".
        tensor_type: of matrices: "auto" keeps what the model has, and moves packed groups bit for bit where ggml has their
            form; else one of `targets.gguf.choice.TYPES`, for which packed groups are unpacked first.
        split_bytes: the most bytes of tensors in a file; the model is written in parts then, "…-00001-of-00003.gguf".
        verify: read the file back and compare its logits with the source's.
        revision: a Hub branch, tag or commit.
        on_progress: called with `Progress` as bytes are written.

    Raises:
        OptionError: a type that there is not, or a target that is no .gguf.
        OutputError: the target exists, the disk is too small, full or not writable.
        UnsupportedError: an architecture, a setting or a tokenizer that GGUF, or this writer, has not; by its name.
        What `convert` raises about the source.
    """
    wanted, path = named_type(tensor_type), Path(target).expanduser()
    if path.suffix != ".gguf":
        raise OptionError(
            f"the file is {str(path)!r}, expected a name that ends in .gguf", settings=("gguf",)
        )
    if split_bytes is not None and split_bytes < 1:
        raise OptionError(f"split is {split_bytes}, expected a size above 0", settings=("split",))
    refuse_existing(path)
    with scratch_directory(path) as scratch:
        opened = open_source(str(source), scratch, revision=revision, on_progress=on_progress)
        model = _lay_out(opened, scratch, wanted)
        values, notes, ids = _metadata(model, scratch, path.stem)
        parts = parts_of(path, values, model.stored, split_bytes)
        _check_room(parts, path)
        _write(model, parts, scratch, on_progress)
        comparison = None
        if verify:
            on_progress(Progress("Comparing", 0, 1, "steps"))
            comparison = compared(opened, scratch / parts[0].path.name, ids)
        for part in reversed(parts):  # the first, which makes a model of them, comes last
            refuse_existing(part.path)
            with disk_errors(part.path):
                (scratch / part.path.name).rename(part.path)
    return Exported(
        files=tuple(part.path for part in parts),
        size_bytes=sum(part.path.stat().st_size for part in parts),
        parameters=sum(math.prod(tensor.shape) for tensor in model.stored),
        types=dict(Counter(tensor.kind.name for tensor in model.stored)),
        lost={name: lost.relative for name, lost in sorted(model.contents.lost.items())},
        notes=notes,
        comparison=comparison,
    )


def _lay_out(opened: ExportSource, scratch: Path, wanted: Kind | None) -> _Model:
    name = opened.checkpoint.origin.source
    family = family_of(opened.config, opened.tensors, name)
    settings = ModelSettings.of(opened.config)
    embedding = family.outer[0].network[0].name
    tensors = table_names(family.architecture, opened.tensors, embedding)
    packed = table_names(
        family.architecture, {f"{path}.": said for path, said in opened.packed.items()}, embedding
    )
    tensors, scalars = without_scalars(family.architecture, tensors, settings.layers)
    contents = Contents(tensors, {path.removesuffix("."): said for path, said in packed.items()})
    shapes = contents.shapes
    found = placements(family, settings.layers, shapes)
    keys, factors = rope_scaling(settings)
    offered = change_keys(family.architecture, settings, offered_keys(settings, family)) | keys
    stand_ins = provisional(found, shapes) | _written(factors, scratch)
    agreed = agree(family, offered, stand_ins, opened.config, name)
    placed = tuple(contents.placed(each, agreed.lengths.at(each.layer), wanted) for each in found)
    return _Model(opened, family, settings, contents, placed, factors, agreed, scalars)


def _written(factors: Factors, scratch: Path) -> dict[str, StoredTensor]:
    """Factor tensors as files of their own, for a reader of them."""
    found = {}
    for name, values in factors.items():
        path = scratch / f".{name}"
        values.tofile(path)
        found[name] = StoredTensor(name, values.shape, Kind.F32, path, 0)
    return found


def _metadata(model: _Model, scratch: Path, name: str) -> tuple[dict[str, Any], tuple[str, ...], list[int]]:
    """All key-values, what is to be told, and the token ids of the text that logits are compared on."""
    checkpoint, source = model.source.checkpoint, model.source.checkpoint.origin.source
    folder = scratch / "tokenizer"
    folder.mkdir()
    with disk_errors(folder):
        checkpoint.write_tokenizer(folder)
    published = PublishedTokenizer.load(folder, model.source.config, source)
    rows = model.agreed.lengths["vocab"]
    said = tokenizer_metadata(
        published, model.family.architecture, rows, _ends(model), _padding(model), SAMPLES, source
    )
    weights: Counter[Kind] = Counter()
    for tensor in model.stored:
        weights[tensor.kind] += math.prod(tensor.shape)
    general = described(model.family.architecture, checkpoint.origin, name, weights)
    values = {
        **general,
        **sampling(checkpoint.generation_config),
        **model.agreed.keys,
        **model.scalars,
        **said.values,
    }
    notes = (*said.notes, *check_agreement({**general, **said.values}, published, SAMPLES, source))
    ids = [index for index in published.encode(LOGITS_TEXT) if index < rows][:128]
    return values, (*checkpoint.notes, *notes), ids


def _ends(model: _Model) -> list[int]:
    for part in (model.source.checkpoint.generation_config or {}, model.settings.config):
        said = part.get("eos_token_id")
        if said is not None and said != []:
            return [index for index in (said if isinstance(said, list) else [said]) if isinstance(index, int)]
    return []


def _padding(model: _Model) -> int | None:
    said = model.settings.get("pad_token_id")
    return said if isinstance(said, int) and said >= 0 else None


def _check_room(parts: Sequence[Part], path: Path) -> None:
    """Raise OutputError if the disk has no room for the files."""
    for part in parts:
        refuse_existing(part.path)
    needed = sum(part.size_bytes for part in parts) + DISK_MARGIN_BYTES
    free = shutil.disk_usage(next(parent for parent in path.absolute().parents if parent.exists())).free
    if free < needed:
        raise OutputError(
            f"{path} would take {format_bytes(needed)}, and its disk has {format_bytes(free)} free",
            hint="free some space, name a file on another disk, or choose a smaller --type",
        )


def _write(model: _Model, parts: Sequence[Part], scratch: Path, on_progress: OnProgress) -> None:
    total = sum(tensor.size_bytes for tensor in model.stored)
    pieces = _told(model.pieces(), total, on_progress)
    for part in parts:
        write_part(part, scratch / part.path.name, pieces)
    on_progress(Progress(TASK, total, total, "bytes"))


def _told(
    pieces: Iterator[tuple[StoredLayout, npt.NDArray[Any]]], total: int, on_progress: OnProgress
) -> Iterator[npt.NDArray[np.uint8]]:
    done = 0
    for tensor, raw in pieces:
        on_progress(Progress(TASK, done, total, "bytes", tensor.name))
        yield raw
        done += raw.nbytes
