"""A request for a message, and what the model is asked for by it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from edgelm.api import Model
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.anthropic.thinking import ThinkingConfig
from edgelm.server.anthropic.tools import AnthropicToolChoice, ClientTool, definitions_of, insisted_on
from edgelm.server.anthropic.turns import MESSAGE, chat_messages, ends_open
from edgelm.server.anthropic.wire import NO_THREADS
from edgelm.server.exchange.body import RequestBody, changed, refusal
from edgelm.server.exchange.calls import ForcedCalls
from edgelm.server.exchange.chat import answer_form, chat_task
from edgelm.server.http.errors import RequestError
from edgelm.server.replies import ReplyTask

PASSED_OVER = {
    "cache_control": "every prompt that was computed is kept, without being asked",
    "context_management": "nothing is taken out of a conversation; the answer says that no edit was applied",
    "diagnostics": "nobody looks for what a prompt has missed in the cache",
    "billing_policy": "nothing costs anything",
    "fallback_credit_token": "nothing costs anything",
    "inference_geo": "the answer is made on this machine",
    "metadata": "who asks is not recorded",
    "service_tier": "there is one tier",
    "speed": "there is one speed",
    "user_profile_id": "who asks is not recorded",
    "workspace_id": "there is one workspace",
}
"""Fields that change nothing here → why. A client that sends them gets what it would have got."""


class JsonFormat(BaseModel):
    """A form of the answer."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(BaseModel):
    """What the answer is like. `effort` is told to a model whose template asks for it, `task_budget` is a wish."""

    format: JsonFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    task_budget: Any = None


class CountRequest(RequestBody):
    """A body of `/v1/messages/count_tokens`: all that a prompt is made of."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "container": (None,), "mcp_servers": (None, []), "fallbacks": (None, [], "default"),
    }  # fmt: skip

    model: str
    messages: Annotated[
        list[Annotated[dict[str, Any], Field(json_schema_extra=MESSAGE)]],
        Field(min_length=1, max_length=100_000),
    ]
    system: str | list[dict[str, Any]] | None = None
    tools: Annotated[list[ClientTool], Field(max_length=512)] | None = None
    tool_choice: AnthropicToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    context_management: dict[str, Any] | None = None
    container: Any = None
    mcp_servers: Any = None
    thread: Any = None
    fallbacks: Any = None
    compaction: Any = None
    """A prompt is counted as it is, and no message is made that way."""
    billing_policy: Any = None
    cache_control: dict[str, Any] | None = None
    diagnostics: dict[str, Any] | None = None
    fallback_credit_token: Any = None
    inference_geo: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard", "fast"] | None = None
    user_profile_id: str | None = None
    workspace_id: str | None = None

    @field_validator("thread")
    @classmethod
    def _no_thread(cls, value: Any) -> None:
        if value is not None:
            raise RequestError(
                400, "threads are not kept here: send the whole conversation", param="thread", code=NO_THREADS
            )

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """The tools that the model is told of."""
        tools = definitions_of(self.tools or ())
        return [] if self.tool_choice is not None and self.tool_choice.type == "none" else tools

    @property
    def forced(self) -> ForcedCalls | None:
        """The calls that the request insists on."""
        return insisted_on(self.tool_choice, self.definitions)

    @property
    def is_one_call(self) -> bool:
        """Whether no more than one call may come."""
        return self.tool_choice is not None and bool(self.tool_choice.disable_parallel_tool_use)

    @property
    def shows_thinking(self) -> bool:
        """Whether thinking is part of the answer; else its signature alone brings it back."""
        return self.thinking is None or self.thinking.display != "omitted"

    def settings(self) -> dict[str, Any]:
        """Return the settings of `GenerationOptions.changed` that were given."""
        if self.thinking is None:
            return {}
        bound = (
            {} if self.thinking.budget_tokens is None else {"thinking_budget": self.thinking.budget_tokens}
        )
        return {"enable_thinking": self.thinking.type != "disabled", **bound}

    def options(self, defaults: GenerationOptions) -> GenerationOptions:
        """Return how the answer is made.

        Raises:
            RequestError: a field that is outside what it may be, or excludes another.
        """
        form = self.output_config.format if self.output_config is not None else None
        form = form or self.output_format
        schema = None if form is None else form.schema_
        held = answer_form(self.forced, schema, "output_config.format", self.definitions)
        if held and ends_open(self.messages):
            raise refusal(
                "messages", "ends with an assistant's, and an answer of a given form has no such beginning"
            )
        return changed(defaults, {**self.settings(), **held})

    def asked(self, model: Model) -> ReplyTask:
        """Return the prompt and the settings of the answer; renders and encodes, which takes time.

        Raises:
            RequestError, PromptError, MessageError, UnsupportedError: the request cannot be met by this model.
        """
        return chat_task(
            model,
            chat_messages(self.system, self.messages),
            self.options(model.defaults),
            self.definitions,
            goes_on=ends_open(self.messages),
            effort=None if self.output_config is None else self.output_config.effort,
        )


class MessageRequest(CountRequest):
    """A body of `/v1/messages`."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {**CountRequest.unsupported, "compaction": (None,)}

    max_tokens: Annotated[int, Field(ge=0)]
    stream: bool | None = None
    stop_sequences: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=64)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None

    @property
    def only_warms(self) -> bool:
        """Whether nothing is to be said: the prompt is computed, for the requests to come."""
        return self.max_tokens == 0

    def settings(self) -> dict[str, Any]:
        """Return the settings of `GenerationOptions.changed` that were given."""
        names = ("temperature", "top_p", "top_k")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.stop_sequences:
            given["stop"] = self.stop_sequences
        return {**super().settings(), **given, "max_tokens": max(1, self.max_tokens)}

    def asked(self, model: Model) -> ReplyTask:
        """Return the prompt and the settings of the answer; renders and encodes, which takes time.

        Raises:
            RequestError, PromptError, MessageError, UnsupportedError: the request cannot be met by this model.
        """
        task = super().asked(model)
        most = model.context_length
        if most is not None and len(task.ids) >= most:
            # The words by which Claude Code knows that it has to make the conversation shorter.
            raise RequestError(400, f"prompt is too long: {len(task.ids)} tokens > {most - 1} maximum")
        return task

    def options(self, defaults: GenerationOptions) -> GenerationOptions:
        """Return how the answer is made.

        Raises:
            RequestError: a field that is outside what it may be, or excludes another.
        """
        thinking = self.thinking
        if thinking is not None and thinking.type == "enabled" and thinking.budget_tokens is None:
            raise refusal("thinking.budget_tokens", "is missing")
        return super().options(defaults)
