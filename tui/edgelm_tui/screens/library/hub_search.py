"""Search the Hub and choose what to get: as it is, or converted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from edgelm.errors import EdgeLMError
from edgelm.hub.search import HubModel, search_models
from edgelm_tui.shell.dialogs.dialog import Dialog

_LONGEST_S = 15.0
"""Seconds that a search may take."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to get, as a job."""

    kind: str
    title: str
    settings: dict[str, Any]


class HubScreen(Dialog[Wanted | None]):
    """Returns what is wanted, or None."""

    DEFAULT_CSS = """
    HubScreen > .frame { max-width: 100; height: 90%; }
    HubScreen.-small > .frame { height: 100%; }
    HubScreen .list, HubScreen .list:focus { height: 1fr; }
    HubScreen #said { height: auto; max-height: 4; color: $text-muted; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", id="dialog.close"),
        Binding("f6,d", "want('pull')", "Download as it is", id="hub.pull"),
        Binding("f7,4", "want('convert', 4)", "Convert to 4 bits", id="hub.convert"),
        Binding("f8,8", "want('convert', 8)", "Convert to 8 bits", id="hub.convert8"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._found: list[HubModel] = []
        self._query = ""
        """What was searched for last."""
        self._asked = 0
        """The number of the last search; answers to others come too late."""
        self._waiting: Timer | None = None

    def compose(self) -> ComposeResult:
        """Make the line, the list of what was found, and the ways to get it."""
        with Vertical(classes="frame") as box:
            box.border_title = "Hugging Face Hub"
            yield Input(placeholder="Search, or an id: organisation/name", id="query")
            yield OptionList(id="found", classes="list", markup=False)
            yield Static("Enter searches", id="said", markup=False)

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search for what was typed."""
        if query := event.value.strip():
            self._give_up()
            self._query = event.value
            self._say("searching… Esc gives up")
            self._waiting = self.set_timer(_LONGEST_S, self._too_late)
            self._search(query, self._asked)

    @property
    def is_searching(self) -> bool:
        """Whether an answer is waited for."""
        return self._waiting is not None

    def action_leave(self) -> None:
        """Give up a search; where there is none, close."""
        if self.is_searching:
            self._give_up()
            self._say("given up; Enter searches")
            self.query_one(Input).focus()
        else:
            self.dismiss(None)

    def _too_late(self) -> None:
        self._give_up()
        self._say(f"error: no answer from the Hub in {_LONGEST_S:.0f} s\nhint: Enter tries again")

    def _give_up(self) -> None:
        """Whatever was asked, its answer comes too late."""
        self._asked += 1
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None

    @work(thread=True, exclusive=True, group="hub")
    def _search(self, query: str, number: int) -> None:
        found: list[HubModel] | EdgeLMError
        try:
            found = search_models(query)
        except EdgeLMError as error:
            found = error
        self.app.call_from_thread(self._take, number, found)

    def _take(self, number: int, found: list[HubModel] | EdgeLMError) -> None:
        if number != self._asked or not self.is_attached:
            return
        self._give_up()
        if isinstance(found, EdgeLMError):
            self._say(f"error: {found.message}" + (f"\nhint: {found.hint}" if found.hint else ""))
        else:
            self._show(found)

    def _show(self, found: list[HubModel]) -> None:
        self._found = found
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_line(model)) for model in found])
        if found:
            options.highlighted = 0
            if (
                self.query_one(Input).value == self._query
            ):  # else the user writes on: letters are keys in the list
                options.focus()
            self._say("Enter gets it (MLX as it is, others in 4 bits) · d as it is · 4 or 8: in so many bits")
        else:
            self._say("nothing found")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Get it in the usual way: an MLX model as it is, others converted."""
        self.action_want("pull" if self._found[event.option_index].is_mlx else "convert", 4)

    def action_want(self, kind: str, bits: int = 4) -> None:
        """Return what is chosen."""
        at = self.query_one(OptionList).highlighted
        if at is None:
            return
        name = self._found[at].id
        if kind == "pull":
            self.dismiss(Wanted("pull", f"Downloading {name}", {"repo_id": name}))
        else:
            self.dismiss(Wanted("convert", f"Converting {name}", {"source": name, "bits": bits}))

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(text)


def _line(model: HubModel) -> Content:
    marks = [
        name for name, on in (("MLX", model.is_mlx), ("GGUF", model.is_gguf), ("gated", model.is_gated)) if on
    ]
    counts = f"↓ {_count(model.downloads)}  ♥ {_count(model.likes)}  {' '.join(marks)}"
    return Content.assemble(model.id.ljust(52), (counts, "$foreground-muted"))


def _count(number: int) -> str:
    return (
        str(number)
        if number < 1000
        else f"{number / 1000:.0f}k"
        if number < 1_000_000
        else f"{number / 1e6:.1f}M"
    )
