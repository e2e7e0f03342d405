"""Training runs: read from their directories, drawn, ordered about, compared; a child process that dies."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from app_driver import Driver, running
from furniture import DONE, steps, write_run
from textual.widgets import DataTable, Input

from edgelm.charts.braille import Series
from edgelm.runs.log import RunLog
from edgelm.runs.shelf import RunShelf
from edgelm.runs.watched import watched_warnings
from edgelm_tui.screens.tune.new_run import NewRun
from edgelm_tui.screens.tune.new_run_form import NewRunScreen, _plan_arguments
from edgelm_tui.screens.tune.panel import describe
from edgelm_tui.screens.tune.plot import draw
from edgelm_tui.screens.tune.screen import TuneScreen

TRAINER = """
import fcntl, json, os, sys, time
from pathlib import Path
run = Path(os.environ["EDGELM_HOME"]) / "runs" / sys.argv[1]
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
lock = (run / "pid").open("w")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(str(os.getpid())); lock.flush()
(run / "config.json").write_text(json.dumps({"request": {"model": "/models/tiny"}}))
log = (run / "events.jsonl").open("a")
def say(event, **fields):
    line = json.dumps({"event": event, **fields})
    log.write(line + "\\n"); log.flush(); print(line, flush=True)
say("started", run=run.name, model="tiny", method="lora", step=0, rows=9, validation_rows=1, notes=[], pad_share=0.25)
step, paused = 0, False
while step < 9000:
    order = run / "control"
    if order.exists():
        word = order.read_text(); order.unlink()
        if word == "pause": paused = True; say("paused", step=step, reason="asked for")
        if word == "resume": paused = False; say("unpaused", step=step, paused_s=1)
        if word == "checkpoint": say("checkpointed", step=step, directory="x")
        if word == "stop": break
    time.sleep(0.02)
    if paused: continue
    step += 1
    say("stepped", step=step, total_steps=9000, loss=3.0 / step, smoothed=2.0 / step, learning_rate=1e-4,
        tokens_per_s=1234.0, memory_bytes=2_000_000_000, eta_s=60.0)
    if step % 10 == 0:
        say("validated", step=step, loss=2.5 / step, best_loss=2.5 / step, best_step=step,
            answers=[{"prompt": "Who?", "text": f"answer {step}"}])
say("ended", reason="stopped" if step < 9000 else "done", step=step, adapter=None, elapsed_s=3.0)
"""


@contextmanager
def taken(lock: Path) -> Iterator[None]:
    """A lock that this process holds, as a run does that is under way."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(str(os.getpid()))
        file.flush()
        yield


async def training(it: Driver) -> TuneScreen:
    await it.press("f4")
    screen = it.app.screen
    assert isinstance(screen, TuneScreen)
    await it.until(lambda: screen.is_mounted and screen.query_one(DataTable).has_focus, "shown")
    return screen


async def begin(it: Driver, name: str = "run-a") -> tuple[TuneScreen, RunLog]:
    screen = await training(it)
    screen.begin_run([sys.executable, "-c", TRAINER, name])
    await it.until(lambda: screen.chosen is not None and screen.chosen.step.get("step", 0) > 2, "training")
    assert screen.chosen is not None
    return screen, screen.chosen


async def test_no_runs_yet() -> None:
    async with running() as it:
        await training(it)
        await it.until(lambda: "No run yet. n begins one" in it.screen_text, "said so")
        for key in ("space", "c", "s", "r", "m", "v", "x", "enter", "l"):
            await it.press(key)
        assert it.app.is_running


async def test_a_run_is_followed_paused_and_stopped() -> None:
    async with running(size=(140, 40)) as it:
        screen, log = await begin(it)
        await it.until(lambda: it.app.services.state.model is None, "the model makes room")
        await it.until(lambda: "running" in it.screen_text and "1,234 token/s" in it.screen_text, "numbers")
        for text in ("75% of positions used", "left 1:00", "smoothed", "validation"):
            await it.until(lambda text=text: text in it.screen_text, text)  # type: ignore[misc]
        await it.until(lambda: "training step" in it.status, "the step in the status line")
        await it.press("space")
        await it.until(lambda: log.is_paused and "paused" in it.screen_text, "paused")
        await it.press("space")
        await it.until(lambda: not log.is_paused, "goes on")
        await it.press("c")
        await it.until(lambda: any("checkpoint" in line for line in log.lines), "a checkpoint")
        await it.press("s", "y")
        await it.until(lambda: log.status() == "stopped" and screen.child is None, "stopped")
        await it.until(lambda: "the run has ended" in it.toasts, "said")
        assert it.app.services.state.job == ""


