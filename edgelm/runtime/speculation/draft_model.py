"""Guesses of a smaller model with the same vocabulary.

It draws with the sampler of the request, so with the very noise that the large model will draw with: the more the
two agree, the more of the guesses stand, at any temperature. It computes nothing until it is asked, and then catches
up with what was said meanwhile. A guess is fed to the next before it is read: all are started, then they are read in order.
Runs on the thread that owns MLX.

Shapes: V vocab, K guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import mlx.core as mx

from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.cache.node import Snapshot
from edgelm.runtime.cache.pool import Pool, common_prefix, snapshot_of
from edgelm.runtime.prefill import Underway
from edgelm.runtime.requests import Cancel
from edgelm.runtime.runner import ModelRunner
from edgelm.runtime.sampling.sampler import Sampler
from edgelm.zoo.caches.leaves import MakeLayers, grows, leaves_of, thaw

_UNREAD = -1  # no token's id


class DraftModel:
    """A small network that runs ahead of a large one.

    Args:
        network: an mlx-lm model.
        make_layers: makes its caches.
        prefill_chunk: tokens computed at once.
    """

    def __init__(self, network: Any, make_layers: MakeLayers, *, prefill_chunk: int = 512) -> None:
        self._runner = ModelRunner(network)
        self._chunk = prefill_chunk
        self._live = LiveCache(Pool(make_layers, budget_bytes=0))
        self._sequence: list[int] = []
        self._cancel: Cancel | None = None
        self._position = 0  # tokens in the cache before the last guesses
        self._frozen: Snapshot = ()  # what cannot be cut back, as it was there

    def begin(self, prompt: Sequence[int], cancel: Cancel) -> None:
        """Begin another request; what is known of its prompt is kept."""
        self._position = self._live.begin(prompt)
        self._sequence = list(prompt)
        self._cancel = cancel

    def observe(self, tokens: Sequence[int]) -> None:
        """Note that the sequence goes on with `tokens`."""
        self._sequence.extend(tokens)

    def reset(self) -> None:
        """Forget everything, after a failure."""
        self._live.reset()

    def propose(self, count: int, sampler: Sampler) -> list[int]:
        """Return the next `count` tokens as this model would have them; fewer, or none, if cancelled."""
        self._go_back()
        if not self._catch_up():
            return []
        self._frozen = snapshot_of(list(leaves_of(self._live.layers)))
        self._position = len(self._live.tokens)
        started = self._start(count, sampler)
        drafts = self._read(started)
        # A guess that was not read is nobody's token: it is undone with those that do not stand.
        fed = [*self._sequence[-1:], *drafts, *[_UNREAD] * (len(started) - len(drafts))]
        self._live.fed(fed[: len(started)])
        return drafts

    def _start(self, count: int, sampler: Sampler) -> list[mx.array]:
        """K guesses `[1]` under way, each fed to the next."""
        last = mx.array(self._sequence[-1:])
        drafts: list[mx.array] = []
        while len(drafts) < count and not self._is_cancelled():
            logits = self._runner.step(last, self._live.layers)
            last = sampler.peek(_fit(logits, sampler.vocab_size), (), after=drafts)
            mx.async_eval(last)  # type: ignore[no-untyped-call]
            drafts.append(last)
        return drafts

    def _read(self, started: Sequence[mx.array]) -> list[int]:
        """Wait for them in order; fewer if cancelled."""
        drafts: list[int] = []
        for guess in started:
            if self._is_cancelled():
                break
            mx.eval(guess)
            drafts += cast(list[int], guess.tolist())
        return drafts

    def _catch_up(self) -> bool:
        """Feed all of the sequence but its last token; False if cancelled."""
        while behind := self._sequence[len(self._live.tokens) : -1][: self._chunk]:
            if self._is_cancelled():
                return False
            self._runner.feed(mx.array([behind]), self._live.layers)
            self._live.fed(behind)
            if not Underway().compute(self._live.layers, self._is_cancelled):
                return False
        return True

    def _go_back(self) -> None:
        """Undo guesses that did not stand: all of them, where the cache cannot be cut anywhere."""
        live = self._live
        guessed = live.tokens[self._position :]
        surplus = len(guessed) - common_prefix(guessed, self._sequence[self._position : -1])
        if not surplus:
            return
        if live.needs_snapshots:
            surplus = len(guessed)
        for leaf, state in zip(leaves_of(live.layers), self._frozen, strict=True):
            if state is not None:
                thaw(leaf, state)
            elif grows(leaf):
                leaf.trim(surplus)
        del live.tokens[len(live.tokens) - surplus :]

    def _is_cancelled(self) -> bool:
        return self._cancel is not None and self._cancel.is_set()


def _fit(logits: mx.array, vocab_size: int) -> mx.array:
    """Give logits as many columns as the large model has: embeddings of one vocabulary are padded to different sizes."""
    missing = vocab_size - logits.shape[-1]
    if missing > 0:
        return mx.pad(logits, [(0, 0), (0, missing)], constant_values=mx.array(-mx.inf))
    return logits[:, :vocab_size]
