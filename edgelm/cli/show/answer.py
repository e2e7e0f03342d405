"""Shows one answer while it comes: as text for a person, or as JSON lines for a program.

The reply goes to stdout; how far prefill is and what the answer cost go to stderr. Knows events, not models.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from typing import Any

from edgelm.cli.show.output import ERASE_LINE, dim, is_terminal, print_json, say
from edgelm.cli.show.token_table import print_tokens
from edgelm.runtime.chat.tool_loop import ToolEvent, ToolResult
from edgelm.runtime.events import Finished, HistoryRewritten, Picked, Prefill, Text, Token, Usage
from edgelm.text.segments import Channel, ToolCall
from edgelm.units import count

_PREFILL_WORTH_SHOWING = 256
"""Prompt tokens; fewer are read before a line about them could be."""
# What a model writes must not steer the terminal: control characters become their visible pictures.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


class TextAnswer:
    """Prints the pieces of one answer; where log-probabilities were asked for, a table of its tokens below.

    Args:
        thinking: show what the model thinks before it answers, under its own heading.
        calls: show the calls that the model writes, under their own heading; False where they are run and
            so shown as data by who asks the user.
        plain: no colour and nothing redrawn.
    """

    def __init__(self, *, thinking: bool, calls: bool = True, plain: bool = False) -> None:
        self._hidden = {
            channel for channel, shown in (("thinking", thinking), ("tool_call", calls)) if not shown
        }
        self._safe = sys.stdout.isatty()
        self._redraws = not plain and is_terminal(sys.stderr)
        self._colour = not plain
        self._channel: Channel = "answer"
        self._last = "\n"
        self._prefilling = False
        self._tokens: list[Token] = []

    def show(self, events: Iterable[ToolEvent]) -> Finished | None:
        """Print `events` as they come; None if they end without a `Finished`."""
        finished = None
        try:
            for event in events:
                match event:
                    case HistoryRewritten(kept, known):
                        say(
                            f"(this model's template rewrites earlier turns: {known - kept:,} of {count(known, 'token')}"
                            " are computed again)"
                        )
                    case Prefill():
                        self._show_prefill(event)
                    case Picked():
                        self._say_choice(event)
                    case Text():
                        self._show_text(event.text, event.channel)
                    case Token():
                        self._tokens.append(event)
                    case ToolCall(error=str(error)):
                        self._end_line()
                        say(f"(the call cannot be read: {error})")
                    case ToolResult():
                        self._show_result(event)
                    case Finished():
                        finished = event
        finally:
            self._erase_prefill()
            self._end_line()
            if self._tokens:
                print_tokens(self._tokens)
        return finished

    def _say_choice(self, chosen: Picked) -> None:
        """Say how good the best answer was found next to the others; no answer has begun yet."""
        self._erase_prefill()
        line = describe_choice(chosen)
        say(dim(line, sys.stderr) if self._colour else line)

    def _show_prefill(self, event: Prefill) -> None:
        if event.total - event.cached < _PREFILL_WORTH_SHOWING:
            return
        if not self._redraws:
            self._say_prefill(event)
            return
        self._prefilling = event.done < event.total
        line = (
            f"reading the prompt: {event.done:,} of {count(event.total, 'token')}" if self._prefilling else ""
        )
        sys.stderr.write(ERASE_LINE + dim(line, sys.stderr))
        sys.stderr.flush()

    def _say_prefill(self, event: Prefill) -> None:
        """Once, where nothing may be redrawn and somebody waits."""
        if event.done == event.cached and sys.stderr.isatty():
            say(f"reading the prompt: {count(event.total - event.cached, 'token')}")

    def _erase_prefill(self) -> None:
        if self._prefilling:
            sys.stderr.write(ERASE_LINE)
            sys.stderr.flush()
            self._prefilling = False

    def _show_text(self, text: str, channel: Channel) -> None:
        if not text or channel in self._hidden:
            return
        self._erase_prefill()
        if channel != self._channel:
            self._head(channel)
        self._last = text[-1]
        text = text.translate(_CONTROLS) if self._safe else text
        self._write(dim(text, sys.stdout) if self._colour and channel == "thinking" else text)

    def _show_result(self, result: ToolResult) -> None:
        """Print a tool's result on stderr, as the question was: stdout holds what the model says."""
        self._end_line()
        text = result.text.rstrip("\n").translate(_CONTROLS)
        say(dim(f"{result.name} → {text}", sys.stderr) if self._colour else f"{result.name} → {text}")

    def _end_line(self) -> None:
        if self._last != "\n":
            self._write("\n")
            self._last = "\n"

    def _head(self, channel: Channel) -> None:
        self._channel = channel
        self._write(("" if self._last == "\n" else "\n") + f"[{channel.replace('_', ' ')}]\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def show_json(events: Iterable[ToolEvent]) -> Finished | None:
    """Print each event as one JSON object on a line of its own; None if they end without a `Finished`."""
    finished = None
    for event in events:
        print_json(event_json(event), indent=None)
        finished = event if isinstance(event, Finished) else None
    return finished


def event_json(event: ToolEvent) -> dict[str, Any]:
    """Make of `event` a JSON object: its kind under "event", and its fields."""
    fields = dataclasses.asdict(event)
    if isinstance(event, Finished):
        del fields["tokens"]
        fields["usage"] |= {
            "prefill_tokens_per_s": event.usage.prefill_tokens_per_s,
            "decode_tokens_per_s": event.usage.decode_tokens_per_s,
        }
    kind = {ToolCall: "tool_call", ToolResult: "tool_result"}.get(type(event), type(event).__name__.lower())
    return {"event": kind, **fields}


def show_usage(finished: Finished, *, plain: bool = False) -> None:
    """Print one quiet line on stderr: what the answer cost, and why it ended if it did not end by itself."""
    text = describe_usage(finished.usage)
    if finished.reason == "length":
        text += " · cut off at the token limit"
    say(text if plain else dim(text, sys.stderr))


def describe_choice(chosen: Picked) -> str:
    """Say `"best of 4: scored 1.2; the others 0.7, 0.3, -0.1"`."""
    others = ", ".join("nothing" if other.score is None else f"{other.score:.3g}" for other in chosen.others)
    if chosen.score is None:
        return f"the first of {len(chosen.others) + 1}: no judge said anything of them"
    return f"best of {len(chosen.others) + 1}: scored {chosen.score:.3g}; the others {others}"


def describe_usage(usage: Usage) -> str:
    """Say `"12 tokens · 21.3 token/s · first after 0.35 s · 96 of 120 prompt tokens cached"`."""
    parts = [f"{usage.completion_tokens:,} token{'' if usage.completion_tokens == 1 else 's'}"]
    if usage.decode_tokens_per_s:
        parts.append(f"{usage.decode_tokens_per_s:.3g} token/s")
    if usage.accepted_tokens:
        parts.append(f"{usage.accepted_tokens:,} guessed ahead")
    parts.append(f"first after {usage.first_token_s:.2f} s")
    parts.append(f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens cached")
    return " · ".join(parts)
