"""Options of a request, and the settings of a reply that they become.

https://docs.ollama.com/modelfile#valid-parameters-and-values
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field

from edgelm.server.exchange.body import refusal

WHOLE_CONTEXT = 1 << 31
"""How far a repetition penalty looks back that looks at everything."""

OPTIONS_PASSED_OVER = {
    "numa": "how memory is laid out does not change the answer",
    "num_ctx": "the context is as long as the model's, and takes memory as it is used",
    "num_batch": "how prompts are cut for computing does not change the answer",
    "num_gpu": "all layers are where the model is",
    "main_gpu": "there is one",
    "low_vram": "a model that does not fit is refused with its numbers",
    "f16_kv": "caches have the type that the server was started with",
    "logits_all": "log-probabilities are asked for by `logprobs`",
    "vocab_only": "a model that is served is whole",
    "use_mmap": "how weights are read does not change the answer",
    "use_mlock": "how memory is held does not change the answer",
    "embedding_only": "models here write text",
    "num_thread": "how many threads compute does not change the answer",
    "num_keep": "nothing of a conversation is ever cut away",
    "mirostat_tau": "mirostat itself is refused",
    "mirostat_eta": "mirostat itself is refused",
}
"""Options that change nothing here → why."""


class OllamaOptions(BaseModel):
    """How an answer is made. Those that nobody here knows are passed over, as Ollama does."""

    unsupported: ClassVar[dict[str, tuple[Any, ...]]] = {
        "tfs_z": (None, 1), "typical_p": (None, 1), "mirostat": (None, 0), "penalize_newline": (None, True),
    }  # fmt: skip
    """Options of samplers that there are not → values with which they do nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    num_predict: int | None = None
    stop: str | Sequence[str] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tfs_z: Any = None
    typical_p: Any = None
    mirostat: Any = None
    penalize_newline: Any = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    num_keep: int | None = None
    num_thread: int | None = None
    main_gpu: int | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    embedding_only: bool | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings of `GenerationOptions.changed` that were given.

        Raises:
            RequestError: a sampler that there is not.
        """
        for name, neutral in self.unsupported.items():
            if getattr(self, name) not in neutral:
                raise refusal(f"options.{name}", "is not supported here")
        names = ("temperature", "top_p", "top_k", "min_p", "stop", "presence_penalty", "frequency_penalty")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.seed is not None:
            given["seed"] = None if self.seed == -1 else self.seed % 2**64
        if self.num_predict is not None:
            # Ollama's -1 and -2 go on until the context is full.
            given["max_tokens"] = self.num_predict if self.num_predict > 0 else None
        if self.repeat_penalty is not None:
            given["repetition_penalty"] = self.repeat_penalty
        if self.repeat_last_n is not None:
            if self.repeat_last_n == 0:
                given["repetition_penalty"] = 1.0
            else:
                given["repetition_window"] = WHOLE_CONTEXT if self.repeat_last_n == -1 else self.repeat_last_n
        return given
