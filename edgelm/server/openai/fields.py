"""Fields that chat completions and completions have in common, checked, and the settings of a reply that they become."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgelm.errors import OptionError
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.http.errors import RequestError, refusal_of, refusal_of_fields

R = TypeVar("R", bound="CommonFields")

MOST_CHOICES = 16


class StreamOptions(BaseModel):
    """What a stream has beside its choices."""

    include_usage: bool = False


class CommonFields(BaseModel):
    """A request. Null is as good as nothing in every field, as it is for OpenAI."""

    model_config = ConfigDict(extra="ignore", strict=True)

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {}
    """Fields that ask for what there is not → values that ask for nothing."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
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
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
                 "stop", "max_tokens")  # fmt: skip
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.seed is not None:
            given["seed"] = self.seed % 2**64
        if self.logit_bias:
            given["logit_bias"] = _token_ids(self.logit_bias)
        return given


def _token_ids(bias: dict[str, float]) -> dict[int, float]:
    for name in bias:
        if not name.isascii() or not name.isdecimal():
            raise RequestError(
                400,
                f"logit_bias names {name!r}, expected a token id",
                param="logit_bias",
                code="invalid_value",
            )
    return {int(name): value for name, value in bias.items()}


def read_request(kind: type[R], body: bytes) -> R:
    """Return the request in `body`.

    Raises:
        RequestError: it is no JSON object, or a field is not what it may be, or asks for what there is not.
    """
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise refusal_of_fields(error) from error
    for name, neutral in kind.unsupported.items():
        value = getattr(request, name)
        if value not in neutral:
            raise RequestError(400, f"{name} is not supported here", param=name, code="unsupported_parameter")
    return request


def changed(options: GenerationOptions, settings: dict[str, Any]) -> GenerationOptions:
    """Return `options` with `settings`, whose names are those of the request.

    Raises:
        RequestError: naming the setting that is outside what it may be.
    """
    try:
        return options.changed(**settings)
    except OptionError as error:
        refusal = refusal_of(error)
        refusal.param = refusal.param or next(
            (name for name in settings if error.message.startswith(name)), None
        )
        raise refusal from error
