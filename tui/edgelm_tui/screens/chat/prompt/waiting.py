"""What stands above the prompt: attachments of the prompt, and prompts that wait for the answer under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from edgelm.store.chat_schema import Attachment, Queued


class WaitingChip(Static):
    """One attachment or prompt; a click takes it away."""

    @dataclass
    class Dropped(Message):
        """The user clicked on the chip."""

        chip: WaitingChip

    DEFAULT_CSS = """
    WaitingChip { height: 1; width: 1fr; color: $text-accent; padding: 0 1; }
    WaitingChip:hover { background: $boost; }
    """

    def __init__(self, text: str, *, queued_id: int | None = None, file: Attachment | None = None) -> None:
        super().__init__(text, markup=False)
        self.queued_id = queued_id
        self.file = file

    def on_click(self, event: Click) -> None:
        """Ask the screen to take the chip away."""
        event.stop()
        self.post_message(self.Dropped(self))


class Waiting(Vertical):
    """The chips; takes no room where there are none."""

    DEFAULT_CSS = "Waiting { height: auto; max-height: 6; }"

    def __init__(self) -> None:
        super().__init__(id="waiting")
        self._shown: tuple[object, object] = ((), ())

    def compose(self) -> ComposeResult:
        """Begin without any chips."""
        yield from ()

    async def show(self, queued: Sequence[Queued], attachments: Sequence[Attachment]) -> None:
        """Show queued prompts and attachments."""
        files = tuple(attachments)
        now = (tuple(queued), tuple(map(id, files)))  # the chips hold the files, so no id is used again
        if now == self._shown:
            return
        self._shown = now
        await self.remove_children()
        await self.mount_all(
            [
                *(WaitingChip(f"⧗ {_short(item.text)}  ×", queued_id=item.id) for item in queued),
                *(WaitingChip(f"⊕ {file.name} · {_size(file.text)}  ×", file=file) for file in files),
            ]
        )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else words[:59] + "…"


def _size(text: str) -> str:
    count = len(text.splitlines())
    return f"{count:,} line{'' if count == 1 else 's'}, {len(text):,} characters"
