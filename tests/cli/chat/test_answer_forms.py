"""What shapes an answer and what is said of it: inline schemas, system prompts from files, log-probabilities, /set."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi

from edgelm.cli.chat.command_list import COMMANDS
from edgelm.cli.main import main
from edgelm.cli.parsing.answer_form import form_of_answer
from edgelm.cli.show.answer import TextAnswer, event_json
from edgelm.cli.show.token_table import print_tokens
from edgelm.conversation.commands import COMMANDS as APP_COMMANDS
from edgelm.errors import NotFoundError, OptionError, UnsupportedError
from edgelm.runtime.events import Alternative, Text, Token
from edgelm.store.chats import Chats

Capture = pytest.CaptureFixture[str]
Pipe = Callable[[bytes], None]


def test_a_schema_may_stand_in_the_command(tmp_path: Path) -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}}'
    file = tmp_path / "schema.json"
    file.write_text("\ufeff" + schema, encoding="utf-8")
    inline = form_of_answer(schema=f" {schema}", regex=None, grammar=None)
    assert inline is not None
    assert inline == form_of_answer(schema=str(file), regex=None, grammar=None)


@pytest.mark.parametrize(
    ("schema", "error", "words"),
    [
        ("", OptionError, "--schema is empty"),
        ("{bad", OptionError, "--schema: "),
        ('{"type": "object", "not": {}}', UnsupportedError, "--schema: "),
        ("missing.json", NotFoundError, "missing.json does not exist"),
    ],
)
def test_a_schema_that_is_none_is_named(schema: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        form_of_answer(schema=schema, regex=None, grammar=None)


def test_a_system_prompt_comes_from_a_file(
    api: FakeApi, stdin: Pipe, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "my system.txt"
    file.write_bytes("\ufeffBe brief.\r\nAlways.\n".encode())
    systems = {f"@{file}": "Be brief.\nAlways.", "@@home": "@home", "plain": "plain", "": ""}
    for said, meant in systems.items():
        stdin(b"")
        assert main(["chat", "tiny", "-p", "x", "--system", said]) == 0
        assert api.models[-1].chats[0].system == meant
    (tmp_path / "empty").write_text(" \n")
    for wrong in (f"@{tmp_path / 'none'}", f"@{tmp_path / 'empty'}", "@"):
        stdin(b"")
        assert main(["chat", "tiny", "-p", "x", "--system", wrong]) != 0
    err = capsys.readouterr().err
    assert f"{tmp_path / 'none'} does not exist" in err
    assert "is empty, expected text" in err


def test_a_model_of_no_name_is_not_the_last_one(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", "", "-p", "x"]) == 2
    assert "MODEL is empty" in capsys.readouterr().err
    assert not api.loads


TOKENS = (
    Token(
        5, math.log(0.75), (Alternative(5, math.log(0.75), " a"), Alternative(6, math.log(0.2), "\x1b")), " a"
    ),
    Token(7, math.log(0.5), (Alternative(7, math.log(0.5), '"'),), '"'),
)


def test_log_probabilities_are_a_table_in_a_pipe(capsys: Capture) -> None:
    TextAnswer(thinking=False).show([TOKENS[0], Text(" a"), TOKENS[1], Text('"')])
    answer, head, first, second = capsys.readouterr().out.splitlines()
    assert (answer, head) == (' a"', "token\tlogprob\tprobability\talternatives")
    assert first == '" a"\t-0.2877\t75.0%\t" a" 75.0%, "\\x1b" 20.0%'
    assert second.startswith('"\\""\t-0.6931\t50.0%')
    print_tokens([Token(1, -1.0, (), "x")])
    assert capsys.readouterr().out == 'token\tlogprob\tprobability\n"x"\t-1.0000\t36.8%\n'


def test_log_probabilities_as_json_have_the_text_of_every_token() -> None:
    said = event_json(TOKENS[0])
    assert (said["event"], said["text"], said["alternatives"][1]["text"]) == ("token", " a", "\x1b")
    json.dumps(said)


@pytest.mark.parametrize(("flags", "asked"), [(["--logprobs"], 0), (["--logprobs", "3"], 3), ([], None)])
def test_log_probabilities_are_asked_for(
    api: FakeApi, stdin: Pipe, flags: list[str], asked: int | None
) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", *flags]) == 0
    assert api.models[0].chats[0].asked[0].get("logprobs") == asked


def test_too_many_alternatives_are_refused_by_the_flag(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", "--logprobs", "21"]) == 2
    assert "--logprobs is 21, expected >= 0 and <= 20" in capsys.readouterr().err


@pytest.mark.slow
def test_settings_are_checked_listed_and_unset(
    home: Path, terminal: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "s.json").write_text('{"type": "object"}')
    chat = terminal("chat", "tiny", "--plain")
    chat.wait_for("leaves")
    lines = [
        "/set schema missing.json", '/set schema {"type": 5}', "/set temprature 1", "/set system x",
        f"/set schema {tmp_path}/../{tmp_path.name}/s.json", "/set top-k=0", "/set max_tokens 0", "/set",
        "/set schema", "/help set", "/help exit", "/help save", "/help nothing", "/settings", "/exit",
    ]  # fmt: skip
    chat.send("\n".join(lines) + "\n")
    assert chat.wait() == 0
    for words in (
        "the schema cannot be read", "did you mean 'temperature'?", "/system sets it",
        "max_tokens is 0, expected >= 1", "top_k is 0", f"schema is {tmp_path}", "schema is not set",
        "without a value, unset it", "0 is off, more than the vocabulary is all of it (>= 0)", "/exit does the same",
        "/import", "no command /nothing",
    ):  # fmt: skip
        assert words in chat.output, words
    assert "schema is missing.json" not in chat.output


def test_what_the_command_line_says_counts_more_than_a_saved_chat_also_where_it_says_0(
    api: FakeApi, stdin: Pipe, home: Path
) -> None:
    saved = {"temperature": 0.7, "seed": 5, "top_k": 40, "schema": '{"type": "object"}', "min_p": 0.5}
    with Chats() as chats:
        chats.create(model="tiny", settings=saved)
    zeros = {"temperature": 0.0, "seed": 0, "top_k": 0, "min_p": 0.0}
    flags = ["--temperature", "0", "--seed", "0", "--top-k", "0", "--min-p", "0"]
    for form, schema in (([], {"type": "object"}), (["--regex", "a+"], None)):
        stdin(b"")
        assert main(["chat", "tiny", "-p", "x", "--continue", *flags, *form]) == 0
        asked = api.models[-1].chats[-1].asked[0]
        assert {name: asked[name] for name in zeros} == zeros
        assert asked.get("schema") == schema
        assert (asked["grammar"] is None) == (not form)


def test_commands_of_the_app_are_commands_of_the_loop_too() -> None:
    assert APP_COMMANDS.keys() - COMMANDS.keys() == {"/copy", "/editor", "/theme", "/settings"}
