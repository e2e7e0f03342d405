"""Asking the judge: transformers' logits of the source, compared with what edgelm reads and what it wrote.

Needs torch and accelerate (`pip install 'edgelm[verify]'`), which only the judge's process imports.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from edgelm.errors import UnsupportedError
from edgelm_converters.result.logits import LogitsComparison, compare_logits
from edgelm_converters.sources.checkpoint import SourceOrigin

ALIKE_KL = 1e-4
"""Nats: below it two readings are one, up to rounding."""

_CHILD = Path(__file__).with_name("child.py")
_READ = ("huggingface", "pytorch", "gguf")
_LONGEST = 400
"""Characters of an error of transformers' that are shown."""


@dataclass(frozen=True)
class Judgement:
    """transformers' reading of the source beside edgelm's, and beside the result."""

    transformers: str
    """Its version."""
    torch: str
    tokens: int
    source: LogitsComparison
    """edgelm's reading of the source against transformers': what no quantization explains."""
    result: LogitsComparison
    """The converted model, as edgelm computes it, against transformers' reading of the source."""
    unexpected: list[str]
    """Some tensors of the source that transformers has no use for."""
    peak_memory_bytes: int
    elapsed_s: float

    alike: bool
    """Whether edgelm reads the source as transformers does."""


def check_judge(kind: str, config: dict[str, Any]) -> None:
    """Refuse to ask transformers where it cannot answer.

    Args:
        kind: of the source's origin.
        config: of the source.

    Raises:
        UnsupportedError: torch or accelerate is missing, or transformers reads no such source.
    """
    for package in ("torch", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise UnsupportedError(
                f"verifying with transformers needs {package}, which is not installed",
                hint="pip install 'edgelm[verify]', or leave out --verify transformers",
            )
    if kind not in _READ or "quantization" in config:
        what = "MLX's packed weights" if kind in _READ else f"{kind} checkpoints"
        raise UnsupportedError(
            f"transformers reads no {what}, so it cannot verify this conversion",
            hint="leave out --verify transformers: the result is still compared with edgelm's own reading of the source",
        )


def ask(
    origin: SourceOrigin, ids: Sequence[int], scratch: Path
) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Have transformers compute the logits `[T, V]` of `ids` by the source.

    Args:
        scratch: a folder to fill; what transformers has to rewrite of the weights goes there.

    Raises:
        UnsupportedError: transformers cannot read or run the source; the message says what it said.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    first = origin.files[0]
    request = {
        "directory": str(first.parent), "gguf_file": first.name if origin.kind == "gguf" else None, "ids": list(ids),
        "scratch": str(scratch / "offloaded"), "logits": str(scratch / "logits.npy"), "report": str(scratch / "report.json"),
    }  # fmt: skip
    (scratch / "request.json").write_text(json.dumps(request), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-P", str(_CHILD), str(scratch / "request.json")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        check=False,
    )
    report = _report(scratch / "report.json", ended)
    return np.load(scratch / "logits.npy"), report


def _report(path: Path, ended: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    if not path.exists():
        last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        ending = (
            f"signal {-ended.returncode}" if ended.returncode < 0 else last or f"exit code {ended.returncode}"
        )
        raise UnsupportedError(
            f"transformers could not verify the source: its process ended with {ending[:_LONGEST]}"
        )
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "error" in report:
        raise UnsupportedError(f"transformers could not verify the source: {report['error'][:_LONGEST]}")
    return report


def judged(
    logits: np.ndarray[Any, Any], report: dict[str, Any], source: mx.array, result: mx.array
) -> Judgement:
    """Compare transformers' `logits` with edgelm's of the source and of the result, all `[T, V]`."""
    reference = mx.array(logits)
    read = compare_logits(reference, source)
    return Judgement(
        transformers=report["transformers"],
        torch=report["torch"],
        tokens=len(logits),
        source=read,
        result=compare_logits(reference, result),
        unexpected=report["unexpected"],
        peak_memory_bytes=report["peak_memory_bytes"],
        elapsed_s=report["elapsed_s"],
        alike=read.mean_kl < ALIKE_KL,
    )
