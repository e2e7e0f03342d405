"""The library: a table of models and adapters, the details of one, and the jobs that make more of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Input, Static

from edgelm.errors import OptionError
from edgelm.units import format_bytes
from edgelm_tui.engine.events import FitKnown
from edgelm_tui.jobs.manager import BackgroundJob
from edgelm_tui.screens.library.details import Details, verdict
from edgelm_tui.screens.library.entries import SORTS, Entry, ago, arranged, read_entries
from edgelm_tui.screens.library.exports import Export, exports_of, to_directory
from edgelm_tui.screens.library.hub_search import HubScreen, Wanted
from edgelm_tui.screens.library.job_list import JobList
from edgelm_tui.services.services import Services
from edgelm_tui.shell.dialogs.questions import AskLine, Choose, Confirm
from edgelm_tui.shell.mode_screen import ModeScreen
from edgelm_tui.shell.rows import RowList
from edgelm_tui.shell.text.plain import plain_cells
from edgelm_tui.shell.text.shown_paths import with_tilde

_COLUMNS = ("name", "size", "bits", "loss", "fits", "used")


class LibraryScreen(ModeScreen):
    """All that is installed."""

    MODE: ClassVar[str] = "library"
    HELP_TEXT = """\
Enter chats with the model, or with the adapter on its base. h searches the Hub, c converts a file, a directory or a Hub \
id, e makes something else of what is installed: other widths, a model with an adapter built in, an adapter for PEFT. \
Downloads, conversions and exports run one after another in processes of their own and can be paused. Whether a model fits \
is worked out while the engine is idle."""
    DEFAULT_CSS = """
    LibraryScreen #body { height: 1fr; }
    LibraryScreen #left { width: 3fr; }
    LibraryScreen #filter, LibraryScreen #filter:focus { border: none; height: 1; padding: 0 1; background: $surface; }
    LibraryScreen DataTable { height: 1fr; background: $background; }
    LibraryScreen Details { width: 2fr; }
    LibraryScreen.-narrow Details { display: none; }
    LibraryScreen.-narrow.details Details { display: block; border-left: none; }
    LibraryScreen.-narrow.details #left { display: none; }
    LibraryScreen.-short JobList, LibraryScreen.-short JobList:focus { max-height: 3; }
    LibraryScreen #nothing { padding: 1 2; height: auto; color: $text-muted; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "hub", "Hub", id="library.hub"),
        Binding("c", "convert", "Convert", id="library.convert"),
        Binding("e", "export", "Export", id="library.export"),
        Binding("i", "details", "Details", id="library.details"),
        Binding("s", "sort", "Sort", id="library.sort"),
        Binding("slash", "filter", "Filter", id="library.filter"),
        Binding("x,delete", "remove", "Delete", id="library.remove"),
        Binding("f9,g", "again", "Look again", id="library.again", show=False),
        Binding("escape", "back", "Back", id="library.back", show=False),
    ]

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._entries: list[Entry] = []
        self._shown: list[Entry] = []
        self._fits: dict[str, FitKnown] = {}
        self._asked: set[str] = set()
        self._sort = "name"

    def compose_body(self) -> ComposeResult:
        """Make table and details above the jobs."""
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield Input(placeholder="Filter ( / )", id="filter")
                yield Static("", id="nothing", markup=False)
                yield DataTable(cursor_type="row", zebra_stripes=True)
            yield Details()
        yield JobList()

    def on_mount(self) -> None:
        """Look into the library."""
        self.begin()
        table = self.query_one(DataTable)
        for column in _COLUMNS:
            table.add_column(column, key=column)
        table.focus()
        self.services.signals.fits.subscribe(self, self._take_fit)
        self.services.signals.jobs.subscribe(self, self._take_jobs)
        self.query_one(JobList).show(self.services.jobs.jobs)
        self.action_again()

    def on_screen_resume(self) -> None:
        """Look again: something may have been used or made meanwhile."""
        super().on_screen_resume()
        if self._entries:
            self.action_again()

    @work(thread=True, exclusive=True, group="library")
    def action_again(self) -> None:
        """Read the library, off the interface's thread."""
        entries = read_entries()
        self.app.call_from_thread(self._take_entries, entries)

    def _take_entries(self, entries: list[Entry]) -> None:
        if not self.is_attached or not self.query(DataTable):  # the app is being closed
            return
        self._entries = entries
        for entry in entries:
            if entry.kind == "model" and not entry.problem and entry.name not in self._asked:
                self._asked.add(entry.name)
                self.services.engine.fit(entry.name)
        self._show()

    def _show(self) -> None:
        chosen, row = self.chosen, self.query_one(DataTable).cursor_row
        words = self.query_one("#filter", Input).value
        self._shown = arranged(self._entries, words, self._sort)
        table = self.query_one(DataTable)
        table.clear()
        for entry in self._shown:
            table.add_row(*plain_cells(self._cells(entry)), key=entry.key)
        table.move_cursor(row=place_of(chosen, self._shown, row))
        nothing = self.query_one("#nothing", Static)
        nothing.display = not self._shown
        empty = "The library is empty.\n\nh searches the Hugging Face Hub, c converts a file, a directory or a Hub id."
        nothing.update("nothing matches" if self._entries else empty)
        self._show_details()

    def _cells(self, entry: Entry) -> list[object]:
        name = f"  + {entry.name}" if entry.kind == "adapter" else entry.name
        return [
            name if not entry.problem else f"! {entry.name}",
            format_bytes(entry.size_bytes),
            f"{entry.bits:.3g}" if entry.bits else "",
            entry.loss,
            self._verdict(entry),
            ago(entry.used) if entry.kind == "model" else "",
        ]

    def _verdict(self, entry: Entry) -> object:
        if entry.problem:
            return "broken"
        return verdict(self._fits.get(entry.name)) if entry.kind == "model" else ""

    @property
    def chosen(self) -> Entry | None:
        """The entry under the cursor."""
        row = self.query_one(DataTable).cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def _take_fit(self, fit: FitKnown) -> None:
        self._fits[fit.name] = fit
        table = self.query_one(DataTable)
        if f"model/{fit.name}" in {row.value for row in table.rows}:
            table.update_cell(f"model/{fit.name}", "fits", verdict(fit), update_width=True)
        self._show_details()

    def _take_jobs(self, changed: list[BackgroundJob]) -> None:
        self.query_one(JobList).show(self.services.jobs.jobs)
        if any(job.state == "done" for job in changed):
            self.action_again()

    def _show_details(self) -> None:
        chosen = self.chosen
        fit = self._fits.get(chosen.name) if chosen else None
        self.query_one(Details).show(chosen, self._entries, fit)

    def on_data_table_row_highlighted(self) -> None:
        """Show the details of the row under the cursor."""
        self._show_details()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter or a click on a row: what stood there then is meant, whatever was read since."""
        entry = next((one for one in self._shown if one.key == event.row_key.value), None)
        if entry is None:
            return
        if entry.problem:
            self.notify(entry.problem, severity="error")
        elif entry.kind == "model":
            self.services.navigation.go("chat")
            self.services.models.load(entry.name, "")
        else:
            self._chat_with_adapter(entry)

    def _chat_with_adapter(self, entry: Entry) -> None:
        if entry.base not in {other.name for other in self._entries if other.kind == "model"}:
            self.notify(f"its base {entry.base or '(unnamed)'} is not installed", severity="error")
            return
        self.services.navigation.chat_with_adapter(entry.base, str(entry.directory))

    def on_input_changed(self) -> None:
        """Filter at every letter."""
        self._show()

    def on_input_submitted(self) -> None:
        """Enter goes to the table."""
        self.query_one(DataTable).focus()

    def on_row_list_act(self, event: RowList.Act) -> None:
        """Obey a key on a job."""
        manager = self.services.jobs
        for job in [job for job in manager.jobs if job.id == event.row]:
            {"pause": manager.pause, "cancel": manager.cancel, "retry": manager.retry}[event.action](job)
        self.query_one(JobList).show(manager.jobs)

    def action_filter(self) -> None:
        """Type into the filter."""
        self.query_one("#filter").focus()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._show()
        self.notify(f"sorted by {self._sort}", timeout=2)

    def action_details(self) -> None:
        """Show or hide them, where there is no room for both."""
        self.toggle_class("details")
        self.query_one(Details if self.has_class("details") else DataTable).focus()

    def action_back(self) -> None:
        """Close what is open."""
        self.remove_class("details")
        line = self.query_one("#filter", Input)
        if line.value:
            line.value = ""
        self.query_one(DataTable).focus()

    def action_hub(self) -> None:
        """Search the Hub."""

        def wanted(what: Wanted | None) -> None:
            if what is not None:
                self.services.jobs.add(what.kind, what.title, what.settings)

        self.app.push_screen(HubScreen(), wanted)

    def action_convert(self) -> None:
        """Convert something that is not a search away."""

        def given(source: str | None) -> None:
            if source and source.strip():
                name = source.strip()
                self.services.jobs.add("convert", f"Converting {name.rpartition('/')[2]}", {"source": name})

        question = "Convert: a .gguf file, a directory, a Hub id, or the name of a model package (smollm2)"
        self.app.push_screen(AskLine(question), given)

    def action_export(self) -> None:
        """Make something else of what is under the cursor: other widths, a model with the adapter built in, PEFT."""
        entry = self.chosen
        if entry is None:
            return
        if entry.problem:
            self.notify(entry.problem, severity="error")
            return
        ways = {export.label: export for export in exports_of(entry)}

        def chosen(label: str | None) -> None:
            if label is not None:
                question = f"Where to: a name in {with_tilde(ways[label].target.parent)}, or a path"
                self.app.push_screen(
                    AskLine(question, ways[label].target.name),
                    lambda text: self._export(entry, ways[label], text),
                )

        self.app.push_screen(Choose(f"Make of {entry.name}", list(ways)), chosen)

    def _export(self, entry: Entry, export: Export, text: str | None) -> None:
        if not text or not text.strip():
            return
        try:
            target = to_directory(text, export.target)
        except OptionError as error:
            self.notify(error.message, severity="error")
            return
        if target.exists():
            self.notify(f"{target} exists already", severity="error")
        else:
            self.services.jobs.add(
                export.kind, f"Exporting {entry.name} to {target.name}", export.job(target)
            )

    def action_remove(self) -> None:
        """Delete what is under the cursor, if that is really wanted."""
        entry = self.chosen
        if entry is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._remove(entry)

        question = f"Delete the {entry.kind} {entry.name} ({format_bytes(entry.size_bytes)})?"
        self.app.push_screen(Confirm(question + _needing(entry), "Delete"), answered)

    def _remove(self, entry: Entry) -> None:
        services = self.services
        if services.state.model is not None and services.state.model.directory == str(entry.directory):
            services.models.forget()
        with services.notices.reporting():
            freed = _delete(entry)
            self.notify(f"{entry.name} is deleted: {format_bytes(freed)} freed")
            self._asked.discard(entry.name)
            services.engine.look()
        self.action_again()


def place_of(chosen: Entry | None, shown: Sequence[Entry], row: int) -> int:
    """Return the row of `chosen`; where it is gone, that of its neighbour and not the first."""
    found = next((at for at, entry in enumerate(shown) if chosen and entry.key == chosen.key), None)
    return found if found is not None else min(row, max(len(shown) - 1, 0))


def _needing(entry: Entry) -> str:
    """What runs no more without `entry`, as a sentence behind the question."""
    from edgelm.library.references import built_on

    adapters = [other for other in built_on(entry.directory) if other.startswith("adapter ")]
    return f" Without it nothing runs {', '.join(adapters)}." if adapters and entry.kind == "model" else ""


def _delete(entry: Entry) -> int:
    import shutil

    from edgelm.atomic import disk_errors
    from edgelm.library.models import remove

    if entry.kind == "model":
        return remove(entry.name)
    with disk_errors(entry.directory):
        shutil.rmtree(entry.directory)
    return entry.size_bytes
