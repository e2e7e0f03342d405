"""Logits of a written file against those of its source, on one short text, both streamed layer by layer."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np

from edgelm_converters.exports.report import ExportComparison
from edgelm_converters.exports.source import ExportSource, open_source
from edgelm_converters.result.verify import source_logits


def compared(source: ExportSource, path: Path, ids: list[int]) -> ExportComparison:
    """Compare the model in `path` with the `source` that it was written of, on the tokens `ids`.

    Raises:
        FormatError, UnsupportedError: the file cannot be read back: a fault of the writer's.
    """
    network, tensors = source.again()
    ours = source_logits(network, tensors, ids)
    del network, tensors
    stage = path.parent / "again"
    stage.mkdir()
    opened = open_source(str(path), stage)
    network, tensors = opened.again()
    theirs = source_logits(network, tensors, ids)
    width = min(ours.shape[-1], theirs.shape[-1])
    one, other = ours[:, :width], theirs[:, :width]
    log_p = one - mx.logsumexp(one, axis=-1, keepdims=True)
    log_q = other - mx.logsumexp(other, axis=-1, keepdims=True)
    kl = (mx.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean()
    difference = mx.abs(one - other).max() / mx.abs(one).max()
    return ExportComparison(_number(kl), _number(difference), len(ids))


def _number(array: mx.array) -> float:
    return float(np.asarray(array))
