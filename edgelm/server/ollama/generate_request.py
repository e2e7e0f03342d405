"""A request to answer one text, or, `raw`, to go on with it as it stands."""

from __future__ import annotations

from typing import Any, ClassVar

from edgelm.api import Model
from edgelm.server.exchange.body import refusal
from edgelm.server.exchange.chat import chat_task
from edgelm.server.ollama.fields import OllamaRequest
from edgelm.server.replies import ReplyTask
from edgelm.text.prompt import encode_text


class OllamaGenerateRequest(OllamaRequest):
    """A body of `/api/generate`."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "suffix": (None, ""), "template": (None, ""), "context": (None, []), "images": (None, []),
        "width": (None, 0), "height": (None, 0), "steps": (None, 0),
    }  # fmt: skip

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: Any = None
    template: Any = None
    context: Any = None
    images: Any = None
    width: Any = None
    height: Any = None
    steps: Any = None

    @property
    def only_loads(self) -> bool:
        """Whether nothing is asked for but that the model be loaded, or let go."""
        return not self.prompt

    def asked(self, model: Model) -> ReplyTask:
        """Return the prompt and the settings of the answer; renders and encodes, which takes time.

        Raises:
            RequestError, PromptError, UnsupportedError: the request cannot be met by this model.
        """
        options = self.reply_options(model.defaults, ())
        if self.raw:
            if self.system or self.think:
                raise refusal("raw", "is given beside system or think: a raw prompt has them in its text")
            return ReplyTask(encode_text(model.tokenizer, self.prompt or ""), options)
        self.check_thinking(model)
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": self.prompt}]
        return chat_task(model, messages, options, (), effort=self.effort)
