"""Fields that requests for text have in common, checked, and the settings of a reply that they become."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from edgelm.server.exchange.body import RequestBody
from edgelm.server.http.errors import RequestError

MOST_CHOICES = 16

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class StreamOptions(BaseModel):
    """What a stream has beside its choices."""

    include_usage: bool = False


class SamplingFields(RequestBody):
    """How an answer is drawn, and what ends it. Null is as good as nothing in every field, as it is for OpenAI."""

    tolerated: ClassVar[dict[str, str]] = {"user": "nobody here watches users"}
    """Documented fields that change nothing here → why they may be passed over."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings of `GenerationOptions.changed` that were given.

        Raises:
            RequestError: a logit bias on what is no token id.
        """
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
                 "stop")  # fmt: skip
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.seed is not None:
            given["seed"] = self.seed % 2**64
        if self.logit_bias:
            given["logit_bias"] = _token_ids(self.logit_bias)
        return given


class CommonFields(SamplingFields):
    """A request for choices: what chat completions and completions have in common."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: int | None = None

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return 1 if self.n is None else self.n

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with what it took."""
        return self.stream_options is not None and self.stream_options.include_usage

    def settings(self) -> dict[str, Any]:
        """Return the settings of `GenerationOptions.changed` that were given.

        Raises:
            RequestError: a logit bias on what is no token id.
        """
        given = super().settings()
        return given if self.max_tokens is None else {**given, "max_tokens": self.max_tokens}


def _token_ids(bias: dict[str, float]) -> dict[int, float]:
    for name in bias:
        # Python refuses to read a number of some thousand digits; no vocabulary needs more than ten.
        if not (name.isascii() and name.isdecimal() and len(name) <= 10):
            raise RequestError(
                400,
                f"logit_bias names {name!r}, expected a token id",
                param="logit_bias",
                code="invalid_value",
            )
    return {int(name): value for name, value in bias.items()}
