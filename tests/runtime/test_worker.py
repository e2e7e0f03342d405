"""The engine thread: events and exceptions cross it, arrays do not; it ends when it should."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import mlx.core as mx
import pytest
from waiting import PATIENCE_S

from edgelm.errors import EngineError, PromptError
from edgelm.runtime.worker import EngineThread


@pytest.fixture
def engine() -> Iterator[EngineThread[mx.array]]:
    with EngineThread(lambda: mx.arange(5)) as thread:
        yield thread


def count(value: mx.array, cancel: threading.Event) -> Iterator[int]:
    """Counts until cancelled; says last how it ended."""
    for number in range(10_000):
        if cancel.is_set():
            break
        yield number
        time.sleep(0.001)
    yield -1


@pytest.mark.slow
def test_arrays_stay_and_values_come(engine: EngineThread[mx.array]) -> None:
    assert engine.call(lambda value: (value * 2).tolist()) == [0, 2, 4, 6, 8]
    names = engine.submit(lambda value, _: iter([threading.current_thread().name])).events()
    assert list(names) == ["edgelm-engine"]


@pytest.mark.slow
def test_jobs_run_in_order(engine: EngineThread[mx.array]) -> None:
    jobs = [engine.submit(lambda _, __, n=n: [n, n]) for n in range(3)]  # type: ignore[misc]
    assert [list(job.events()) for job in jobs] == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.slow
def test_exceptions_come_out_and_the_next_job_runs(engine: EngineThread[mx.array]) -> None:
    def fails(_: mx.array, __: threading.Event) -> Iterator[int]:
        yield 1
        raise PromptError("too long", hint="shorten it")

    events = engine.submit(fails).events()
    assert next(events) == 1
    with pytest.raises(PromptError, match="too long") as caught:
        next(events)
    assert caught.value.hint == "shorten it"
    assert engine.call(lambda value: value.size) == 5


@pytest.mark.slow
def test_leaving_early_cancels(engine: EngineThread[mx.array]) -> None:
    job = engine.submit(count)
    for number in job.events():
        if number == 3:
            break
    assert engine.call(lambda _: "free") == "free"  # `count` alone would go on for hours


@pytest.mark.slow
def test_cancel_lets_the_work_say_its_last_word(engine: EngineThread[mx.array]) -> None:
    job = engine.submit(count)
    events = job.events()
    next(events)
    job.cancel()
    assert list(events)[-1] == -1


@pytest.mark.slow
def test_setup_errors_come_out_of_the_constructor() -> None:
    before = threading.active_count()
    with pytest.raises(PromptError, match="no model"):
        EngineThread(lambda: (_ for _ in ()).throw(PromptError("no model")))
    assert threading.active_count() == before


@pytest.mark.slow
def test_close_cancels_refuses_and_may_come_again() -> None:
    engine = EngineThread(lambda: mx.zeros(1))
    running, waiting = engine.submit(count).events(), engine.submit(count).events()
    assert next(running) == 0
    engine.close()
    engine.close()
    assert list(running)[-1] == -1
    with pytest.raises(EngineError, match="closed before"):
        next(waiting)
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.submit(count)
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.call(lambda _: 1)


@pytest.mark.slow
def test_a_failed_job_keeps_no_arrays(engine: EngineThread[mx.array]) -> None:
    def fails(_: mx.array, __: threading.Event) -> Iterator[int]:
        held = mx.zeros((1024, 1024))
        mx.eval(held)
        raise RuntimeError("boom")
        yield

    with pytest.raises(RuntimeError, match="boom") as caught:
        list(engine.submit(fails).events())
    traceback, frames = caught.value.__traceback__, []
    while traceback:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    assert not any("held" in frame.f_locals for frame in frames)


SCRIPT = """
import sys, time
import mlx.core as mx
from edgelm.runtime.worker import EngineThread
engine = EngineThread(lambda: mx.zeros((4, 4)))
def work(value, cancel):
    while not cancel.is_set():
        value = value + 1
        mx.eval(value)
        yield value.tolist()
events = engine.submit(work).events()
next(events)
print("ready", flush=True)
"""


def run_script(tail: str) -> subprocess.Popen[str]:
    source = SCRIPT + textwrap.dedent(tail)
    return subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_interpreter_ends_with_a_job_under_way() -> None:
    process = run_script("")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (0, "ready\n", "")


@pytest.mark.slow
def test_ctrl_c_in_the_listener_ends_the_job() -> None:
    process = run_script(
        """
        try:
            for _ in events:
                pass
        except KeyboardInterrupt:
            print("stopped", engine.call(lambda value: value.sum().item()), flush=True)
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (0, "stopped 0.0\n", "")


@pytest.mark.slow
def test_ctrl_c_while_the_value_is_made_is_heard_before_it_is_made() -> None:
    stop, is_freed = threading.Event(), threading.Event()

    def setup() -> None:
        # To the main thread, as the system sends a Ctrl-C: a signal of another thread interrupts no wait of this one.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        stop.wait()  # nobody sets it but whoever leaves
        raise PromptError("stopped")

    with pytest.raises(KeyboardInterrupt):
        EngineThread(setup, teardown=is_freed.set, stop=stop)
    assert is_freed.wait(PATIENCE_S)


@pytest.mark.slow
def test_ctrl_c_while_the_thread_begins_is_heard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, is_freed = threading.Event(), threading.Event()
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "edgelm-engine":
            raise KeyboardInterrupt

    def setup() -> None:
        stop.wait()
        raise PromptError("stopped")

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        EngineThread(setup, teardown=is_freed.set, stop=stop)
    assert is_freed.wait(PATIENCE_S)
