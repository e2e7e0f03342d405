"""What every candidate is compared with: a network's final hidden states on some rows, and its head.

Once made, the network itself may go: logits are computed again from the hidden states, a few positions at a
time. No top-k cache: with the largest 512 logits alone a divergence has a floor of 0.126 nats. Hidden states
above a budget are written to a temporary directory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.errors import OutputError
from edgelm.evaluate.rows import Row
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.zoo.body_and_head import Cut, Head, cut

_KEPT_BYTES = 1 << 29
_LOGIT_BYTES = 1 << 26
"""Logits in float32 that are computed at a time."""


Pieces = Iterator[tuple[slice, mx.array]]
"""Positions of a row, and their logits [t, V] in float32."""


class Runner:
    """Logits of a network row by row, in pieces that fit in memory."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._cut: Cut | None = cut(network)

    @property
    def head(self) -> Head | None:
        """The network's head; None if it cannot be cut off, and whole rows of logits have to be computed."""
        return None if self._cut is None else self._cut.head

    def states(self, row: Row) -> mx.array:
        """Return the final hidden states [T - 1, D] of all tokens but the last, or their logits [T - 1, V] with no head."""
        ids = mx.array([row.ids[:-1]])
        states: mx.array = (self._network(ids) if self._cut is None else self._cut.hidden(ids))[0]
        mx.eval(states)
        return states

    def logits(self, row: Row) -> Pieces:
        """Return the logits of every position of `row` that predicts a scored token."""
        return logits_of(self.states(row), self.head, row)


def logits_of(states: mx.array, head: Head | None, row: Row) -> Pieces:
    """Return the logits of the scored positions, made of `states`, about 64 MB of them at a time."""
    at, stop = row.scored_from - 1, len(row.ids) - 1
    step = 1  # of the first piece: one position says how large a vocabulary is
    while at < stop:
        piece = slice(at, min(at + step, stop))
        logits = states[piece] if head is None else head(states[None, piece])[0]
        yield piece, logits.astype(mx.float32)
        at, step = piece.stop, max(1, _LOGIT_BYTES // (4 * logits.shape[-1]))


class Reference:
    """The reference's side of comparisons on `rows`. Close it, or use it in a `with` block."""

    _runner: Runner | None

    def __init__(
        self,
        network: Any,
        rows: Sequence[Row],
        *,
        on_progress: OnProgress = ignore_progress,
        kept_bytes: int = _KEPT_BYTES,
    ) -> None:
        """Run `network` on `rows`.

        Args:
            network: an mlx-lm network on this thread, `logits = network(ids[B, T])`.
            kept_bytes: hidden states beyond this go to the disk.
        """
        runner = Runner(network)
        self._prepare(rows, runner.head, kept_bytes)
        # With no head there is nothing small to keep: the network stays and is run again.
        self._runner = runner if self.head is None else None
        if self.head is not None:
            self._run(runner, on_progress)

    @classmethod
    def of_states(cls, rows: Sequence[Row], states: Iterable[mx.array], head: Head) -> Reference:
        """Return a reference whose final hidden states [T - 1, D] of each row come from elsewhere: a streamed model."""
        reference = cls.__new__(cls)
        reference._prepare(rows, head, _KEPT_BYTES)
        for of_row in states:
            reference._keep(of_row)
        return reference

    def _prepare(self, rows: Sequence[Row], head: Head | None, kept_bytes: int) -> None:
        self.rows = tuple(rows)
        self.head = head
        self._runner = None
        self._states: list[mx.array | Path] = []
        self._left_bytes = kept_bytes
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def logits(self, index: int) -> Pieces:
        """Return the logits of every position of row `index` that predicts a scored token."""
        row = self.rows[index]
        if self._runner is not None:
            return self._runner.logits(row)
        return logits_of(self._load(index), self.head, row)

    def close(self) -> None:
        """Let go of the hidden states; closing twice does nothing."""
        self._states.clear()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def __enter__(self) -> Reference:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, runner: Runner, on_progress: OnProgress) -> None:
        total = len(self.rows)
        for index, row in enumerate(self.rows):
            on_progress(Progress("Running the reference", index, total, "rows", row.domain))
            self._keep(runner.states(row))
            mx.clear_cache()
        on_progress(Progress("Running the reference", total, total, "rows"))

    def _keep(self, states: mx.array) -> None:
        self._left_bytes -= states.nbytes
        if self._left_bytes >= 0:
            self._states.append(states)
            return
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="edgelm-reference-")
        path = Path(self._directory.name) / f"{len(self._states)}.safetensors"
        try:
            mx.save_safetensors(str(path), {"states": states})
        except (RuntimeError, OSError) as error:  # what MLX raises when the disk is full
            raise OutputError(
                f"cannot write {path}: {error}",
                hint="set TMPDIR to a disk with room, or give a smaller --tokens",
            ) from error
        self._states.append(path)

    def _load(self, index: int) -> mx.array:
        kept = self._states[index]
        if isinstance(kept, mx.array):
            return kept
        loaded: Any = mx.load(str(kept))
        states: mx.array = loaded["states"]
        return states
