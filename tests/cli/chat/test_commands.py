"""The commands of the chat loop beside its answers: the same tree of messages, chats and settings that the app has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi
from talking import talk

from edgelm.cli.chat.chat_session import ChatSession
from edgelm.conversation.question import Question
from edgelm.errors import EngineError, FitError
from edgelm.runtime.events import Finished, Text, Usage
from edgelm.store.chats import Chats

Capture = pytest.CaptureFixture[str]


def path() -> list[str]:
    """What the latest chat shows."""
    with Chats() as chats:
        return [message.content for message in chats.path(chats.sessions()[0].id)]


def test_an_answer_is_asked_for_again_and_both_stay(api: FakeApi, capsys: Capture) -> None:
    chat = talk(api, ["one", "two", "/retry", "/messages", "/prev", "/next", "/next 2", "/next 9"])
    captured = capsys.readouterr()
    assert path() == ["one", "You said: one ", "two", "You said: two "]
    assert "   4  tiny: You said: two (alternative 2 of 2)" in captured.err
    said = [line for line in captured.err.splitlines() if line.startswith("alternative")]
    assert said == ["alternative 1 of 2:", "alternative 2 of 2:"]
    assert "there is no alternative" in captured.err
    assert "there is no message 9, expected 1 to 4" in captured.err
    assert [message["content"] for message in chat.messages] == path()
    with Chats() as chats:
        assert list(chats.sibling_places(1).values()) == [(1, 2), (2, 2)]


def test_an_earlier_prompt_is_edited_and_the_rest_stays_behind(api: FakeApi, capsys: Capture) -> None:
    chat = talk(api, ["one", "two", "/edit 1 first", "more", "/edit", "other", "/edit", "  "])
    assert path() == ["first", "You said: first ", "other", "You said: other "]
    assert [message["content"] for message in chat.messages] == path()
    with Chats() as chats:
        assert len(chats.siblings(chats.path(1)[0].id)) == 2
    assert "more\nYou said: other" in capsys.readouterr().out  # the old text, to be changed


def test_an_answer_is_corrected_and_rated_and_becomes_rows(
    api: FakeApi, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [
        "one",
        "/bad",
        "/correct The one.",
        "/good",
        "/messages",
        "/good 2",
        "/good 1",
        f"/feedback {file}",
    ]
    chat = talk(api, lines)
    err = capsys.readouterr().err
    assert "(alternative 2 of 2, rated good, written by you)" in err
    assert "the answer is rated bad" in err
    assert "the rating is taken back" in err
    assert "message 1 is of the user, expected one of the assistant" in err
    assert "1 preferences row written" in err
    assert '"chosen": [{"role": "assistant", "content": "The one."}]' in file.read_text()
    assert chat.messages[-1]["content"] == "The one."


def test_a_branch_leaves_the_first_chat_as_it_was(api: FakeApi) -> None:
    talk(api, ["one", "two", "/branch 2", "three"])
    assert path() == ["one", "You said: one ", "three", "You said: three "]
    with Chats() as chats:
        assert [message.content for message in chats.path(1)][2] == "two"


def test_deletions_come_back(api: FakeApi, capsys: Capture) -> None:
    chat = talk(
        api, ["one", "two", "/remove 3", "/messages", "/undo", "/delete", "/sessions", "/undo", "/undo"]
    )
    assert path() == ["one", "You said: one ", "two", "You said: two "]
    assert [message["content"] for message in chat.messages] == path()
    err = capsys.readouterr().err
    assert "2 messages are left" in err
    assert "no chat is saved yet" in err
    assert "nothing was deleted" in err


def test_chats_are_found_named_moved_and_opened(api: FakeApi, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "chat.json"
    lines = [
        "one fish",
        "/rename Fish",
        "/folder sea",
        "/system Be a fish.",
        "/set temperature 0.5",
        "/duplicate",
    ]
    more = [f"/export {out}", "/new", "two birds", "/search fish", "/search", "/open 1", "/system", "/set"]
    talk(api, [*lines, *more, f"/import {out}", "/open 99", "/folder"])
    err = capsys.readouterr().err
    assert "Fish (in sea)" in err
    assert "one fish" in err[err.index("Fish (in sea)") :]
    assert "\x02" not in err
    assert "chat 1, Fish: 2 messages" in err
    assert "Be a fish.\n" in err
    assert "temperature is 0.5" in err
    assert "no words to search for" in err
    assert "there is no chat 99" in err
    assert api.models[0].chats[0].asked[0].get("temperature") is None
    with Chats() as chats:
        assert [session.title for session in chats.sessions()] == [
            "Fish (copy)",
            "two birds",
            "Fish (copy)",
            "Fish",
        ]
        assert chats.session(1).settings == {"system": "Be a fish.", "temperature": 0.5}


def test_settings_are_checked_and_used(api: FakeApi, capsys: Capture) -> None:
    schema = '{"type": "object"}'
    lines = [
        "/set temperature 0.7",
        "/set seed 3",
        "/set top_p 9",
        "/set seed x",
        "/set nothing 1",
        "one",
        "/set seed",
    ]
    chat = talk(api, [*lines, f"/set schema {schema}", "two", "/set schema", "three"])
    err = capsys.readouterr().err
    assert "top_p is 9.0, expected > 0 and <= 1" in err
    assert "seed is 'x', expected a number" in err
    assert "there is no setting 'nothing'" in err
    assert "seed is not set" in err
    assert chat.asked[0] == {"temperature": 0.7, "seed": 3}
    assert chat.asked[1] == {"temperature": 0.7, "schema": {"type": "object"}, "grammar": None}
    assert chat.asked[2] == {"temperature": 0.7}


def test_the_model_is_changed_in_mid_chat(api: FakeApi, capsys: Capture) -> None:
    talk(api, ["one", "/model other", "two", "/model missing", "/model huge", "three", "/model"])
    assert [model.name for model in api.models] == ["tiny", "other", "other"]
    assert [model.closed for model in api.models] == [True, True, False]
    err = capsys.readouterr().err
    assert "the chat goes on with other" in err
    assert "no model 'missing'" in err
    assert "huge needs 99 GB" in err
    assert "other (in use)" in err
    with Chats() as chats:
        assert [message.model for message in chats.path(1)][1::2] == ["tiny", "other", "other"]
    assert issubclass(FitError, Exception)


def test_files_go_with_a_prompt(api: FakeApi, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "a.txt"
    file.write_text("inside")
    chat = talk(
        api, [f"/attach {file}", "/attach nothing", "one", f"look at @{file}", "/read 3", "/messages"]
    )
    assert chat.messages[0]["content"] == f"<file name={str(file)!r}>\ninside\n</file>\n\none"
    assert "inside" in chat.messages[2]["content"]
    err = capsys.readouterr().err
    assert "there is no file nothing" in err
    assert f"attached: {file}" in err
    assert err.count("(1 attached)") == 2
    with Chats() as chats:
        assert chats.path(1)[0].attachments[0].text == "inside"


def test_ctrl_c_keeps_what_came_and_continue_goes_on(
    api: FakeApi, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Question] = []
    ask = ChatSession.ask

    def go_on(self: ChatSession, question: Question) -> Iterator[Any]:
        if not question.continues:
            yield from ask(self, question)
            return
        asked.append(question)
        yield Text("and more")
        yield Finished("stop", Usage(1, 0, 2, 0.1, 0.2, 1.0, 0))

    monkeypatch.setattr(ChatSession, "ask", go_on)
    steps = iter(range(100))

    def interrupt() -> None:
        if next(steps) == 2:
            raise KeyboardInterrupt

    api.pace = interrupt
    chat = talk(api, ["one two", "/messages", "/continue", "/continue", "/messages"])
    captured = capsys.readouterr()
    assert "(stopped) What came is kept; /continue goes on, /retry answers again." in captured.err
    assert "tiny: You said: (stopped)" in captured.err
    assert [(list(question.messages), question.settings()) for question in asked] == [
        ([{"role": "user", "content": "one two"}, {"role": "assistant", "content": "You said: "}], {})
    ]
    assert path() == ["one two", "You said: and more"]
    assert chat.messages[-1]["content"] == "You said: and more"
    assert "this answer is whole" in captured.err
    with Chats() as chats:
        answer = chats.path(1)[-1]
        assert (answer.state, answer.usage["completion_tokens"]) == ("complete", 2)


def test_a_failed_answer_can_be_asked_for_again(api: FakeApi, capsys: Capture) -> None:
    talk(api, ["too long", "/messages", "/continue", "one"])
    err = capsys.readouterr().err
    assert "tiny: (failed)" in err
    assert err.count("the prompt has 9 tokens") == 2
    assert path() == ["too long", "", "one", "You said: one "]


def test_commands_that_need_a_message_say_so(api: FakeApi, capsys: Capture) -> None:
    lines = ["/retry", "/continue", "/edit", "/next", "/branch", "/good", "/remove", "/read x", "/messages"]
    talk(api, lines)
    err = capsys.readouterr().err
    assert err.count("error: there is no message yet") == 7
    assert "'x' is no number of a message" in err
    talk(api, ["/rename x", "/export", "/duplicate", "/delete", "/import", "/feedback"])
    assert capsys.readouterr().err.count("error: ") == 6


def test_a_prompt_that_is_not_told_to_the_model_is_marked(api: FakeApi, capsys: Capture) -> None:
    chat = talk(api, ["too long", "one", "/messages"])
    err = capsys.readouterr().err
    assert "   1  you: too long (not told to the model: its answer failed)" in err
    assert "   3  you: one\n" in err
    assert [turn["content"] for turn in chat.messages] == ["one", "You said: one "]


def test_ctrl_c_while_another_model_loads_keeps_the_one_before(
    api: FakeApi, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = api.load

    def interrupted(name: str, **settings: object) -> object:
        if name == "other":
            raise KeyboardInterrupt
        return load(name, **settings)

    monkeypatch.setattr(api, "find_model", lambda *_: None, raising=False)
    monkeypatch.setattr(api, "load", interrupted)
    chat = talk(api, ["one", "/model other", "two"])
    assert "stopped; the chat goes on with tiny" in capsys.readouterr().err
    assert [said["content"] for said in chat.messages if said["role"] == "user"] == ["one", "two"]


def test_what_is_attached_and_not_sent_goes_with_the_next_prompt_of_the_chat(
    api: FakeApi, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("inside")
    talk(api, ["one", f"/attach {file}"])
    chat = talk(api, ["/open 1", "two", "three"])
    assert "chat 1, one: 2 messages, 1 file attached" in capsys.readouterr().err
    said = [message["content"] for message in chat.messages if message["role"] == "user"]
    assert said == ["one", f"<file name={str(file)!r}>\ninside\n</file>\n\ntwo", "three"]


def test_what_was_said_before_an_answer_broke_off_is_kept(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    steps = iter(range(100))

    def fail() -> None:
        if next(steps) == 2:
            raise EngineError("the engine broke")

    api.pace = fail
    chat = talk(api, ["one two", "/messages", "three"])
    assert "tiny: You said: (failed)" in capsys.readouterr().err
    assert [message["content"] for message in chat.messages] == path()
    assert path()[1::2] == ["You said: ", "You said: three "]


def test_another_answer_is_drawn_where_the_command_line_asks_for_the_likeliest(
    api: FakeApi, capsys: Capture
) -> None:
    chat = talk(api, ["one", "/retry"], flags={"greedy": True})
    assert chat.asked == [{"greedy": True}, {"temperature": 0.8}]
    chat = talk(api, ["one", "/retry"], flags={"temperature": 0.5})
    assert chat.asked == [{"temperature": 0.5}] * 2
    assert capsys.readouterr().err.count("drawn at temperature 0.8") == 1


def test_a_cut_answer_goes_on_under_the_flags_of_the_command_line(api: FakeApi, capsys: Capture) -> None:
    steps = iter(range(100))

    def interrupt() -> None:
        if next(steps) == 2:
            raise KeyboardInterrupt

    api.pace = interrupt
    talk(api, ["one two", "/set top_k 5", "/continue"], flags={"temperature": 0.5})
    assert path() == ["one two", "You said: and so on"]
    settings, prompt = api.models[0].asked
    assert settings == {"max_tokens": 4096, "temperature": 0.5, "top_k": 5}
    assert isinstance(prompt, list)
