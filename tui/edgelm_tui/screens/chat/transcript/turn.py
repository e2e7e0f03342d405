"""How one message is laid out: a line that says who, thinking and tool calls that open, the text, what went wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass

from textual.content import Content

from edgelm.store.chat_schema import Attachment, Message
from edgelm_tui.markdown.growing import GrowingMarkdown
from edgelm_tui.markdown.render import PROSE, visible, wrap

Clicks = dict[int, tuple[str, int]]
_STATES = {"stopped": "stopped", "length": "cut at the token limit", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class Turn:
    """A message and what the screen knows of it."""

    message: Message
    place: tuple[int, int] | None = None
    """Among its alternatives."""
    is_open: bool = False
    """Thinking and tool calls."""
    error: str | None = None
    is_left_out: bool = False
    """Whether it is a prompt that the model is not told."""


def layout_turn(turn: Turn, markdown: GrowingMarkdown, width: int) -> tuple[list[Content], Clicks]:
    """Lay out the lines of a message; those that are buttons are named beside them."""
    message = turn.message
    prose = min(width, PROSE)
    clicks: Clicks = {}
    lines = [_head(turn)]
    if turn.place:
        clicks[0] = ("sibling", 1)
    lines += [_attached(file) for file in message.attachments]
    if message.thinking.strip():
        clicks[len(lines)] = ("toggle", 0)
        lines += _folded(
            "thinking", f"{len(message.thinking.split())} words", message.thinking.strip(), turn, width
        )
    for call in message.tool_calls:
        clicks[len(lines)] = ("toggle", 0)
        lines += _folded(
            "tool call", _call(call), json.dumps(call, ensure_ascii=False, indent=2), turn, width
        )
    if message.content.strip():
        if message.role == "user":
            lines += wrap(message.content, prose)
        else:
            lines += markdown.lines(message.content, width, finished=message.state != "writing")
    elif message.state == "writing":
        lines.append(Content.styled("…", "$foreground-muted"))
    if turn.error:
        lines += wrap(turn.error, prose, "$text-error")
    if message.is_cut:
        clicks[len(lines)] = ("continue", 0)
        lines.append(Content.styled(f"── {_STATES[message.state]} · c goes on", "$text-warning"))
    return lines, clicks


def _head(turn: Turn) -> Content:
    message = turn.message
    names = {"user": "You", "tool": "Tool"}
    who = names.get(message.role) or message.model or "Answer"
    parts: list[str | tuple[str, str]] = [
        (who, "bold $text-primary" if message.role == "user" else "bold $text-secondary")
    ]
    if message.adapter:
        parts.append((f" + {message.adapter.rstrip('/').rpartition('/')[2]}", "$text-secondary"))
    if turn.place:
        parts.append((f"  ‹ {turn.place[0]}/{turn.place[1]} ›", "$text-accent"))
    if message.rating:
        parts.append(("  + good", "$text-success") if message.rating > 0 else ("  - bad", "$text-error"))
    if message.edited_from is not None:
        parts.append(("  written by you", "$foreground-muted"))
    if turn.is_left_out:
        parts.append(("  not told to the model: its answer failed", "$text-warning"))
    return Content.assemble(*parts)


def _folded(title: str, summary: str, text: str, turn: Turn, width: int) -> list[Content]:
    mark = "▾" if turn.is_open else "▸"
    lines = [Content.styled(f"{mark} {title} · {summary}", "$foreground-muted")]
    if len(lines[0].plain) > width:
        lines = [lines[0].truncate(width, ellipsis=True)]
    if turn.is_open:
        bar = Content.styled("│ ", "$foreground-muted")
        lines += [bar + line for line in wrap(text, min(width, PROSE) - 2, "$foreground-muted italic")]
    return lines


def _call(call: dict[str, object]) -> str:
    if call.get("error"):
        return visible(f"cannot be read, and was not run: {call['error']}".replace("\n", " "))
    function = call.get("function")
    if not isinstance(function, dict):
        return "unreadable"
    arguments = function.get("arguments")
    shown = ", ".join(f"{k}={v!r}" for k, v in arguments.items()) if isinstance(arguments, dict) else ""
    return visible(f"{function.get('name')}({shown})".replace("\n", " "))


def _attached(file: Attachment) -> Content:
    count = len(file.text.splitlines())
    plural = "" if count == 1 else "s"
    return Content.styled(f"⊕ {visible(file.name)} · {count:,} line{plural}", "$text-accent")
