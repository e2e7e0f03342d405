"""A model that is to be exported, as its network has it: config, lazy tensors by the network's names, tokenizer.

A model of edgelm's, a Hugging Face directory, a GGUF and a Hub id come by the same way as into a conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.progress import OnProgress, ignore_progress
from edgelm.quant.scheme import Settings
from edgelm.zoo.configs.normalise import normalise_config
from edgelm_converters.conversion import Conversion
from edgelm_converters.pipeline.job import ConversionJob
from edgelm_converters.pipeline.settle import settled
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint
from edgelm_converters.sources.recognise import open_checkpoint
from edgelm_converters.weights.packed import unpacked


@dataclass(frozen=True)
class ExportSource:
    """An opened model; nothing but headers was read."""

    checkpoint: SourceCheckpoint
    config: dict[str, Any]
    """Normalised."""
    tensors: Mapping[str, LazyTensor]
    """By the network's names; packed modules as triples."""
    packed: Mapping[str, Settings]
    job: ConversionJob

    @property
    def dense(self) -> dict[str, LazyTensor]:
        """Return the tensors with one float32 weight in place of every triple."""
        return unpacked(self.tensors, self.packed)

    @property
    def directory(self) -> Path:
        """Return the folder of the source's files."""
        return self.checkpoint.origin.files[0].parent

    def again(self) -> tuple[Any, dict[str, LazyTensor]]:
        """Open the tensors anew for a fresh network, unpacked: what `sanitize` computes can be read once only."""
        network, tensors, packed = self.job.fresh()
        return network, unpacked(tensors, packed)


def open_source(
    source: str, stage: Path, *, revision: str | None = None, on_progress: OnProgress = ignore_progress
) -> ExportSource:
    """Open the model that `source` names.

    Args:
        stage: an empty folder for copies of what the architecture computes with.

    Raises:
        What `open_checkpoint` raises; UnsupportedError: an architecture that mlx-lm lacks.
    """
    opened = open_checkpoint(source, revision=revision, on_progress=on_progress)
    checkpoint, config, _ = settled(opened, normalise_config(opened.config))
    job = ConversionJob(
        checkpoint,
        config,
        Conversion(mode="none", verify=False),
        stage,
        stage,
        Future(),
        on_progress,
        lambda _: None,
    )
    job.stage.mkdir(exist_ok=True)
    _, tensors, packed = job.fresh()
    return ExportSource(checkpoint, config, tensors, packed, job)
