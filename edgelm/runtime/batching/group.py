"""Replies of equal settings, drawn together: one draw of many rows, with the tokens that each row's own sampler would draw.

As many operations for thirty-two replies as for one. Who leaves is forgotten; who comes (again) is seated by what it has
said, since seed, prompt and reply determine all that a draw depends on.

Shapes: B replies, V vocab.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import mlx.core as mx

from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.processors import Said
from edgelm.runtime.sampling.sampler import choose, key_after, logprobs_of, processors_of
from edgelm.runtime.sampling.settings import Sampling
from edgelm.runtime.sampling.step import Step
from edgelm.runtime.sequence import ActiveRequest


class Group:
    """The sampler of several replies.

    Args:
        like: a request of the group: all have its `group_key`.
        vocab_size: columns of the logits.
    """

    def __init__(self, like: Request, vocab_size: int) -> None:
        self._sampling = like.sampling
        self._logprobs = like.logprobs
        self._scored = like.scored
        self._processors = processors_of(like.sampling, vocab_size)
        self._keys = mx.zeros((0, 2), dtype=mx.uint32)  # [B, 2]
        self.members: list[ActiveRequest] = []
        """Row by row."""

    def seat(self, replies: Sequence[ActiveRequest]) -> None:
        """Make these the members, in an order that `members` says."""
        wanted = {id(reply) for reply in replies}
        kept = [row for row, reply in enumerate(self.members) if id(reply) in wanted]
        seated = {id(self.members[row]) for row in kept}
        joining = [reply for reply in replies if id(reply) not in seated]
        if not joining and len(kept) == len(self.members):
            return
        self._seat(kept, joining)
        self.members = [*(self.members[row] for row in kept), *joining]

    def draw(self, logits: mx.array) -> Step:
        """Return the tokens after logits `[B, V]`, in the order of `members`; lazily."""
        changed = logits
        for processor in self._processors:
            changed = processor.apply(changed)
        ids, kept = choose(
            self._sampling, changed, self._allowed(logits.shape[-1]), lambda: self._noise(logits.shape[-1])
        )
        for processor in self._processors:
            processor.observe(ids)
        if self._scored:
            return Step(ids).scored(logprobs_of(kept, ids), logprobs_of(logits, ids))
        return Step.build(logits, ids, self._logprobs)

    def _seat(self, kept: Sequence[int], joining: Sequence[ActiveRequest]) -> None:
        said = [Said(reply.ids[: reply.prompt_tokens], reply.ids[reply.prompt_tokens :]) for reply in joining]
        for processor in self._processors:
            processor.seat(kept, said)
        keys = [self._keys[mx.array(list(kept))]] if kept else []
        keys += [key_after(reply.seed, len(reply.ids) - reply.prompt_tokens)[None] for reply in joining]
        self._keys = mx.concatenate(keys)

    def _allowed(self, columns: int) -> mx.array | None:
        """`[B, V]` bool; a group is constrained as a whole or not at all."""
        masks = [reply.allowed(columns) for reply in self.members]
        held = [mask for mask in masks if mask is not None]
        return mx.concatenate(held) if held else None

    def _noise(self, vocab_size: int) -> mx.array:
        """Gumbel noise `[B, V]`, each row from its own key, which moves on."""
        pairs = mx.vmap(mx.random.split)(self._keys)  # [B, 2, 2]
        self._keys = pairs[:, 0]
        noise: mx.array = mx.vmap(lambda key: mx.random.gumbel((vocab_size,), key=key))(pairs[:, 1])
        return noise


def group_key(request: Request) -> Hashable:
    """Return what replies must have in common to be drawn together: all settings that matter, but for the seed."""
    sampling = dataclasses.replace(request.sampling, seed=None)
    if sampling.is_greedy:
        sampling = dataclasses.replace(sampling, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)
    if sampling.repetition_penalty == 1:
        sampling = dataclasses.replace(sampling, repetition_window=Sampling().repetition_window)
    fields = {**vars(sampling), "logit_bias": tuple(sorted(sampling.logit_bias.items()))}
    return (*fields.items(), request.logprobs, request.scored, request.constraint is None)
