"""What the runtime says while it works: frozen dataclasses of plain Python values, safe across threads.

A generation is `Prefill*`, then `Token*` (engine) or `Text*` and `ToolCall*` (chat), then exactly one
`Finished`. A text generation passes the engine's `Token`s on only where log-probabilities were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgelm.text.segments import Channel as Channel
from edgelm.text.segments import ToolCall as ToolCall

if TYPE_CHECKING:
    from numpy import float32, int32
    from numpy.typing import NDArray

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Prefill:
    """`done` of `total` prompt tokens are in the KV cache; `cached` of them were there before."""

    done: int
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have been sampled, with its natural-log probability and, of a text generation, its text."""

    token: int
    logprob: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """One sampled token. `logprob` and `alternatives` are filled only when the request asked for them, `text` by a text
    generation: what the token adds, U+FFFD for a part of a character.
    """

    id: int
    logprob: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the reply. The concatenated pieces of one channel are exactly that channel's text."""

    text: str
    channel: Channel = "answer"


@dataclass(frozen=True, slots=True)
class OtherAnswer:
    """An answer that was drawn and not chosen."""

    text: str
    score: float | None
    """What it was judged to be worth; None where no judge said."""
    thinking: str = ""
    reason: FinishReason = "stop"


@dataclass(frozen=True, slots=True)
class Picked:
    """Several answers were drawn and judged; the pieces that follow are those of the best."""

    number: int
    """Which of them, from 0 in the order of their seeds."""
    score: float | None
    others: tuple[OtherAnswer, ...]
    """The best of them first."""


@dataclass(frozen=True, slots=True)
class HistoryRewritten:
    """The model's template renders earlier turns otherwise than they were computed; said once in a chat.

    `kept` of the `known` tokens of those turns could be used again. Typical of templates that drop earlier thinking.
    """

    kept: int
    known: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation cost. Times are wall-clock seconds."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    """Tokens sampled, a final stop token included."""
    prefill_s: float
    first_token_s: float
    """From the request to the first sampled token."""
    decode_s: float
    """From the first sampled token to the last."""
    peak_memory_bytes: int
    drafted_tokens: int = 0
    """Guessed by speculation and checked."""
    accepted_tokens: int = 0
    """Guesses that stood."""
    thinking_tokens: int = 0
    """Tokens of thinking and its marks among the sampled ones; a text generation counts them."""

    @property
    def prefill_tokens_per_s(self) -> float:
        """Prompt tokens computed (cached ones excluded) per second."""
        return (self.prompt_tokens - self.cached_tokens) / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tokens_per_s(self) -> float:
        """Tokens after the first, per second of decoding."""
        return (self.completion_tokens - 1) / self.decode_s if self.decode_s > 0 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """Natural-log probabilities of the tokens of one answer, in NumPy arrays of T tokens, a final stop token included."""

    tokens: NDArray[int32]
    """The ids sampled, `[T]`."""
    sampled: NDArray[float32]
    """Under the distribution that each was drawn from, after bias, penalties, constraint, temperature and filters, `[T]`;
    0 where the likeliest is always taken."""
    model: NDArray[float32]
    """Under the model's own, at temperature 1 and without any of these, `[T]`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every generation that did not raise."""

    reason: FinishReason
    usage: Usage
    matched: str | int | None = None
    """The stop string or stop token that ended it, if one did."""
    tokens: tuple[int, ...] = ()
    """The ids sampled, a final stop token excluded."""
    scores: TokenScores | None = field(default=None, compare=False, repr=False)
    """Where the request asked for them."""


EngineEvent = Prefill | Token | Finished
ChatEvent = HistoryRewritten | Prefill | Picked | Token | Text | ToolCall | Finished
