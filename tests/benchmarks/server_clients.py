"""Clients of an OpenAI-like server for `server.py`: what they ask, and when each piece of an answer came.

Texts are random words, counted with the model's own tokenizer, and other ones for every seed: nothing is known from before.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

WORDS = (
    "river", "copper", "silent", "window", "garden", "marble", "winter", "signal", "harbour", "lantern", "orchard", "meadow",
    "velvet", "compass", "thunder", "granite", "whisper", "saddle", "beacon", "timber", "crystal", "furnace", "anchor",
)  # fmt: skip

Message = dict[str, str]


@dataclass
class Server:
    """Where one listens."""

    address: str
    model: str


@dataclass
class Answer:
    """One answer, in seconds of one clock."""

    asked_at: float
    pieces_at: list[float] = field(default_factory=list)
    comments_at: list[float] = field(default_factory=list)
    """When a server said that it is at work."""
    ended_at: float = 0.0
    text: str = ""
    tokens: int = 0
    cached: int = 0

    @property
    def first_s(self) -> float:
        return self.pieces_at[0] - self.asked_at

    @property
    def gaps_s(self) -> list[float]:
        return [later - sooner for sooner, later in zip(self.pieces_at, self.pieces_at[1:], strict=False)]


class Texts:
    """Random texts of so many tokens."""

    def __init__(self, model: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    def draw(self, tokens: int, seed: int) -> str:
        drawn = random.Random(seed)
        words: list[str] = []
        while self._count(words) < tokens:
            words += [drawn.choice(WORDS) for _ in range(max(1, (tokens - self._count(words)) // 10))]
        return " ".join(words)

    def _count(self, words: Sequence[str]) -> int:
        return len(self._tokenizer.encode(" ".join(words)).ids)


async def ask(
    client: httpx.AsyncClient,
    server: Server,
    messages: Sequence[Message],
    max_tokens: int,
    on_piece: Callable[[Answer], None] = lambda _: None,
) -> Answer:
    """Ask for a stream, and note when its pieces come."""
    body = {
        "model": server.model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = Answer(time.perf_counter())
    url = f"{server.address}/v1/chat/completions"
    async with client.stream("POST", url, json=body, timeout=3600) as response:
        if response.status_code != 200:
            raise SystemExit(f"{url}: {response.status_code} {(await response.aread()).decode()[:400]}")
        async for line in response.aiter_lines():
            if line.startswith(":"):
                answer.comments_at.append(time.perf_counter())
            elif line.startswith("data: ") and line != "data: [DONE]":
                _note(answer, json.loads(line[6:]))
                on_piece(answer)
    answer.ended_at = time.perf_counter()
    if not answer.pieces_at:
        raise SystemExit(f"{url}: an answer without a token")
    return answer


def _note(answer: Answer, event: dict[str, Any]) -> None:
    if "error" in event:
        raise SystemExit(f"an answer ended with {event['error']}")
    for choice in event.get("choices") or ():
        if text := choice.get("delta", {}).get("content"):
            answer.pieces_at.append(time.perf_counter())
            answer.text += text
    if usage := event.get("usage"):
        answer.tokens = usage["completion_tokens"]
        answer.cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


async def burst(server: Server, system: str, most_tokens: Sequence[int]) -> list[Answer]:
    """Clients that share a system prompt ask in the same moment."""
    async with httpx.AsyncClient() as client:
        asked = [
            ask(
                client,
                server,
                [_said("system", system), _said("user", f"Tell a long story about {_topic(at)}.")],
                most,
            )
            for at, most in enumerate(most_tokens)
        ]
        return list(await asyncio.gather(*asked))


async def returning(server: Server, systems: Sequence[str], *, is_busy: bool) -> list[Answer]:
    """Clients with a history each ask once, in turn, and come back, in turn; the answers to what they ask then.

    Args:
        is_busy: others are being answered when they come back.
    """
    async with httpx.AsyncClient() as client:
        histories = []
        for at, system in enumerate(systems):
            messages = [_said("system", system), _said("user", f"Tell a story about {_topic(at)}.")]
            first = await ask(client, server, messages, 16)
            histories.append([*messages, _said("assistant", first.text), _said("user", "And then?")])
        others = []
        if is_busy:
            story = [_said("user", "Tell a very long story.")]
            others = [asyncio.create_task(ask(client, server, story, 40 * len(systems))) for _ in range(2)]
        answers = [await ask(client, server, history, 4) for history in histories]
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return answers


async def interrupted(server: Server, prompt: str, stream_tokens: int) -> tuple[Answer, Answer]:
    """A stream, and the answer to a long prompt that comes while it runs."""
    came = asyncio.Event()

    def look(answer: Answer) -> None:
        if len(answer.pieces_at) == stream_tokens // 4:
            came.set()

    async with httpx.AsyncClient() as client:
        story = [_said("user", "Tell a very long story about the sea.")]
        stream = asyncio.create_task(ask(client, server, story, stream_tokens, look))
        await came.wait()
        long = await ask(client, server, [_said("user", prompt)], 4)
        return await stream, long


async def alone(server: Server, prompt: str) -> Answer:
    """A prompt while nobody else is served."""
    async with httpx.AsyncClient() as client:
        return await ask(client, server, [_said("user", prompt)], 4)


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _topic(at: int) -> str:
    return f"{WORDS[at % len(WORDS)]} and {WORDS[(at * 5 + 3) % len(WORDS)]}"