@pytest.mark.fault
async def test_a_training_process_that_is_killed_leaves_the_app_working() -> None:
    async with running(size=(140, 40)) as it:
        screen, log = await begin(it)
        assert screen.child is not None
        os.kill(screen.child.pid, signal.SIGKILL)
        await it.until(lambda: "the training process ended with signal 9" in it.toasts, "said so")
        await it.until(lambda: log.status() == "interrupted" and "r resumes" in it.screen_text, "shown")
        await it.press("f2", "ctrl+l")
        await it.press("f2")


async def test_a_run_goes_on_when_the_app_is_closed_and_is_found_again() -> None:
    async with running(size=(140, 40)) as it:
        screen, _ = await begin(it)
        child = screen.child
    assert child is not None
    assert child.returncode is None
    async with running(size=(140, 40)) as it:
        screen = await training(it)
        await it.until(lambda: screen.chosen is not None and screen.chosen.status() == "running", "found")
        await it.press("s", "y")
        await it.until(lambda: screen.chosen is not None and bool(screen.chosen.ended), "stopped")
    assert child._process.wait(20) == 0


async def test_curves_of_several_runs_are_compared(home: Path) -> None:
    write_run(home, "one", [*steps(50), DONE])
    write_run(home, "two", [*steps(50, 2.0), {**DONE, "reason": "stopped"}])
    async with running(size=(140, 40)) as it:
        screen = await training(it)
        await it.until(lambda: len(screen._logs) == 2, "listed")
        await it.until(lambda: "━ smoothed" in it.screen_text and "◆ validation" in it.screen_text, "drawn")
        await it.press("m", "down", "m")
        await it.until(lambda: "━ one" in it.screen_text and "━ two" in it.screen_text, "compared")
        await it.press("l")
        assert "log scale" in it.screen_text
        assert {log.name: log.status() for log in screen._logs} == {"one": "finished", "two": "stopped"}


async def test_a_run_can_be_deleted(home: Path) -> None:
    directory = write_run(home, "one", [*steps(3), DONE])
    async with running() as it:
        screen = await training(it)
        await it.until(lambda: len(screen._logs) == 1, "listed")
        await it.press("x", "y")
        await it.until(lambda: not directory.exists() and not screen._logs, "gone")


async def test_enter_chats_with_the_adapter(home: Path) -> None:
    write_run(home, "one", [*steps(3), DONE], model="tiny")
    async with running() as it:
        screen = await training(it)
        await it.until(lambda: screen.chosen is not None, "listed")
        await it.press("enter")
        await it.until(
            lambda: (
                it.app.services.state.model is not None and it.app.services.state.model.adapter == "/a/poet"
            ),
            "loaded",
        )
        assert it.app.current_mode == "chat"


async def test_the_adapter_beside_its_base(home: Path) -> None:
    write_run(home, "one", [*steps(3), DONE], model="tiny")
    async with running(size=(120, 40)) as it:
        screen = await training(it)
        await it.until(lambda: screen.chosen is not None, "listed")
        await it.press("v")
        it.app.screen.query_one(Input).value = "who are you"
        await it.press("enter")
        await it.until(lambda: "done; Enter asks again" in it.screen_text, "both answered")
        assert it.screen_text.count("You said: who are you") == 2
        assert it.engine.adapters_asked == [None, "/a/poet"]
        await it.press("escape")
        assert isinstance(it.app.screen, TuneScreen)


async def test_a_new_run_is_checked_and_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(TuneScreen, "begin_run", lambda self, argv: begun.append(argv))
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").touch()
    async with running(size=(120, 40)) as it:
        await training(it)
        await it.press("n")
        screen = it.app.screen
        assert isinstance(screen, NewRunScreen)
        await it.press("f7")
        assert "no data is named" in it.screen_text
        screen._command = lambda *words: [sys.executable, "-c", f"print('{words[0]} says ⟦trained⟧')"]
        await it.press(*"rows.jsonl", "f6")
        await it.until(lambda: "⟦trained⟧" in it.screen_text and "✓ Will it fit" in it.screen_text, "checked")
        assert not begun
        screen._command = lambda *words: [sys.executable, "-c", "import sys; sys.exit('line 3: no prompt')"]
        await it.press("ctrl+s")
        await it.until(lambda: "The run was not begun" in it.screen_text, "refused")
        assert "✗ Data" in it.screen_text
        assert "line 3: no prompt" in it.screen_text
        assert it.app.services.state.model is not None
        assert not begun
        screen._command = lambda *words: [sys.executable, "-c", "print('fine')"]
        await it.press("f7")
        await it.until(lambda: bool(begun), "begun")
        assert begun[0][3:] == ["tune", "tiny", "--data", "rows.jsonl", "--method", "lora", "--json"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("data", "nowhere.jsonl", "data: there is no file or directory nowhere.jsonl"),
        ("data", "a/b/c", "data: there is no file or directory a/b/c"),
        ("rank", "eight", "rank is 'eight', expected a whole number from 1"),
        ("rank", "0", "rank is '0'"),
        ("rank", "-8", "rank is '-8'"),
        ("epochs", "many", "epochs is 'many', expected a number above 0"),
        ("epochs", "nan", "epochs is 'nan'"),
        ("learning_rate", "0", "learning rate is '0', expected a number above 0"),
    ],
)
async def test_start_names_the_field_that_is_wrong_and_keeps_the_model(
    field: str, value: str, said: str
) -> None:
    async with running(size=(120, 40)) as it:
        await training(it)
        await it.press("n")
        it.app.screen.query_one("#data", Input).value = "org/rows"
        it.app.screen.query_one(f"#{field}", Input).value = value
        await it.press("f7")
        assert said in it.screen_text
        assert it.app.focused is not None
        assert it.app.focused.id == field
        assert it.app.services.state.model is not None
        assert isinstance(it.app.screen, NewRunScreen)


