"""Training: the runs, the curves of one or of several, its log and answers, and what can be done to it.

A run trains in a child process, or in one that a terminal began; this screen reads what it writes and leaves it notes. Its
death is shown and survived.
"""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Static, TabbedContent, TabPane

from edgelm.charts.braille import Series
from edgelm.runs.control import Order
from edgelm.runs.folder import delete_run
from edgelm.runs.log import RunLog
from edgelm.runs.shelf import RunShelf
from edgelm_tui.jobs.process import ChildProcess
from edgelm_tui.screens.tune.new_run import NewRun
from edgelm_tui.screens.tune.new_run_form import NewRunScreen, edgelm_command
from edgelm_tui.screens.tune.own_run import OwnRun
from edgelm_tui.screens.tune.panel import RunPanel
from edgelm_tui.screens.tune.plot import Plot
from edgelm_tui.screens.tune.watched_curves import WatchedCurves
from edgelm_tui.services.services import Services
from edgelm_tui.shell.dialogs.questions import Confirm
from edgelm_tui.shell.mode_screen import ModeScreen
from edgelm_tui.shell.text.plain import plain_cells

_LOOK_S = 0.5
_COLUMNS = ("", "state", "step", "loss", "validation", "run")
_COLOURS = (
    "$text-primary",
    "$text-accent",
    "$text-success",
    "$text-warning",
    "$text-secondary",
    "$text-error",
)
_LOG_LINES = 200


