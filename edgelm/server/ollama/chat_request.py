"""A request for an answer in a chat."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from edgelm.api import Model
from edgelm.server.exchange.body import refusal
from edgelm.server.exchange.chat import chat_task, definition
from edgelm.server.ollama.fields import OllamaRequest
from edgelm.server.ollama.turns import MESSAGE, template_messages
from edgelm.server.replies import ReplyTask


class OllamaFunction(BaseModel):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OllamaTool(BaseModel):
    """A tool; there are no others than functions."""

    type: Literal["function", ""] | None = None
    function: OllamaFunction


class OllamaChatRequest(OllamaRequest):
    """A body of `/api/chat`."""

    messages: list[Annotated[dict[str, Any], Field(json_schema_extra=MESSAGE)]] | None = None
    tools: Annotated[list[OllamaTool], Field(max_length=512)] | None = None

    @property
    def only_loads(self) -> bool:
        """Whether nothing is asked for but that the model be loaded, or let go."""
        return not self.messages

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """The tools that the model is told of."""
        functions = [tool.function for tool in self.tools or ()]
        return [definition(each.name, each.description, each.parameters) for each in functions]

    def asked(self, model: Model) -> ReplyTask:
        """Return the prompt and the settings of the answer; renders and encodes, which takes time.

        Raises:
            RequestError, PromptError, MessageError, UnsupportedError: the request cannot be met by this model.
        """
        self.check_thinking(model)
        messages, tools = template_messages(self.messages or ()), self.definitions
        options = self.reply_options(model.defaults, tools)
        last = messages[-1]
        goes_on = last.get("role") == "assistant" and "tool_calls" not in last
        if goes_on and options.grammar is not None:
            raise refusal(
                "messages", "ends with an assistant's, and an answer of a given form has no such beginning"
            )
        return chat_task(model, messages, options, tools, goes_on=goes_on, effort=self.effort)
