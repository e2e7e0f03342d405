"""One case in one layout: converted, loaded, and held against torch, whole and through a KV cache.

A refusal in words is a result, and so is a crash, which is a fault of ours.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch
import transformers

from edgelm.errors import EdgeLMError
from edgelm.model.load import load
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.proofs.settings import settings_of
from edgelm_converters.convert import convert
from proving.case import TOKENS, VOCAB, Case
from proving.layouts import LAYOUTS, contents, write
from proving.networks import build, class_of, logits_of

BOUND = 1e-4
"""Relative to the largest logit: what float32 leaves of equal computations."""
CHUNKS = {"by token": [1] * TOKENS, "in chunks": [10, 23, 7, TOKENS - 40]}

IDS = np.random.default_rng(1).integers(8, VOCAB, TOKENS).tolist()


@dataclass
class Outcome:
    """What became of one case in one layout."""

    family: str
    variant: str
    layout: str
    verdict: str
    """equal, differs, refused, untried where the code needs Metal, or failed: a crash, of ours or of what makes the case."""
    error: float | None = None
    """The largest difference of logits from torch's, whole and cached, over the largest logit."""
    words: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The case's name."""
        return f"{self.family}: {self.variant}" if self.variant else self.family


def prove(case: Case, directory: Path, layouts: Sequence[str] = LAYOUTS) -> list[Outcome]:
    """Prove `case` in every layout; one that is written like another shares its outcome."""
    torch.set_num_threads(1)
    outcomes: list[Outcome] = []
    try:
        network = build(case)
        expected = logits_of(network, IDS)
        _check_liveliness(expected)
    except Exception as error:  # noqa: BLE001 - a case that cannot be made is a row of the table
        return [
            Outcome(case.family, case.variant, layout, "failed", words=_shown(error)) for layout in layouts
        ]
    seen: list[tuple[Any, Outcome]] = []
    for layout in layouts:
        source = directory / layout
        write(network, case, layout, source)
        written = contents(source)
        same = next((outcome for there, outcome in seen if there == written), None)
        if same is not None:
            outcomes.append(Outcome(**{**vars(same), "layout": layout, "seconds": 0.0}))
            continue
        outcomes.append(_prove_layout(case, layout, source, expected))
        seen.append((written, outcomes[-1]))
    return outcomes


def _prove_layout(case: Case, layout: str, source: Path, expected: np.ndarray[Any, Any]) -> Outcome:
    started = time.monotonic()
    outcome = Outcome(case.family, case.variant, layout, "equal")
    try:
        outcome.settings = settings_of(json.loads((source / "config.json").read_text()))
        if layout != "transformers":
            _check_that_transformers_reads(source, expected)
        errors = _errors(source, source.with_name(f"{layout}-converted"), expected, case.at_once)
        outcome.error = max(errors.values())
        outcome.words = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        outcome.verdict = "equal" if outcome.error < BOUND else "differs"
    except EdgeLMError as error:
        outcome.verdict, outcome.words = (
            "refused",
            " ".join(str(error).split()).replace(str(source), "the source"),
        )
    except Exception as error:  # noqa: BLE001 - a failure of any kind is a row of the table
        outcome.verdict, outcome.words = "failed", _shown(error)
        if "No Metal back-end" in outcome.words:
            outcome.verdict, outcome.words = "untried", "mlx-lm's code for it runs on Metal alone"
    outcome.seconds = round(time.monotonic() - started, 2)
    return outcome


def _errors(source: Path, made: Path, expected: np.ndarray[Any, Any], at_once: int) -> dict[str, float]:
    """Relative errors of the converted model, whole, by token and in chunks, and of the source loaded as it is.

    Args:
        at_once: tokens that are fed together before the rest, however that is fed.
    """
    convert(source, made, mode="none", dtype="float32", verify=False)
    network = load(made, check_fit=False).network
    found = {"whole": _error(_whole(network), expected)}
    for name, sizes in CHUNKS.items():
        found[name] = _error(_in_pieces(network, _after(at_once, sizes)), expected)
    found["unconverted"] = _error(_whole(load(source, check_fit=False).network), expected)
    return found


def _whole(network: Any) -> np.ndarray[Any, Any]:
    return np.array(network(mx.array([IDS]))[0])


def _in_pieces(network: Any, sizes: Sequence[int]) -> np.ndarray[Any, Any]:
    caches, at, rows = layer_maker(network)(), 0, []
    for size in sizes:
        rows.append(np.array(network(mx.array([IDS[at : at + size]]), cache=caches)[0]))
        at += size
    return np.concatenate(rows)


def _after(at_once: int, sizes: Sequence[int]) -> list[int]:
    """`sizes` with all that fits into the first `at_once` tokens in one piece."""
    found, at = [at_once] if at_once else [], 0
    for size in sizes:
        at += size
        if at > at_once:
            found.append(min(size, at - at_once))
    return found


def _error(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    error = float(np.abs(got[..., : expected.shape[-1]] - expected).max() / np.abs(expected).max())
    return error if np.isfinite(error) else float("inf")


def _check_liveliness(expected: np.ndarray[Any, Any]) -> None:
    spread = expected.std(axis=0).mean() / np.abs(expected).max()
    if not np.isfinite(expected).all() or spread < 0.02:
        raise ValueError(f"torch's logits are too flat to mean anything: spread {spread:.2g}")


def _check_that_transformers_reads(source: Path, expected: np.ndarray[Any, Any]) -> None:
    """A published form of ours that transformers does not read as the same network would prove nothing."""
    config = transformers.AutoConfig.from_pretrained(source)
    network, info = class_of(config).from_pretrained(
        source, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    error = _error(logits_of(network.eval(), IDS), expected)
    if error > BOUND:
        raise ValueError(
            f"transformers itself reads this published form otherwise, by {error:.1e};"
            f" missing {list(info['missing_keys'])[:3]}, unexpected {list(info['unexpected_keys'])[:3]}"
        )


def _shown(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {text[:300]}"
