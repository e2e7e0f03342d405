"""An answer on its way into the saved chats: texts, calls and their results, endings."""

from __future__ import annotations

import pytest

from edgelm.conversation.answer_record import AnswerRecord
from edgelm.conversation.asking import Asker
from edgelm.conversation.settings import ChatSettings
from edgelm.runtime.chat.tool_loop import ToolResult
from edgelm.runtime.events import Finished, Prefill, Text, ToolCall, Usage
from edgelm.store.chats import Chats
from edgelm.store.saved_to_messages import turns

USAGE = Usage(10, 4, 3, 0.1, 0.2, 1.0, 0)


def begun(chats: Chats) -> AnswerRecord:
    asker = Asker(chats, ChatSettings, lambda: None)
    prompt = asker.say(chats.create(model="tiny").id, None, "tea?")
    return AnswerRecord(chats, asker.ask(prompt).answer)


@pytest.mark.parametrize(
    ("reason", "state"), [("stop", "complete"), ("length", "length"), ("cancelled", "stopped")]
)
def test_an_answer_ends_as_the_model_ended_it(reason: str, state: str, chats: Chats) -> None:
    record = begun(chats)
    for event in (Prefill(1, 1, 0), Text("hm", "thinking"), Text("so"), Finished(reason, USAGE)):  # type: ignore[arg-type]
        record.hear(event)
    record.finish()
    saved = chats.message(record.message_id)
    assert (saved.thinking, saved.content, saved.state) == ("hm", "so", state)
    assert saved.usage["completion_tokens"] == 3


def test_what_is_written_down_is_there_before_the_end(chats: Chats) -> None:
    record = begun(chats)
    record.hear(Text("half"))
    assert record.is_unwritten
    record.write()
    saved = chats.message(record.message_id)
    assert (saved.content, saved.state) == ("half", "writing")
    record.finish()
    assert chats.message(record.message_id).state == "stopped"


def test_calls_results_and_the_reply_after_them_are_messages(chats: Chats) -> None:
    record = begun(chats)
    for event in (
        ToolCall("shop", {"item": "tea"}, "…"),
        ToolCall("shop", {"item": "milk"}, "…"),
        Finished("stop", USAGE),
        ToolResult("shop", "tea is there"),
        ToolResult("shop", "no milk"),
        Prefill(1, 1, 0),
        Text("Tea, no milk."),
        Finished("stop", USAGE),
    ):
        record.hear(event)
    record.finish()
    path = chats.path(record.session_id)
    assert [message.role for message in path] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [message.state for message in path] == ["complete"] * 5
    assert record.last_id == path[-1].id
    said = turns(path)
    assert [call["id"] for call in said[1]["tool_calls"]] == [turn["tool_call_id"] for turn in said[2:4]]


def test_results_without_a_reply_end_the_record(chats: Chats) -> None:
    record = begun(chats)
    for event in (ToolCall("shop", {}, "…"), Finished("stop", USAGE), ToolResult("shop", "tea")):
        record.hear(event)
    record.add_result("not run")
    record.finish()
    assert [message.content for message in chats.path(record.session_id)] == ["tea?", "", "tea", "not run"]
    assert record.result_count == 2
