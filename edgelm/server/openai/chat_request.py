"""A request for an answer in a chat, and what the model is asked for by it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from edgelm.api import Model
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.exchange.body import changed, refusal
from edgelm.server.exchange.calls import ForcedCalls, forced_calls
from edgelm.server.exchange.chat import answer_form, chat_task, parameters_of
from edgelm.server.openai.fields import CommonFields, ReasoningEffort, SamplingFields
from edgelm.server.replies import ReplyTask


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


class NamedFunction(BaseModel):
    """The name of a function."""

    name: str


class NamedChoice(BaseModel):
    """A function that has to be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedChoice


class ChatRequest(CommonFields):
    """A body of `/v1/chat/completions`."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "functions": (None, []), "function_call": (None, "none"), "audio": (None,), "prediction": (None,),
        "modalities": (None, ["text"]), "web_search_options": (None,), "moderation": (None,),
    }  # fmt: skip
    tolerated: ClassVar[dict[str, str]] = {
        **SamplingFields.tolerated,
        "metadata": "it labels what is stored, and nothing is",
        "store": "nothing is stored, and what is not there is a 404",
        "prompt_cache_key": "prompts are found by what they say",
        "prompt_cache_options": "every prompt is cached, however it is asked for",
        "prompt_cache_retention": "a cache stays as long as there is room",
        "safety_identifier": "nobody here watches users",
        "service_tier": "there is one",
        "verbosity": "models here have no such notion",
    }

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=512)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    prediction: Any = None
    modalities: Any = None
    web_search_options: Any = None
    moderation: Any = None

    @property
    def forced(self) -> ForcedCalls | None:
        """The calls that the request insists on."""
        choice = self.tool_choice
        if choice is None or choice in ("none", "auto"):
            return None
        name = choice.function.name if isinstance(choice, NamedChoice) else None
        return forced_calls(parameters_of(self.definitions), name, is_one=self.parallel_tool_calls is False)

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
            raise refusal("top_logprobs", "is given without logprobs")
        if self.reasoning_effort is not None:
            settings["enable_thinking"] = self.reasoning_effort not in ("none", "minimal")
        settings |= answer_form(self.forced, self._schema(), "response_format", self.definitions)
        return changed(defaults, settings)

    def _schema(self) -> Any:
        form = self.response_format
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return {"type": "object"}
        if form.json_schema is None:
            raise refusal("response_format", "has no json_schema")
        return form.json_schema.schema_

    def asked(self, model: Model) -> ReplyTask:
        """Return the prompt and the settings of one answer; renders and encodes, which takes time.

        Raises:
            RequestError, PromptError, MessageError, UnsupportedError: the request cannot be met by this model.
        """
        options = self.options(model.defaults)
        return chat_task(model, self.messages, options, self.definitions, effort=self.reasoning_effort)
