"""A loaded model as lm-eval sees one: log-likelihoods and greedy generation.

Importing this imports lm_eval.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from edgelm.errors import PromptError
from edgelm.evaluate.compare import score_tokens
from edgelm.evaluate.reference import Runner
from edgelm.evaluate.rows import Row
from edgelm.model.load import LoadedModel
from edgelm.progress import OnProgress, Progress, ignore_progress
from edgelm.runtime.engine import Engine
from edgelm.runtime.generation.completion import collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import generate_text

_LONGEST = 4096
"""Tokens of a window, where the model's context is longer or not known."""
_MAX_NEW_TOKENS = 256
"""Where a task does not say."""


class HarnessModel(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """A model for `lm_eval.simple_evaluate`, on the thread that loaded it. One request at a time."""

    def __init__(self, loaded: LoadedModel, on_progress: OnProgress = ignore_progress) -> None:
        super().__init__()
        self.tokenizer = loaded.tokenizer
        self.max_length = min(loaded.context_length or _LONGEST, _LONGEST)
        self._loaded = loaded
        self._runner = Runner(loaded.network)
        self._engine: Engine | None = None
        self._on_progress = on_progress

    @property
    def eot_token_id(self) -> int:
        """End of text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context: beginning of sequence, else end of text."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    @property
    def tokenizer_name(self) -> str:
        """Name the tokenizer in lm-eval's cache keys."""
        return self._loaded.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the token ids of a text; special tokens as the tokenizer adds them, where nothing is said."""
        if add_special_tokens is None:
            first = self.tokenizer.bos_token
            add_special_tokens = not (first and string.startswith(first))
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        return ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return a conversation as a prompt."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of whole texts, each token predicted once, in windows of the longest context."""
        return [self._rolling(request.args[0]) for request in self._watched(requests, "Scoring texts")]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the continuations up to a stop string."""
        return [self._generate(*request.args) for request in self._watched(requests, "Generating")]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        return [
            self._score(context, continuation)
            for _, context, continuation in self._watched(requests, "Scoring answers")
        ]

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        """Log-probability of `continuation`, and whether greedy decoding gives it."""
        if len(continuation) > self.max_length:
            raise PromptError(
                f"an answer has {len(continuation)} tokens, more than the model's {self.max_length}"
            )
        ids = [*context, *continuation][-(self.max_length + 1) :]
        nll, greedy = score_tokens(self._runner, Row(tuple(ids), scored_from=len(ids) - len(continuation)))
        return -float(nll.sum()), bool(greedy.all())

    def _rolling(self, text: str) -> float:
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text, add_special_tokens=False),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        return sum(self._score(*make_disjoint_window(window))[0] for window in windows)

    def _generate(self, context: str, settings: dict[str, Any]) -> str:
        until = settings.get("until") or []
        wanted = int(settings.get("max_gen_toks", _MAX_NEW_TOKENS))
        options = GenerationOptions().changed(
            max_tokens=wanted,
            stop=tuple([until] if isinstance(until, str) else (stop for stop in until if stop)),
            temperature=float(settings.get("temperature") or 0.0) if settings.get("do_sample") else 0.0,
            top_p=float(settings.get("top_p", 1.0)),
        )
        ids = self.tok_encode(context)[-max(1, self.max_length - wanted) :]
        events = generate_text(
            self._running(), self.tokenizer, ids, options, Event(), stop_tokens=self._loaded.stop_tokens
        )
        done = collect(events)
        return done.thinking + done.text

    def _running(self) -> Engine:
        if self._engine is None:
            self._engine = Engine(
                self._loaded.network,
                vocab_size=self._loaded.vocab_size,
                context_length=self._loaded.context_length,
            )
        return self._engine

    def _watched(self, requests: Sequence[Any], task: str) -> Any:
        for index, request in enumerate(requests):
            self._on_progress(Progress(task, index, len(requests), "requests"))
            yield request
        self._on_progress(Progress(task, len(requests), len(requests), "requests"))