async def test_a_run_that_does_not_begin_leaves_the_model_where_it_is() -> None:
    async with running(size=(140, 40)) as it:
        screen = await training(it)
        screen.begin_run([sys.executable, "-c", "import sys; sys.exit('no such dataset')"])
        await it.until(lambda: "the run did not begin" in it.toasts, "said so")
        await it.until(lambda: "no such dataset" in it.toasts, "said")
        assert it.app.services.state.model is not None
        assert it.app.services.state.job == ""
        await it.press("f2")
        await it.ask("hello")
        assert it.said[-1] == "You said: hello"


async def test_r_goes_on_with_a_paused_run_and_with_one_found_after_a_restart() -> None:
    async with running(size=(140, 40)) as it:
        screen, log = await begin(it)
        child = screen.child
        await it.press("space")
        await it.until(lambda: log.is_paused, "paused")
    async with running(size=(140, 40)) as it:
        screen = await training(it)
        await it.until(
            lambda: screen.chosen is not None and screen.chosen.status() == "paused", "found paused"
        )
        await it.press("r")
        await it.until(lambda: screen.chosen is not None and screen.chosen.status() == "running", "goes on")
        await it.press("n")
        await it.until(lambda: "is under way; s stops it" in it.toasts, "said")
        await it.press("r")
        await it.until(lambda: "the run is not paused" in it.toasts, "said")
        await it.press("s", "y")
        await it.until(lambda: screen.chosen is not None and screen.chosen.status() == "stopped", "stopped")
    assert child is not None
    assert child._process.wait(20) == 0


def test_before_the_first_step_there_are_total_and_forecast(home: Path) -> None:
    started = {"event": "started", "model": "tiny", "step": 0, "total_steps": 120, "predicted_s": 250.0}
    log = RunLog(write_run(home, "one", [started]))
    log.read_on()
    assert (log.at, log.total_steps, log.left_s) == (0, 120, 250.0)
    with taken(log.directory / "pid"):
        said = describe(log).plain
    for text in ("step 0 of 120", "forecast 4:10", "the first step is under way"):
        assert text in said


def test_preferences_are_watched_from_their_reference_to_a_collapse(home: Path) -> None:
    asked = {"event": "referenced", "rows": 40, "total_rows": 200}
    log = RunLog(write_run(home, "one", [asked]))
    log.read_on()
    with taken(log.directory / "pid"):
        assert "the model as it is is asked: 40 of 200 rows" in describe(log).plain
    warnings = list(watched_warnings({"chosen_gain": -0.8}))
    step = {"event": "stepped", "step": 3, "loss": 0.4, "smoothed": 0.5, "warnings": warnings,
            "metrics": {"margin": 0.25, "accuracy": 0.75, "broken": "x"}}  # fmt: skip
    log = RunLog(write_run(home, "two", [asked, step]))
    log.read_on()
    said = describe(log).plain
    assert "margin +0.250 · right 75%" in said
    assert "have lost 0.80 nats a token" in said
    assert any("have lost" in line for line in log.lines)
    validated = {
        "event": "validated",
        "step": 3,
        "loss": 0.4,
        "best_loss": 0.4,
        "best_step": 3,
        "warnings": warnings,
    }
    log = RunLog(
        write_run(home, "three", [{**step, "warnings": []}, validated])
    )  # of a loss without a reference
    log.read_on()
    assert "have lost 0.80 nats a token" in describe(log).plain
    assert any("have lost" in line for line in log.lines)


