"""The tree of messages: branches, what is shown, ratings and corrections, deletion with undo."""

from __future__ import annotations

import pytest
from saved_chats import talk

from edgelm.errors import NotFoundError, OptionError
from edgelm.store.chat_schema import Attachment
from edgelm.store.chats import Chats


def shown(chats: Chats, session: int) -> list[str]:
    return [message.content for message in chats.path(session)]


def test_a_new_child_is_shown_and_the_old_one_stays(chats: Chats) -> None:
    session = talk(chats, "q", "a", "more", "b")
    again = chats.add(session, 1, "assistant", "A")
    assert shown(chats, session) == ["q", "A"]
    assert chats.siblings(again.id) == [2, again.id]
    chats.show(2)
    assert shown(chats, session) == ["q", "a", "more", "b"]
    assert chats.sibling_places(session) == {2: (1, 2), again.id: (2, 2)}


def test_an_edited_first_message_is_a_branch_of_the_chat(chats: Chats) -> None:
    session = talk(chats, "q", "a")
    chats.add(session, None, "user", "Q")
    assert shown(chats, session) == ["Q"]
    chats.show(1)
    assert shown(chats, session) == ["q", "a"]


def test_each_branch_remembers_where_it_was_left(chats: Chats) -> None:
    session = talk(chats, "q", "a", "one", "two")
    chats.add(session, 2, "user", "other")
    chats.add(session, 1, "assistant", "b")
    chats.show(2)
    assert shown(chats, session) == ["q", "a", "other"]


def test_delete_and_undo(chats: Chats) -> None:
    session = talk(chats, "q", "a", "more")
    chats.add(session, 1, "assistant", "b")
    chats.show(2)
    chats.delete_message(2)
    assert shown(chats, session) == ["q", "b"]
    chats.restore_message(2)
    assert shown(chats, session) == ["q", "a", "more"]


def test_lineage_is_the_conversation_above(chats: Chats) -> None:
    talk(chats, "q", "a", "more")
    assert [message.content for message in chats.lineage(3)] == ["q", "a", "more"]
    with pytest.raises(NotFoundError, match="no message 9"):
        chats.lineage(9)


def test_an_answer_grows_and_ends(chats: Chats) -> None:
    session = talk(chats, "q")
    answer = chats.add(session, 1, "assistant", "", state="writing", model="tiny", adapter="poet")
    chats.write(answer.id, "so", thinking="hm", tool_calls=[{"name": "f"}])
    chats.finish(answer.id, "length", usage={"completion_tokens": 3})
    found = chats.message(answer.id)
    assert (found.content, found.thinking, found.tool_calls) == ("so", "hm", ({"name": "f"},))
    assert (found.state, found.is_cut, found.usage) == ("length", True, {"completion_tokens": 3})
    assert (found.model, found.adapter) == ("tiny", "poet")
    chats.resume(answer.id)
    assert chats.message(answer.id).state == "writing"


def test_attachments_stand_before_the_prompt(chats: Chats) -> None:
    session = chats.create().id
    message = chats.add(session, None, "user", "what is it?", attachments=[Attachment("a.py", "x = 1")])
    assert message.prompt_text() == "<file name='a.py'>\nx = 1\n</file>\n\nwhat is it?"
    assert chats.path(session) == [message]


def test_rating_and_correcting(chats: Chats) -> None:
    session = talk(chats, "q", "a")
    chats.rate(2, -1)
    better = chats.correct(2, "A!")
    assert (better.edited_from, shown(chats, session)) == (2, ["q", "A!"])
    assert chats.message(2).rating == -1
    with pytest.raises(OptionError, match="rating is 2"):
        chats.rate(2, 2)
    with pytest.raises(OptionError, match="message 1 is of the user"):
        chats.correct(1, "x")
