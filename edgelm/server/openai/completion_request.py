"""A request to continue texts, and what the model is asked for by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from edgelm.api import Model
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.server.exchange.body import changed
from edgelm.server.openai.fields import CommonFields
from edgelm.server.replies import ReplyTask
from edgelm.text.prompt import encode_text

DEFAULT_MAX_TOKENS = 16
"""What OpenAI's completions stop after where nothing is said."""

Ids = Annotated[list[int], Field(min_length=1)]


class CompletionRequest(CommonFields):
    """A body of `/v1/completions`."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "echo": (None, False), "suffix": (None, ""), "best_of": (None, 1),
    }  # fmt: skip

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=64)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, max_length=64)]
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: Any = None
    suffix: Any = None
    best_of: Any = None

    @property
    def prompts(self) -> list[str | Sequence[int]]:
        """The texts, or token ids, to continue."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[id_ for id_ in self.prompt if isinstance(id_, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]

    def options(self, defaults: GenerationOptions) -> GenerationOptions:
        """Return how each continuation is made.

        Raises:
            RequestError: a field outside what it may be.
        """
        settings = {"max_tokens": DEFAULT_MAX_TOKENS, **self.settings()}
        if self.logprobs is not None:
            settings["logprobs"] = self.logprobs
        return changed(defaults, settings)

    def asked(self, model: Model) -> list[ReplyTask]:
        """Return the prompt and the settings of one continuation of each prompt.

        Raises:
            RequestError, PromptError: the request cannot be met by this model.
        """
        options = self.options(model.defaults)
        return [
            ReplyTask(encode_text(model.tokenizer, prompt) if isinstance(prompt, str) else prompt, options)
            for prompt in self.prompts
        ]
