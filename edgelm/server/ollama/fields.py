"""Fields that chats and texts have in common, and what they become."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from edgelm.api import Model
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.exchange.body import RequestBody, changed, refusal
from edgelm.server.exchange.chat import Definitions, answer_form
from edgelm.server.http.errors import RequestError
from edgelm.server.ollama.options import OllamaOptions
from edgelm.text.families.family import family_of

_DURATION = re.compile(
    r"-?(\d+(\.\d*)?|\.\d+)((ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*)?"
)
"""A duration as Go writes it ("5m", "1h30m"), or a number of seconds."""


class OllamaRequest(RequestBody):
    """A request; a stream where it does not say otherwise."""

    model: Annotated[str, Field(min_length=1)]
    stream: bool | None = None
    options: OllamaOptions | None = None
    format: str | dict[str, Any] | None = None
    keep_alive: float | str | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @field_validator("keep_alive")
    @classmethod
    def _is_duration(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str) and value and not _DURATION.fullmatch(value):
            raise refusal("keep_alive", f"is {value!r}, expected a duration as '5m', or seconds")
        return value

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes a line at a time."""
        return self.stream is not False

    @property
    def lets_go(self) -> bool:
        """Whether the model is to leave the memory afterwards; else it stays until another needs its room."""
        value = self.keep_alive
        return not re.search("[1-9]", value) if isinstance(value, str) and value else value == 0

    def reply_options(self, defaults: GenerationOptions, tools: Definitions) -> GenerationOptions:
        """Return how the answer is made.

        Raises:
            RequestError: a field that is outside what it may be, or excludes another.
        """
        settings = self.options.settings() if self.options is not None else {}
        if self.logprobs:
            settings["logprobs"] = self.top_logprobs or 0
        elif self.top_logprobs:
            raise refusal("top_logprobs", "is given without logprobs")
        if self.think is not None:
            settings["enable_thinking"] = bool(self.think)
        return changed(defaults, settings | answer_form(None, self._schema(), "format", tools))

    @property
    def effort(self) -> str | None:
        """How much the model is to think, where a word says so."""
        return self.think if isinstance(self.think, str) else None

    def check_thinking(self, model: Model) -> None:
        """Refuse thinking of a model that was not taught it, as Ollama does.

        Raises:
            RequestError: it is asked for.
        """
        if self.think and not family_of(model.tokenizer).can_think:
            raise RequestError(400, f'"{self.model}" does not support thinking', param="think")

    def _schema(self) -> Any:
        if self.format is None or self.format == "":
            return None
        if isinstance(self.format, str) and self.format != "json":
            raise refusal("format", f"is {self.format!r}, expected 'json' or a JSON Schema")
        return {"type": "object"} if self.format == "json" else self.format
