"""The front door: commands, help, exit codes, how an error looks."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from waiting import PATIENCE_S

from edgelm.cli import main as cli
from edgelm.cli.show.output import show_error
from edgelm.cli.table import COMMANDS, CommandEntry
from edgelm.errors import EdgeLMError, Interrupted, NotFoundError
from edgelm.version import __version__

Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def command(monkeypatch: pytest.MonkeyPatch, run: Callable[[argparse.Namespace], Any]) -> Iterator[None]:
    """A command `edgelm trial [--count N]` that does `run`."""
    module = types.ModuleType("edgelm.cli.commands.trial")
    module.add_arguments = lambda parser: parser.add_argument("--count", type=int)  # type: ignore[attr-defined]
    module.EXAMPLES = ()  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgelm.cli.commands.trial", module)
    monkeypatch.setattr(cli, "COMMANDS", (*COMMANDS, CommandEntry("trial", "try something")))
    yield


def raising(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def run(_: argparse.Namespace) -> None:
        raise error

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_the_two_functions(command: CommandEntry) -> None:
    module = command.load()
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert callable(module.run)


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_help_of_every_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"examples:\n  edgelm {name}" in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for item in COMMANDS:
        assert f"  {item.name} " in out
        assert item.help in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgelm {__version__}\n"


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conver"]) == 2
    assert "error: no command 'conver', did you mean 'convert'?" in capsys.readouterr().err


def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chat", "--temperatur", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: unrecognized arguments: --temperatur" in captured.err


def test_without_a_terminal_bare_edgelm_shows_its_help(edgelm: Run) -> None:
    done = edgelm()
    assert done.returncode == 2
    assert done.stdout == ""
    assert "commands:" in done.stderr


def test_on_a_terminal_bare_edgelm_opens_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("edgelm_tui.app.run_app", lambda: opened.append(True))
    assert cli.main([]) == 0
    assert opened


def test_an_error_is_one_line_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with command(monkeypatch, raising(NotFoundError("no model 'x'", hint="did you mean y?"))):
        assert cli.main(["trial"]) == 1
    assert capsys.readouterr().err == "error: no model 'x'\n\nhint: did you mean y?\n"


@pytest.mark.parametrize("argv", [["--debug", "trial"], ["trial", "--debug"]])
def test_debug_shows_where_an_error_came_from(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with command(monkeypatch, raising(EdgeLMError("broken"))):
        assert cli.main(argv) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "error: broken" in err


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with command(monkeypatch, raising(KeyboardInterrupt())):
        assert cli.main(["trial"]) == 130
    assert capsys.readouterr() == ("", "")


def test_interrupted_work_says_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with command(monkeypatch, raising(Interrupted("stopped; nothing was written"))):
        assert cli.main(["trial"]) == 130
    assert capsys.readouterr().err == "stopped; nothing was written\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgelm", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=PATIENCE_S) == 0
    assert process.stderr.read() == ""


def test_a_bug_is_one_line_without_debug(edgelm: Run) -> None:
    script = "from edgelm.cli import main; main.main = lambda argv: 1 / 0; main.run()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: edgelm failed unexpectedly: ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(("no_color", "painted"), [("", True), ("1", False)])
def test_colour_only_on_a_terminal_without_no_color(
    no_color: str, painted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    show_error("bad")
    assert ("\x1b[" in screen.getvalue()) is painted
