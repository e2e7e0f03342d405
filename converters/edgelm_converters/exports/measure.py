"""Logits of a written file against those of its source, on one short text, both streamed layer by layer."""

from __future__ import annotations

from pathlib import Path

from edgelm_converters.exports.report import ExportComparison
from edgelm_converters.exports.source import ExportSource, open_source
from edgelm_converters.result.logits import compare_logits
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
    comparison = compare_logits(ours, theirs)
    assert comparison.max_relative is not None  # compare_logits keeps it
    return ExportComparison(comparison.mean_kl, comparison.max_relative, len(ids))
