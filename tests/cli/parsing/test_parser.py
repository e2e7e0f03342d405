"""What a misspelt or contradictory command line says: one line, the nearest word, exit code 2."""

from __future__ import annotations

import argparse

import pytest

from edgelm.cli.main import main
from edgelm.cli.parsing.flags import flags_of, in_flags
from edgelm.cli.parsing.nearest import nearest
from edgelm.cli.parsing.parser import Parser
from edgelm.errors import OptionError


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["chat", "--temperatur", "1"], "unrecognized arguments: --temperatur, did you mean --temperature?"),
        (["chat", "--temp=1"], "unrecognized arguments: --temp, did you mean --temperature?"),
        (["chat", "--max_tokens", "3"], "unrecognized arguments: --max_tokens, did you mean --max-tokens?"),
        (["chat", "-temperature", "1"], "unrecognized arguments: -temperature, did you mean --temperature?"),
        (["models", "info", "x", "--sgv", "y"], "unrecognized arguments: --sgv, did you mean --svg?"),
        (["generate", "--inptu", "x"], "unrecognized arguments: --inptu, did you mean --input?"),
        (["runs", "plot", "x", "--ouput", "y"], "unrecognized arguments: --ouput, did you mean --output?"),
        (["eval", "m", "--zzz"], "unrecognized arguments: --zzz"),
        (["models", "lst"], "no action 'lst', did you mean 'list'?"),
        (["data", "chek", "x"], "no action 'chek', did you mean 'check'?"),
        (["conver"], "no command 'conver', did you mean 'convert'?"),
        (
            ["convert", "x", "--mode", "afine"],
            "--mode is 'afine', did you mean 'affine'? expected one of affine, ",
        ),
        (["convert", "x", "--bits", "7"], "--bits is 7, expected one of 2, 3, 4, 5, 6, 8"),
        (["convert", "x", "--bits", "four"], "--bits is 'four', expected a whole number"),
        (["convert", "x", "--bits"], "--bits stands alone, expected one value"),
        (["convert"], "not given: SOURCE"),
        (
            ["tune", "m", "--data", "d", "--learning-rate", "7"],
            "--learning-rate is 7.0, expected > 0 and <= 1",
        ),
        (["chat", "-p", "x", "--top-p", "7"], "--top-p is 7.0, expected > 0 and <= 1"),
    ],
)
def test_one_line_says_what_was_meant(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    first, *rest = captured.err.splitlines()
    assert first.startswith(f"error: {says}")
    assert all(not line or line.startswith("hint: ") for line in rest)
    assert not captured.out


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["convert", "x", "--bits", "4", "--bpw", "3"], ["--bits", "--bpw"]),
        (["convert", "x", "--size", "1GB", "--bpw", "3"], ["--size", "--bpw"]),
        (["convert", "x", "--fit", "M2 8GB", "--group-size", "32"], ["--fit", "--group-size"]),
        (["convert", "x", "--mode", "none", "--bits", "4"], ["--mode none", "--bits"]),
        (["convert", "x", "--recipe", "mixed_3_6", "--bits", "4"], ["--recipe", "--bits"]),
        (["convert", "x", "--bpw", "3", "--mode", "mxfp4"], ["--bpw", "--mode mxfp4"]),
        (["chat", "-p", "x", "--kv-bits", "4", "--kv-dtype", "float16"], ["--kv-bits", "--kv-dtype"]),
        (["chat", "-p", "x", "--kv-bits", "4", "--max-context", "99"], ["--kv-bits", "--max-context"]),
        (["chat", "-p", "x", "--schema", "a", "--regex", "b"], ["--schema", "--regex"]),
        (["tune", "--resume", "--rank", "4"], ["--resume", "--rank"]),
        (["tune", "--resume", "--seed", "0"], ["--resume", "--seed"]),
        (["tune", "m", "--resume", "r"], ["MODEL", "--resume"]),
        (["tune", "m", "--data", "d", "--epochs", "1", "--for", "3h"], ["--epochs", "--for"]),
        (["tune", "m", "--data", "d", "--method", "full", "--rank", "8"], ["--method full", "--rank"]),
        (
            ["tune", "m", "--data", "d", "--validation", "v", "--hold-out", "0.1"],
            ["--validation", "--hold-out"],
        ),
        (["eval", "m", "--tasks", "a", "--text", "b"], ["--tasks", "--text"]),
        (["plan", "m", "--tune", "--bits", "3"], ["--tune", "--bits"]),
        (["data", "check", "f", "--max-tokens", "9"], ["--max-tokens", "--model"]),
        (["convert", ".", "--revision", "main"], ["--revision", "is a path"]),
        (["data", "show", "f", "--model", "m", "--line", "3", "--first", "2"], ["--line", "--first"]),
    ],
)
def test_flags_that_exclude_each_other_are_named(
    argv: list[str], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    said = capsys.readouterr().err.splitlines()[0]
    assert all(name in said for name in names), said


def test_choices_stand_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--help"]) == 0
    assert "--bits {2,3,4,5,6,8}" in " ".join(capsys.readouterr().out.split())


def test_the_namespace_knows_which_flags_were_typed() -> None:
    parser = Parser()
    parser.add_argument("-n", "--number", type=int, default=0)
    parser.add_argument("--other", default=None)
    assert parser.parse_args(["--number", "0"]).flags_given == {"number": "--number"}
    assert parser.parse_args(["-n0"]).flags_given == {"number": "-n"}
    assert parser.parse_args([]).flags_given == {}


def test_a_value_of_the_name_of_a_setting_stays() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate")
    parser.add_argument("--size")
    flags = flags_of(parser)
    assert in_flags(OptionError("size is 'learning_rate', expected a number"), flags) == (
        "--size is 'learning_rate', expected a number"
    )
    assert in_flags(OptionError("the text has no size"), flags) == "the text has no size"


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("--tokens", ["--max-tokens", "--system"], "--max-tokens"),
        ("--sys", ["--max-tokens", "--system"], "--system"),
        ("LIST", ["list", "info"], "list"),
        ("--xyz", ["--max-tokens"], None),
        ("--", ["--max-tokens"], None),
    ],
)
def test_nearest(word: str, known: list[str], expected: str | None) -> None:
    assert nearest(word, known) == expected
