"""The KV caches of several sequences in one, on mlx-lm's batch caches: join, step, leave.

Sequences stand side by side, the short ones padded on the left; masks keep them apart. Prompts are computed
together where the network takes padding on the right, one after the other where it does not (see
`exactness`). mlx-lm's own `BatchGenerator` is not used: it gives samplers log-probabilities of its own making,
copies the caches of each reply that ends, wires memory, and loses every sequence when one fails.

Shapes: B sequences, T tokens, V vocab.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence

import mlx.core as mx

from edgelm.adapters.acting.variant import Variant
from edgelm.pricing.chunks import Chunks, ChunkSizes
from edgelm.runtime.batching.compiled_step import CompiledStep
from edgelm.runtime.prefill import Chunk, Underway, finish
from edgelm.runtime.runner import Layers, ModelRunner
from edgelm.zoo.caches.batch import extract_row
from edgelm.zoo.caches.leaves import arrays_of, leaves_of
from edgelm.zoo.caches.step_view import take_steps

Work = Generator[Chunk, None, Layers]
"""Computes sequences chunk by chunk, and comes to their caches."""

SPREAD_TOKENS = 512
"""The most padding, over all sequences that are computed together."""

CHUNKS = Chunks(512, 128)
"""Tokens computed at once, over all sequences, where nothing else is asked: so many fill a CPU; fewer where others wait."""


class BatchCache:
    """The caches of the sequences that run.

    Args:
        runner: calls the network.
        pads: whether it computes prompts of several lengths together.
        chunks: tokens computed at once, over all sequences.
        compiled_after: steps of the same sequences after which theirs is compiled, where their caches allow it and no
            adapters act; None is never.
    """

    def __init__(
        self,
        runner: ModelRunner,
        *,
        pads: bool,
        chunks: ChunkSizes = CHUNKS,
        compiled_after: int | None = None,
    ) -> None:
        self._runner = runner
        self._pads = pads
        self._chunks = chunks
        self._layers: Layers = []
        self._variants: list[Variant] = []
        self._stepper = runner
        self._compiled_after = compiled_after
        self._compiled: CompiledStep | None = None
        self._settled_steps = 0
        self.compiled_steps = 0
        """How many steps were compiled ones."""

    def join(
        self,
        rests: Sequence[Sequence[int]],
        starts: Sequence[Layers],
        is_cancelled: Callable[[], bool],
        variants: Sequence[Variant] = (),
    ) -> bool:
        """Compute sequences and put them behind those that run; False if cancelled, and then none is put.

        Args:
            rests: tokens to compute of each.
            starts: the caches, of one sequence each, that hold what comes before; they stay as they are.
            variants: which adapters act on each; none given is what the network does by itself.
        """
        layers = finish(self.computed(rests, starts, variants), is_cancelled)
        if layers is None:
            return False
        self.append(layers, variants)
        return True

    def computed(
        self, rests: Sequence[Sequence[int]], starts: Sequence[Layers], variants: Sequence[Variant]
    ) -> Work:
        """Compute sequences side by side, chunk by chunk, apart from those that run; for arguments see `join`."""
        return (self._padded if self._pads else self._separate)(rests, starts, variants)

    def append(self, layers: Layers, variants: Sequence[Variant], rows: Sequence[int] | None = None) -> None:
        """Put computed sequences behind those that run: all, or those of `rows`; `variants` are of those."""
        if rows is not None:
            for layer in layers:
                layer.filter(list(rows))
        self._turn_to([*self._variants, *variants])
        for mine, other in zip(self._layers, layers, strict=False):
            mine.extend(other)
        self._layers = self._layers or layers

    def step(self, ids: mx.array) -> mx.array:
        """Feed one token of each sequence, `[B]`; the logits of what follows, `[B, V]`, not yet computed."""
        if self._compiled_after is not None:
            self._settle(self._compiled_after)
        if self._compiled is not None and (logits := self._compiled.logits(ids, self._layers)) is not None:
            self.compiled_steps += 1
            return logits
        return self._stepper.step(ids, self._layers)

    def _settle(self, after: int) -> None:
        """Count the steps of these sequences, and have theirs compiled once there are enough."""
        self._settled_steps += 1
        acts = any(variant.acting for variant in self._variants)
        if self._settled_steps == after + 1 and not acts and take_steps(self._layers):
            self._compiled = CompiledStep(self._stepper)

    def extract(self, row: int, tokens: int) -> Layers:
        """Return caches of one sequence alone, copied; their computation is started and not waited for.

        Args:
            tokens: how many of the sequence they hold.
        """
        layers = [extract_row(layer, row, tokens) for layer in self._layers]
        mx.async_eval([arrays_of(leaf.state) for leaf in leaves_of(layers)])  # type: ignore[no-untyped-call]
        return layers

    def keep(self, rows: Sequence[int]) -> None:
        """Let the other sequences go."""
        self._turn_to([self._variants[row] for row in rows] if self._variants else [])
        if not rows:
            self._layers = []
        for layer in self._layers:
            layer.filter(list(rows))

    def _turn_to(self, variants: list[Variant]) -> None:
        self._variants = variants
        self._stepper = self._runner.of(variants)
        self._compiled, self._settled_steps = None, 0

    def _separate(
        self, rests: Sequence[Sequence[int]], starts: Sequence[Layers], variants: Sequence[Variant]
    ) -> Work:
        single: list[Layers] = []
        done = [0] * len(rests)
        for row, (rest, start) in enumerate(zip(rests, starts, strict=True)):
            layers = copy.deepcopy(start)
            runner = self._runner.of(variants[row : row + 1])
            for underway, (computed,) in runner.in_chunks(mx.array([list(rest)]), layers, self._chunks):
                done[row] = computed
                yield underway, list(done)
            single.append(layers)
        return merge(single)

    def _padded(
        self, rests: Sequence[Sequence[int]], starts: Sequence[Layers], variants: Sequence[Variant]
    ) -> Work:
        """All up to the length of the shortest, then the ends padded on the right, in one chunk.

        In one, since mlx-lm's recurrent layers lose their state when a sequence ends in an earlier chunk
        than the last (falcon_h1), and of two tokens at least, since a window takes a single one for a
        generated token.
        """
        layers, runner = merge(starts), self._runner.of(variants)
        shared, longest = min(map(len, rests)), max(map(len, rests))
        if shared < longest < shared + 2:
            shared = max(0, longest - 2)
        yield from runner.in_chunks(mx.array([rest[:shared] for rest in rests]), layers, self._chunks)
        if shared < longest:
            self._feed_ends(runner, layers, [list(rest[shared:]) for rest in rests], max(2, longest - shared))
            yield Underway(layers), list(map(len, rests))
            mx.clear_cache()
        return layers

    def _feed_ends(self, runner: ModelRunner, layers: Layers, ends: list[list[int]], width: int) -> None:
        """What is left of each sequence, padded on the right to `width` tokens."""
        padding = [width - len(end) for end in ends]
        for layer in layers:
            layer.prepare(lengths=list(map(len, ends)), right_padding=padding)
        ids = [[*end, *[0] * pad] for end, pad in zip(ends, padding, strict=True)]
        runner.feed(mx.array(ids), layers)
        for layer in layers:
            layer.finalize()


def merge(starts: Sequence[Layers]) -> Layers:
    """Return the caches of single sequences side by side, copied."""
    return [column[0].merge(list(column)) for column in zip(*starts, strict=True)]


def widest_spread(rows: int, most_padding: int = SPREAD_TOKENS) -> int:
    """Return by how many tokens the rests of `rows` sequences may differ to be computed together."""
    return max(2, most_padding // rows)
