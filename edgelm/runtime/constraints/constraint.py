"""What the engine asks of a constraint. Knows no grammar: see `grammar.py` for those.

A constraint belongs to one request and lives on the engine thread. The engine calls `allowed` while the
forward pass runs, masks the logits with -inf before temperature and filters, samples, and calls `accept` with
the token it read, stop tokens included.

Shapes: V the network's vocabulary, n draft tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import mlx.core as mx


class Constraint(Protocol):
    """Which tokens may come next; one for each request, used on the engine thread."""

    def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
        """bool [1 + n, V]: row i says what may follow the first i of `drafts`; n <= len(drafts) is how many of
        them are themselves admissible in order. Leaves the state as it was. V is the network's vocabulary
        (columns beyond the tokenizer's are False).
        """

    def accept(self, token: int) -> None:
        """Take note of a token that was sampled."""

    def forced(self, limit: int) -> list[int]:
        """Return the tokens that can only come next, at most `limit`; they make perfect drafts for speculation."""

    @property
    def is_over(self) -> bool:
        """Nothing more may come but a stop token."""


MakeConstraint = Callable[[int], Constraint]
"""Makes a request's constraint from V, on the engine thread."""
