"""A request for a response, and the settings that its fields become."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.exchange.body import changed, refusal
from edgelm.server.exchange.chat import answer_form
from edgelm.server.openai.fields import ReasoningEffort, SamplingFields
from edgelm.server.openai.responses.toolbox import AnyTool, ResponseToolChoice, Toolbox

LOGPROBS = "message.output_text.logprobs"
THOUGHTS = "reasoning.encrypted_content"

Included = Literal[
    "message.output_text.logprobs", "reasoning.encrypted_content",
    # Of tools that are not run here: no item has what they name.
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
]  # fmt: skip


class ReasoningOptions(BaseModel):
    """How the model thinks, and what is shown of it."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class TextFormat(BaseModel):
    """The form of the text."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(BaseModel):
    """What the text is like; the verbosity is told back, and not to the model, which has no such notion."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseRequest(SamplingFields):
    """A body of `/v1/responses`."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "background": (None, False), "conversation": (None,), "prompt": (None,), "context_management": (None, []),
        "moderation": (None,),
    }  # fmt: skip
    tolerated: ClassVar[dict[str, str]] = {
        "access_programs": "no model here is under one",
        "background_options": "there is no background",
        "image": "no tool here makes images",
        "personality": "it names a voice of OpenAI's models",
        "max_tool_calls": "it bounds calls of OpenAI's own tools, and there are none",
        "prompt_cache_options": "every prompt is cached, however it is asked for",
        "stream_options": "events are padded for nobody",
    }

    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    include: list[Included] | None = None
    tools: Annotated[list[AnyTool], Field(max_length=512)] | None = None
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    background: Any = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    moderation: Any = None

    @property
    def has_logprobs(self) -> bool:
        """Whether tokens come with their probabilities."""
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)

    @property
    def carries_thoughts(self) -> bool:
        """Whether the client keeps the thinking, to give it back."""
        return THOUGHTS in (self.include or ())

    @property
    def summarizes(self) -> bool:
        """Whether thinking is asked for as its summary, which is the thinking itself."""
        return self.reasoning is not None and bool(self.reasoning.summary or self.reasoning.generate_summary)

    def options(self, defaults: GenerationOptions, tools: Toolbox) -> GenerationOptions:
        """Return how the response is made.

        Raises:
            RequestError: a field that is outside what it may be, or excludes another.
        """
        settings = self.settings()
        if self.max_output_tokens is not None:
            settings["max_tokens"] = self.max_output_tokens
        if self.has_logprobs:
            settings["logprobs"] = self.top_logprobs or 0
        if self.reasoning is not None and self.reasoning.effort is not None:
            settings["enable_thinking"] = self.reasoning.effort not in ("none", "minimal")
        settings |= answer_form(tools.forced, self._schema(), "text.format", tools.definitions)
        return changed(defaults, settings)

    def _schema(self) -> Any:
        form = self.text.format if self.text else None
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return {"type": "object"}
        if form.schema_ is None:
            raise refusal("text.format", "has no schema")
        return form.schema_