class TuneScreen(ModeScreen):
    """All training runs, and the curves of those that are chosen."""

    MODE: ClassVar[str] = "tune"
    HELP_TEXT = """\
n begins a run: the data is checked and shown first. A run trains in a process of its own, and goes on when the app \
is closed; if it dies, r resumes it from its last checkpoint. m marks runs to compare their curves. Enter \
chats with the adapter, v shows it beside its base."""
    DEFAULT_CSS = """
    TuneScreen #body { height: 1fr; }
    TuneScreen #list { width: 2fr; border-right: solid $border-blurred; }
    TuneScreen #run { width: 3fr; }
    TuneScreen.-narrow #body { layout: vertical; }
    TuneScreen.-narrow #list { width: 100%; height: 7; border-right: none; border-bottom: solid $border-blurred; }
    TuneScreen.-narrow #run { width: 100%; height: 1fr; }
    TuneScreen.-short #list { height: 3; }
    TuneScreen.-short #run { overflow-y: auto; }
    TuneScreen.-short TabbedContent { height: 8; }
    TuneScreen DataTable { height: 1fr; background: $background; }
    TuneScreen TabbedContent { height: 1fr; }
    TuneScreen TabPane { padding: 0; }
    TuneScreen ContentSwitcher { height: 1fr; }
    TuneScreen #nothing { padding: 1 2; height: auto; color: $text-muted; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="tune.new"),
        Binding("space", "pause", "Pause", id="tune.pause"),
        Binding("c", "order('checkpoint')", "Checkpoint", id="tune.checkpoint"),
        Binding("s", "stop", "Stop", id="tune.stop"),
        Binding("r", "resume", "Resume", id="tune.resume"),
        Binding("l", "log", "Log scale", id="tune.log"),
        Binding("m", "mark", "Compare", id="tune.mark"),
        Binding("v", "versus", "Beside base", id="tune.versus"),
        Binding("x,delete", "remove", "Delete", id="tune.remove", show=False),
    ]

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._shelf = RunShelf()
        self._logs: list[RunLog] = []
        self._marked: set[str] = set()
        self._drawn: tuple[object, ...] = ()
        self._own = OwnRun(self._shelf)

    def compose_body(self) -> ComposeResult:
        """Make the list beside the run."""
        with Horizontal(id="body"):
            with Vertical(id="list"):
                yield Static("", id="nothing", markup=False)
                yield DataTable(cursor_type="row")
            with Vertical(id="run"):
                yield RunPanel()
                with TabbedContent():
                    with TabPane("Curves", id="curves"):
                        yield Plot()
                        yield WatchedCurves()
                    with TabPane("Rate", id="rates"):
                        yield Plot(id="rate_plot")
                    with TabPane("Log", id="lines"), VerticalScroll(id="log_scroll"):
                        yield Static("", id="log", markup=False)
                    with TabPane("Answers", id="answers"), VerticalScroll():
                        yield Static("", id="said", markup=False)

    def on_mount(self) -> None:
        """Look at the runs, again and again."""
        self.begin()
        table = self.query_one(DataTable)
        for column in _COLUMNS:
            table.add_column(column, key=column or "mark")
        table.focus()
        self.set_interval(_LOOK_S, self._look_if_seen)
        self._look()

    def _look_if_seen(self) -> None:
        self._follow_child()
        if self.is_current:
            self._look()

    @work(thread=True, exclusive=True, group="runs")
    def _look(self) -> None:
        logs = self._shelf.look()
        self.app.call_from_thread(self._show, logs)

    def _show(self, logs: list[RunLog]) -> None:
        if not self.is_attached or not self.query(DataTable):  # the app is being closed
            return
        table = self.query_one(DataTable)
        if [log.name for log in logs] != [log.name for log in self._logs]:
            chosen, row = self.chosen, table.cursor_row
            self._logs = logs
            table.clear()
            for log in logs:
                table.add_row(*self._cells(log), key=log.name)
            names = [log.name for log in logs]
            is_there = chosen is not None and chosen.name in names
            row = (
                names.index(chosen.name)
                if chosen is not None and is_there
                else min(row, max(len(names) - 1, 0))
            )
            table.move_cursor(row=row)
        else:
            self._logs = logs
            for log in logs:
                for column, value in zip(_COLUMNS, self._cells(log), strict=True):
                    if table.get_cell(log.name, column or "mark") != value:
                        table.update_cell(log.name, column or "mark", value, update_width=True)
        nothing = self.query_one("#nothing", Static)
        nothing.display = not logs
        table.show_header = bool(logs)
        nothing.update(
            "No run yet. n begins one.\n\nAnswers you rate and edit in chats can be data: /feedback FILE training"
        )
        self._show_run()

    def _cells(self, log: RunLog) -> list[object]:
        numbers = [f"{loss:.4f}" if loss is not None else "" for loss in (log.loss, log.validation_loss)]
        mark = "●" if log.name in self._marked else ""
        of = f"/{log.total_steps:,}" if log.total_steps else ""
        return plain_cells((mark, log.status(), f"{log.at:,}{of}", *numbers, log.name))

    @property
    def chosen(self) -> RunLog | None:
        """The run under the cursor."""
        row = self.query_one(DataTable).cursor_row
        return self._logs[row] if 0 <= row < len(self._logs) else None

    def _show_run(self) -> None:
        log = self.chosen
        self.query_one(RunPanel).show(log)
        if log is None:
            return
        count = sum(len(curve) for other in self._logs for curve in other.curves.values())
        state = (log.name, frozenset(self._marked), count, len(log.lines))
        if state == self._drawn:
            return
        self._drawn = state
        self.query_one("#curves Plot", Plot).show(self._series(log))
        self.query_one(WatchedCurves).show(log)
        self.query_one("#rate_plot", Plot).show(
            [Series("learning rate", log.curves["learning_rate"], "$text-accent")]
        )
        self.query_one("#log", Static).update("\n".join(log.lines[-_LOG_LINES:]))
        self.query_one("#log_scroll", VerticalScroll).scroll_end(animate=False)
        self.query_one("#said", Static).update(_answers(log))

    def _series(self, log: RunLog) -> list[Series]:
        compared = [other for other in self._logs if other.name in self._marked]
        if len(compared) > 1 or (compared and log not in compared):
            if log not in compared:
                compared.append(log)
            return [
                series
                for at, other in enumerate(compared[: len(_COLOURS)])
                for series in (
                    Series(other.name, other.curves["smoothed"], _COLOURS[at]),
                    Series("validation", other.curves["validation"], _COLOURS[at], "◆●▲■✚×"[at]),
                )
            ]
        return [
            Series("train", log.curves["loss"], "$foreground-muted"),
            Series("smoothed", log.curves["smoothed"], "$text-primary"),
            Series("validation", log.curves["validation"], "$text-accent", "◆"),
        ]

    def on_data_table_row_highlighted(self) -> None:
        """Show the run under the cursor."""
        self._show_run()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter chats with the adapter of what stood in the row then."""
        log = next((one for one in self._logs if one.name == event.row_key.value), None)
        if log is None:
            return
        if log.adapter is None:
            self.notify("this run has no adapter yet: c writes a checkpoint", severity="warning")
        else:
            self.services.navigation.chat_with_adapter(log.base, log.adapter)

    def action_new(self) -> None:
        """Begin a run."""
        state = self.services.state
        names = state.names
        if not names:
            self.notify("no model is installed; F3 finds one", severity="warning")
            return
        if self._is_another_under_way():
            return

        def wanted(run: NewRun | None) -> None:
            if run is not None:
                self.begin_run(edgelm_command(*run.arguments()))

        current = state.model.name if state.model else None
        self.app.push_screen(NewRunScreen(names, current), wanted)

    def begin_run(self, argv: list[str]) -> None:
        """Train in a child process; the model of the chat makes room for it when it has really begun."""
        with self.services.notices.reporting():
            self.services.tuning = self._own.begin(argv)
            self.notify("the run is being prepared")
            self.services.show_jobs(self._own.status())

    @property
    def child(self) -> ChildProcess | None:
        """The process of the run that was begun here."""
        return self._own.child

    def _is_another_under_way(self) -> bool:
        """Two at once would not fit; says so."""
        others = [log.name for log in self._logs if log.is_alive()]
        if self.child is not None and not others:
            others = ["a run that is being prepared"]
        if others:
            self.notify(f"{others[0]} is under way; s stops it", severity="warning")
        return bool(others)

    def _follow_child(self) -> None:
        if self.child is None:
            return
        if self._own.has_begun():
            had_model = self.services.state.model is not None or bool(self.services.state.loading)
            self.services.models.forget()
            made_room = "; the chat's model was let go to make room" if had_model else ""
            self.notify(f"the run has begun{made_room}")
        if self.child.returncode is None:
            self.services.show_jobs(self._own.status())
            return
        problem = self._own.forget()
        self.services.tuning = None
        self.services.show_jobs("")
        if problem is None:
            self.notify("the run has ended")
        else:
            message, _, hint = problem.partition("\n")
            self.services.notices.report(message, hint)
        self._look()

    def action_pause(self) -> None:
        """Pause, or go on."""
        log = self.chosen
        if log is not None:
            self.action_order("resume" if log.is_paused else "pause")

    def action_order(self, order: Order) -> None:
        """Leave a note for the process that trains."""
        log = self.chosen
        if log is None or not log.is_alive():
            self.notify("this run is not under way", severity="warning")
            return
        if order == "resume" and not log.is_paused:
            self.notify("the run is not paused")
            return
        with self.services.notices.reporting():
            log.order(order)
            self.notify({"resume": "it goes on"}.get(order, f"{order}: after this step"))

    def action_stop(self) -> None:
        """End with a checkpoint."""
        log = self.chosen
        if log is None or not log.is_alive():
            self.notify("this run is not under way", severity="warning")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.action_order("stop")

        self.app.push_screen(Confirm(f"Stop {log.name}? It can be resumed.", "Stop"), answered)

    def action_resume(self) -> None:
        """Go on: a paused run at once, one that was stopped or interrupted from its last checkpoint."""
        log = self.chosen
        if log is None:
            self.notify("no run is chosen", severity="warning")
        elif log.is_alive():
            self.action_order("resume")
        elif log.status() == "finished":
            self.notify(f"{log.name} is finished: there is nothing to go on with", severity="warning")
        elif not self._is_another_under_way():
            self.begin_run(edgelm_command("tune", "--resume", log.name, "--json"))

    def action_log(self) -> None:
        """Logarithmic, or not."""
        for plot in self.query(Plot):
            plot.is_log = not plot.is_log

    def action_mark(self) -> None:
        """Compare the curves of this run with those of others that are marked."""
        log = self.chosen
        if log is not None:
            self._marked ^= {log.name}
            self._show(self._logs)

    def action_versus(self) -> None:
        """Show the adapter beside its base."""
        from edgelm_tui.screens.tune.versus import VersusScreen

        log = self.chosen
        if log is None or log.adapter is None:
            self.notify("this run has no adapter yet", severity="warning")
            return
        prompt = log.answers[-1][1] if log.answers else ""
        self.app.push_screen(VersusScreen(self.services, log.base, log.adapter, prompt))

    def action_remove(self) -> None:
        """Delete a run with its checkpoints; its adapter in the library stays."""
        log = self.chosen
        if log is None:
            return
        if log.is_alive():
            self.notify("this run is under way; s stops it", severity="warning")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._remove(log)

        self.app.push_screen(Confirm(f"Delete {log.name} with its checkpoints?", "Delete"), answered)

    def _remove(self, log: RunLog) -> None:
        with self.services.notices.reporting():
            delete_run(log.folder)
        self._marked.discard(log.name)
        self._look()


def _answers(log: RunLog) -> Content:
    """Sampled answers, the newest first."""
    if not log.answers:
        return Content.styled("no answers yet: they come with each validation", "$foreground-muted")
    parts: list[str | tuple[str, str]] = []
    for step, prompt, text in reversed(log.answers[-40:]):
        parts += [(f"step {step:,}  {prompt}\n", "bold"), f"{text}\n\n"]
    return Content.assemble(*parts)
