"""What may be asked of a batch: prompts of every form, each with settings of its own.

Made in the caller's thread; only `encode` needs the tokenizer. Knows nothing about networks.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from edgelm.errors import EdgeLMError, OptionError
from edgelm.messages.reader import read_messages
from edgelm.options import shorten
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.sampling.settings import Sampling
from edgelm.text.prompt import encode_chat, encode_text, require_tool_support
from edgelm.text.tools.tool import as_tools

AnyPrompt = str | Sequence[int] | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Text or token ids to continue, messages to answer, or one of these under "prompt" or "messages" beside
settings: `{"prompt": "Once upon", "max_tokens": 20, "seed": 7}`."""

_SETTINGS = {item.name for kind in (GenerationOptions, Sampling) for item in dataclasses.fields(kind)}
ROW_KEYS = frozenset(
    {"prompt", "messages", "tools", "schema", "regex", "greedy", "adapter", *_SETTINGS}
    - {"sampling", "adapters"}
)
"""What a prompt given as a mapping may hold."""


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt of a batch and how it is to be continued."""

    index: int
    """Which of the prompts it is."""
    content: str | tuple[int, ...] | tuple[Mapping[str, Any], ...]
    options: GenerationOptions
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON definitions of functions the model may call."""

    @classmethod
    def of(cls, index: int, prompt: AnyPrompt, options: GenerationOptions) -> Task:
        """Read one prompt; `options` are what it does not say itself.

        Raises:
            OptionError: neither a prompt nor messages, or a setting that does not exist or is out of bounds.
        """
        said = dict(prompt) if isinstance(prompt, Mapping) else {"prompt": prompt}
        contents = [(said.pop(name), name) for name in ("prompt", "messages") if name in said]
        if len(contents) != 1:
            found = "both prompt and messages" if contents else "neither prompt nor messages"
            raise OptionError(f"it has {found}, expected one of them")
        tools = _definitions(said.pop("tools", None))
        return cls(index, _content(*contents[0]), options.changed(**said), tools)

    def encode(self, tokenizer: Any) -> list[int]:
        """Return the token ids: text as it is, messages through the chat template.

        Raises:
            PromptError: the template refuses the messages, or the text is not valid Unicode.
        UnsupportedError: tools for a template that does not know them.
        """
        if isinstance(self.content, str):
            return encode_text(tokenizer, self.content)
        if self.content and isinstance(self.content[0], Mapping):
            messages: Any = self.content
            if self.tools:
                require_tool_support(tokenizer)
            thinking = self.options.enable_thinking
            return encode_chat(tokenizer, messages, enable_thinking=thinking, tools=self.tools)
        ids: Any = self.content
        return list(ids)


def read_prompts(
    prompts: Iterable[AnyPrompt], options: GenerationOptions
) -> tuple[list[Task], list[tuple[int, EdgeLMError]]]:
    """Return the tasks, and the errors of those prompts that are none, by index.

    Raises:
        OptionError: not several prompts, but one or none.
    """
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Iterable):
        raise OptionError(
            f"prompts is {shorten(prompts)}, expected several prompts", hint="put a single one into a list"
        )
    tasks, errors = [], []
    for index, prompt in enumerate(prompts):
        try:
            tasks.append(Task.of(index, prompt, options))
        except EdgeLMError as error:
            errors.append((index, error))
    return tasks, errors


def _content(value: Any, field: str) -> Any:
    if field == "messages":
        return tuple(read_messages(value))
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise OptionError(f"a prompt is {value!r}, expected text, token ids or messages")
    if any(isinstance(item, Mapping) for item in value):
        if not all(isinstance(item, Mapping) for item in value):
            raise OptionError("a prompt mixes messages and token ids, expected one kind")
        return tuple(read_messages(value, field))
    return tuple(token_ids(value))


def token_ids(prompt: Any) -> list[int]:
    """Return the ids that a prompt which is no text consists of; numpy's and MLX's whole numbers are some.

    Raises:
        OptionError: it is nothing of the kind, named with the value.
    """
    if isinstance(prompt, bytes | bytearray | Mapping | AbstractSet) or not isinstance(prompt, Iterable):
        raise OptionError(f"a prompt is {shorten(prompt)}, expected text or token ids")
    return [_token_id(item) for item in (prompt.tolist() if hasattr(prompt, "tolist") else prompt)]


def _token_id(item: Any) -> int:
    if isinstance(item, Mapping):
        raise OptionError(
            f"a prompt holds {shorten(item)}, expected token ids",
            hint="messages go to model.chat(messages=…) or model.generate_many([…])",
        )
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise OptionError(f"a prompt holds {shorten(item)}, expected token ids or messages")
    return operator.index(item)


def _definitions(tools: Any) -> tuple[Mapping[str, Any], ...]:
    if tools is not None and not isinstance(tools, list | tuple):
        raise OptionError(f"tools is {tools!r}, expected functions or JSON definitions")
    return tuple(tool.definition for tool in as_tools(tools or ()).values())
