"""A request for an answer in a chat, and what the model is asked for by it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from edgelm.api import Model
from edgelm.messages.reader import read_messages
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.http.errors import RequestError
from edgelm.server.openai.calls import ForcedCalls, ToolChoice, forced_calls
from edgelm.server.openai.fields import CommonFields, changed
from edgelm.server.replies import ReplyTask
from edgelm.text.families.family import family_of
from edgelm.text.prompt import encode_chat, require_tool_support


class JsonSchema(BaseModel):
    """A schema with its name."""

    name: str = ""
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class ResponseFormat(BaseModel):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Function(BaseModel):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(BaseModel):
    """A tool; there are no others than functions."""

    type: Literal["function"]
    function: Function


class ChatRequest(CommonFields):
    """A body of `/v1/chat/completions`."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "functions": (None, []), "function_call": (None, "none"), "audio": (None,), "prediction": (None,),
        "modalities": (None, ["text"]), "web_search_options": (None,),
    }  # fmt: skip

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=512)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    prediction: Any = None
    modalities: Any = None
    web_search_options: Any = None

    @property
    def forced(self) -> ForcedCalls | None:
        """The calls that the request insists on."""
        tools = {tool.function.name: tool.function.parameters or {} for tool in self.tools or ()}
        return forced_calls(self.tool_choice, tools, is_one=self.parallel_tool_calls is False)

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """The tools that the model is told of."""
        if self.tool_choice == "none":
            return []
        return [tool.model_dump(exclude_none=True) for tool in self.tools or ()]

    def options(self, defaults: GenerationOptions) -> GenerationOptions:
        """Return how each answer is made.

        Raises:
            RequestError: a field that is outside what it may be, or excludes another.
        """
        settings = self.settings()
        if self.max_completion_tokens is not None:
            settings["max_tokens"] = self.max_completion_tokens
        if self.logprobs:
            settings["logprobs"] = self.top_logprobs or 0
        elif self.top_logprobs:
            raise _refusal("top_logprobs", "is given without logprobs")
        if self.reasoning_effort is not None:
            settings["enable_thinking"] = self.reasoning_effort not in ("none", "minimal")
        forced = self.forced
        if forced is not None:
            settings["schema"] = forced.schema
        elif (schema := self._schema()) is not None:
            settings["schema"] = schema
        return changed(defaults, settings)

    def _schema(self) -> Any:
        form = self.response_format
        if form is None or form.type == "text":
            return None
        if self.definitions:
            raise _refusal(
                "response_format",
                f"is {form.type}, beside tools: an answer of a given form calls no function",
            )
        if form.type == "json_object":
            return {"type": "object"}
        if form.json_schema is None:
            raise _refusal("response_format", "has no json_schema")
        return form.json_schema.schema_

    def asked(self, model: Model) -> ReplyTask:
        """Return the prompt and the settings of one answer; renders and encodes, which takes time.

        Raises:
            RequestError, PromptError, MessageError, UnsupportedError: the request cannot be met by this model.
        """
        options, tools = self.options(model.defaults), self.definitions
        if tools:
            require_tool_support(model.tokenizer)
        thinks = options.enable_thinking if family_of(model.tokenizer).can_think else None
        messages = read_messages(self.messages)
        ids = encode_chat(model.tokenizer, messages, enable_thinking=thinks, tools=tools)
        return ReplyTask(ids, options, tools or None)


def _refusal(name: str, problem: str) -> RequestError:
    return RequestError(400, f"{name} {problem}", param=name, code="invalid_value")
