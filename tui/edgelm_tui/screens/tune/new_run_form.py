"""A new training run: data, model and method; the data is checked and shown before anything starts.

What is run is `edgelm data check`, `edgelm data show`, `edgelm plan` and `edgelm tune`, each in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Select, Static
from textual.worker import get_current_worker

from edgelm_tui.screens.tune.new_run import NewRun
from edgelm_tui.shell.dialogs.dialog import ButtonRow, Dialog, FormRow
from edgelm_tui.shell.text.plain import plain

_METHODS = ("lora", "dora", "rslora", "full")
_CHECK_S = 120
_POLL_S = 0.2
_ROWS = 3
_WARNINGS = 4


def edgelm_command(*arguments: str) -> list[str]:
    """Return a command line of edgelm, as this Python runs it."""
    return [sys.executable, "-m", "edgelm", *arguments]


class NewRunScreen(Dialog[NewRun | None]):
    """Returns what to train, or None.

    Args:
        command: makes the argv of an `edgelm` command.
    """

    DEFAULT_CSS = """
    NewRunScreen > .frame { width: 95%; max-width: 110; height: 100%; }
    NewRunScreen VerticalScroll { height: 1fr; min-height: 3; border-top: solid $border-blurred; }
    NewRunScreen #verdict { height: auto; }
    NewRunScreen.-small > .frame { overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Close", id="dialog.close"),
        Binding("f6", "check", "Check the data", id="tune.check"),
        Binding("f7,ctrl+s", "take", "Start", id="tune.start"),
    ]

    def __init__(
        self, models: Sequence[str], current: str | None, data: str = "",
        command: Callable[..., list[str]] = edgelm_command,
    ) -> None:  # fmt: skip
        super().__init__()
        self._models, self._current, self._data, self._command = list(models), current, data, command

    def compose(self) -> ComposeResult:
        """Make the rows, the verdict and the buttons."""
        with Vertical(classes="frame") as box:
            box.border_title = "New training run"
            yield from self._rows()
            with VerticalScroll():
                yield Static(
                    "Enter (or F6) checks the data and shows what of it is trained.",
                    id="verdict",
                    markup=False,
                )
            yield ButtonRow({"close": "Close", "check": "Check (Enter)", "start": "Start (Ctrl+S)"})

    def _rows(self) -> ComposeResult:
        current = self._current if self._current in self._models else self._models[0]
        yield FormRow("Model", _choice("model", self._models, current))
        placeholder = "a .jsonl, .csv or .parquet file, or a Hub dataset"
        yield FormRow("Data", Input(self._data, placeholder=placeholder, id="data", compact=True))
        yield FormRow("Method, rank", _choice("method", _METHODS, "lora"), _line("rank", "8"))
        yield FormRow("Epochs, rate", _line("epochs", "1"), _line("learning_rate", "by method"))

    def on_mount(self) -> None:
        """Begin with the data."""
        self.query_one("#data").focus()

    def on_input_submitted(self) -> None:
        """Check the data when Enter is pressed."""
        self.action_check()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Do what the button says."""
        match event.button.id:
            case "start":
                self.action_take()
            case "check":
                self.action_check()
            case _:
                self.dismiss(None)

    def action_take(self) -> None:
        """Return the run, once its data were checked and the planner has found room."""
        self._begin(starts=True)

    def action_check(self) -> None:
        """Check the data, show rows, and ask the planner."""
        self._begin(starts=False)

    def _begin(self, *, starts: bool) -> None:
        wanted = self._read()
        if (problem := wanted.problem()) is not None:
            field, text = problem
            self.workers.cancel_group(self, "check")
            self._show(Content.styled(text, "$text-error"))
            self.query_one(f"#{field}").focus()
            return
        self._show(Content("checking, then the run begins…" if starts else "checking…"))
        self._check(wanted, starts=starts)

    @work(thread=True, exclusive=True, group="check")
    def _check(self, wanted: NewRun, *, starts: bool) -> None:
        """Each part is shown when it is there; another check, or closing the screen, ends this one."""
        worker = get_current_worker()
        parts: list[Content] = []
        is_right = True
        for title, arguments in _checks(wanted):
            done = _run(self._command(*arguments), is_wanted=lambda: not worker.is_cancelled)
            if worker.is_cancelled:
                return
            is_right = is_right and done.returncode == 0
            parts.append(_said(title, done))
            self.app.call_from_thread(self._show, Content("\n\n").join([*parts, Content("checking…")]))
        if starts and is_right:
            self.app.call_from_thread(self._take, wanted)
            return
        if starts:
            parts.append(Content.styled("The run was not begun: see above.", "$text-error"))
        self.app.call_from_thread(self._show, Content("\n\n").join(parts))

    def _take(self, wanted: NewRun) -> None:
        if self.is_attached and self.is_current:
            self.dismiss(wanted)

    def _show(self, content: Content) -> None:
        if self.is_attached:
            self.query_one("#verdict", Static).update(content)

    def _read(self) -> NewRun:
        def text(name: str) -> str:
            return self.query_one(f"#{name}", Input).value.strip()

        return NewRun(
            model=str(self.query_one("#model", Select).value),
            data=text("data"),
            method=str(self.query_one("#method", Select).value),
            epochs=text("epochs"),
            rank=text("rank"),
            learning_rate=text("learning_rate"),
        )


def _choice(name: str, choices: Sequence[str], value: str) -> Select[str]:
    return Select(
        [(plain(one), one) for one in choices], value=value, allow_blank=False, id=name, compact=True
    )


def _line(name: str, placeholder: str) -> Input:
    return Input(placeholder=placeholder, id=name, compact=True)


def _plan_arguments(wanted: NewRun) -> list[str]:
    rank = ["--rank", wanted.rank] if wanted.rank else []
    return ["plan", wanted.model, "--tune", "--data", wanted.data, "--method", wanted.method, *rank]


def _checks(wanted: NewRun) -> list[tuple[str, list[str]]]:
    """Title and arguments of what is asked about a run before it starts."""
    data = [wanted.data, "--model", wanted.model]
    return [
        ("Data", ["data", "check", *data]),
        ("Rows, with what is trained between ⟦ and ⟧", ["data", "show", *data, "--first", str(_ROWS)]),
        ("Will it fit", _plan_arguments(wanted)),
    ]


def _run(argv: Sequence[str], is_wanted: Callable[[], bool]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, or for as long as it is wanted."""
    until = time.monotonic() + _CHECK_S
    child = subprocess.Popen(
        list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while True:
        try:
            said, complained = child.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if is_wanted() and time.monotonic() < until:
                continue
            child.kill()
            said, complained = child.communicate()
            complained += f"took longer than {_CHECK_S} s"
        return subprocess.CompletedProcess(list(argv), child.returncode, said, complained)


def _said(title: str, done: subprocess.CompletedProcess[str]) -> Content:
    text = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
    text = _shortened(text)
    mark = ("✓", "$text-success") if done.returncode == 0 else ("✗", "$text-error")
    return Content.assemble(mark, " ", (title, "bold"), "\n", _coloured(text))


def _shortened(text: str) -> str:
    """The text without most of its warnings, so that what matters stays in sight."""
    lines = text.splitlines()
    warnings = [line for line in lines if line.startswith("warning")]
    if len(warnings) <= _WARNINGS:
        return text
    kept = set(warnings[:_WARNINGS])
    more = f"… and {len(warnings) - _WARNINGS:,} warnings more; edgelm data check lists all"
    shown = [line for line in lines if line not in set(warnings) - kept]
    return "\n".join([*shown, more])


def _coloured(text: str) -> Content:
    """What is trained in colour."""
    parts: list[str | tuple[str, str]] = []
    for at, piece in enumerate(text.replace("⟧", "⟦").split("⟦")):
        parts.append((f"⟦{piece}⟧", "$text-success") if at % 2 else piece)
    return Content.assemble(*parts)
