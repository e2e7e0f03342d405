"""What a benchmark measures. Light, so that `--help` knows it without importing MLX."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.errors import OptionError
from edgelm.options import Options, option

CASES = ("depths", "turn", "speculation", "answers", "batch")
PEERS = ("mlx-lm",)

DEFAULT_DEPTHS = (0, 512, 2048)


@dataclass(frozen=True)
class BenchOptions(Options):
    """Which cases a benchmark measures, how often and at which sizes.

    Raises:
        OptionError: a setting outside what it may be.
    """

    cases: tuple[str, ...] = CASES
    """Which of `CASES`."""
    depths: tuple[int, ...] | None = None
    """Tokens in the cache; None takes 0, 512 and 2048 as far as the model's context goes."""
    prompt_tokens: int = option(512, "prompt tokens computed for the prefill figure", ge=1)
    new_tokens: int = option(64, "tokens decoded for a decode figure", ge=2)
    history_tokens: int = option(2048, "tokens of a chat before the turn that is measured", ge=64)
    repeats: int = option(3, "measurements of each figure", ge=1, le=100)
    draft: str | None = None
    """The smaller model that guesses ahead, by its name."""
    compare: str | None = option(None, "run this peer beside, on the same weights", choices=PEERS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depths is not None and (not self.depths or min(self.depths) < 0):
            raise OptionError(f"depth is {self.depths!r}, expected counts of tokens, 0 or more")
        unknown = [case for case in self.cases if case not in CASES]
        if unknown or not self.cases:
            raise OptionError(f"case is {', '.join(unknown) or 'none'}, expected some of {', '.join(CASES)}")

    def depths_within(self, context_length: int | None) -> tuple[int, ...]:
        """Return the depths to measure on a model of this context.

        Raises:
            OptionError: a depth that was asked for does not leave room for the measured tokens.
        """
        needed = max(self.prompt_tokens, self.new_tokens) + 1
        longest = None if context_length is None else context_length - needed
        wanted = DEFAULT_DEPTHS if self.depths is None else self.depths
        fitting = tuple(depth for depth in wanted if longest is None or depth <= longest)
        if not fitting or (self.depths is not None and fitting != wanted):
            raise OptionError(
                f"depth {max(wanted) if self.depths else 0} and {needed} measured tokens exceed the model's"
                f" context of {context_length} tokens",
                hint="give smaller --depth, --prompt-tokens or --new-tokens",
            )
        return fitting