def test_answers_that_are_drawn_and_rewarded_are_watched(home: Path) -> None:
    metrics = {
        "reward": 0.25,
        "reward_spread": 0.4,
        "alike": 1.0,
        "answer_tokens": 18.4,
        "entropy": 2.81,
        "kl": 0.01,
    }
    step = {"event": "stepped", "step": 1, "loss": 0.1, "smoothed": 0.1, "metrics": metrics,
            "warnings": list(watched_warnings(metrics))}  # fmt: skip
    log = RunLog(write_run(home, "one", [step]))
    log.read_on()
    said = describe(log).plain
    for text in ("reward 0.250", "spread 0.400", "answers of 18 tokens", "entropy 2.81", "kl 0.010"):
        assert text in said
    assert "no group has answers of different reward" in said


@pytest.mark.parametrize("size", [(140, 40), (80, 24)])
async def test_what_is_watched_is_drawn_over_time(home: Path, size: tuple[int, int]) -> None:
    watched = [
        {**step, "metrics": {"reward": at / 100, "answer_tokens": 40.0 - at, "unknown": 1.0}}
        for at, step in enumerate(steps(40))
        if step["event"] == "stepped"
    ]
    write_run(home, "one", [*watched, DONE])
    async with running(size=size) as it:
        await training(it)
        await it.until(lambda: "answers of" in it.screen_text and "▁" in it.screen_text, "drawn")
        lines = it.screen_text.splitlines()
        rises = next(line for line in lines if "reward" in line and "→" in line)
        falls = next(line for line in lines if "answers of" in line and "→" in line)
        assert rises.index("▁") < rises.index("█")
        assert falls.index("█") < falls.index("▁")
        assert "unknown" not in it.screen_text


async def test_list_and_header_show_the_same_loss(home: Path) -> None:
    write_run(home, "one", [*steps(50), DONE])
    async with running(size=(140, 40)) as it:
        screen = await training(it)
        await it.until(lambda: screen.chosen is not None and "0.0400" in it.screen_text, "shown")
        log = screen.chosen
        assert log is not None
        cells = [str(cell) for cell in screen.query_one(DataTable).get_row(log.name)]
        assert cells[3:5] == ["0.0400", "1.0000"]
        assert "loss 0.0400 · validation 1.0000" in describe(log).plain


def test_arguments() -> None:
    run = NewRun("m", "d", "dora", epochs="2", rank="16", learning_rate="1e-4")
    assert _plan_arguments(run)[2:] == ["--tune", "--data", "d", "--method", "dora", "--rank", "16"]
    assert run.arguments()[6:] == ["--json", "--epochs", "2", "--rank", "16", "--learning-rate", "1e-4"]


def test_a_log_is_read_on_and_torn_lines_wait(home: Path) -> None:
    directory = write_run(home, "one", steps(3))
    log = RunLog(directory)
    assert log.read_on()
    assert log.status() == "interrupted"
    with (directory / "events.jsonl").open("a") as file:
        file.write('not json\n[1]\n{"event": "stepped", "st')
    log.read_on()
    assert log.step["step"] == 3
    with (directory / "events.jsonl").open("a") as file:
        file.write('ep": 4, "loss": 1.0}\n')
    assert log.read_on()
    assert log.step["step"] == 4
    assert not log.read_on()


def test_a_resumed_run_drops_what_lies_beyond_its_checkpoint(home: Path) -> None:
    directory = write_run(
        home, "one", [*steps(9), {"event": "started", "step": 4}, {"event": "stepped", "step": 5, "loss": 7}]
    )
    log = RunLog(directory)
    log.read_on()
    assert [step for step, _ in log.curves["loss"]] == [1, 2, 3, 4, 5]


def test_broken_runs_do_not_hide_the_others(home: Path) -> None:
    write_run(home, "good", steps(3))
    bad = write_run(home, "bad", [])
    (bad / "config.json").write_text("{")
    (bad / "events.jsonl").write_bytes(b"\xff\xfe\n")
    assert {log.name for log in RunShelf().look()} == {"good", "bad"}


def test_drawing() -> None:
    points = [(float(n), 1 / (n + 1)) for n in range(1000)]
    picture = draw([Series("loss", points, "red"), Series("v", [(500.0, 0.5)], "blue", "◆")], 60, 12)
    lines = picture.plain.splitlines()
    assert len(lines) == 12
    assert all(len(line) <= 60 for line in lines)
    assert "◆" in picture.plain
    assert "⠀" < max(picture.plain) <= "◆⣿" or any(0x2800 < ord(letter) < 0x2900 for letter in picture.plain)
    assert "nothing to draw" in draw([], 60, 12).plain
    assert draw([Series("flat", [(1.0, 2.0)], "red")], 60, 12, is_log=True).plain
