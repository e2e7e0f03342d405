"""The open conversation: where it stands, its settings, and what is not sent yet."""

from __future__ import annotations

import pytest
from saved_chats import talk

from edgelm.conversation.asking import Asker
from edgelm.conversation.session import Conversation
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import OptionError
from edgelm.store.chat_schema import Attachment
from edgelm.store.chats import Chats


def opened(chats: Chats, session_id: int | None = None) -> Conversation:
    conversation = Conversation(chats, ChatSettings, lambda: "tiny")
    conversation.open(session_id)
    return conversation


def test_what_is_attached_and_not_sent_is_there_the_next_time(chats: Chats) -> None:
    conversation = opened(chats)
    conversation.attach([Attachment("a.txt", "one")])
    conversation.attach_text("two")
    conversation.save_draft("half")
    again = opened(chats, conversation.session_id)
    assert again.attachments == [Attachment("a.txt", "one"), Attachment("paste 1", "two")]
    asker = Asker(chats, ChatSettings, lambda: None)
    prompt = asker.say(again.ensure_saved(), again.tip, "all", again.attachments)
    again.forget_attachments()
    assert [file.name for file in chats.message(prompt.id).attachments] == ["a.txt", "paste 1"]
    assert opened(chats, conversation.session_id).attachments == []


def test_a_new_chat_is_saved_only_for_something(chats: Chats) -> None:
    conversation = opened(chats)
    conversation.save_draft("  ")
    conversation.keep_settings(ChatSettings(seed=3))
    assert chats.sessions() == []
    with pytest.raises(OptionError, match="not saved yet"):
        conversation.require_saved()
    conversation.save_draft("half a thought")
    assert chats.sessions()[0].settings == {"seed": 3}
    conversation.open(None, keeps_settings=True)
    assert conversation.settings == ChatSettings(seed=3)
    conversation.open(None)
    assert conversation.settings == ChatSettings()


def test_it_stands_where_it_was_put(chats: Chats) -> None:
    session = talk(chats, "one", "1", "two", "2")
    conversation = opened(chats, session)
    path = conversation.path
    assert [message.content for message in path] == ["one", "1", "two", "2"]
    conversation.go_to(path[1].id)
    assert [turn["content"] for turn in conversation.turns] == ["one", "1"]
    conversation.go_to_end()
    assert conversation.tip == path[-1].id


def test_a_chat_that_another_process_deletes_leaves_what_is_attached(chats: Chats) -> None:
    conversation = opened(chats, talk(chats, "one", "1"))
    conversation.attach_text("two")
    chats.delete(conversation.ensure_saved())
    chats.purge(older_than_s=-9.0)
    assert conversation.settings == ChatSettings()
    conversation.leave_deleted()
    assert (conversation.session_id, conversation.path) == (None, [])
    assert [file.text for file in conversation.attachments] == ["two"]


def test_an_idle_process_leaves_what_another_one_keeps(chats: Chats) -> None:
    session = chats.create().id
    with Chats() as others:
        here, idle = opened(chats, session), opened(others, session)
        here.attach([Attachment("a.txt", "one")])
        here.save_draft("x")
        idle.save_draft("")
        assert chats.session(session).draft == "x"
        assert chats.draft_attachments(session) == [Attachment("a.txt", "one")]
        idle.open(session)
        here.forget_attachments()
        here.save_text("")
        idle.save_draft("x")
        assert chats.session(session).draft == ""
        assert chats.draft_attachments(session) == []


def test_what_was_typed_in_a_deleted_chat_is_kept_with_the_new_one(chats: Chats) -> None:
    conversation = opened(chats, talk(chats, "one", "1"))
    conversation.attach_text("two")
    conversation.save_draft("half")
    chats.delete(conversation.ensure_saved())
    conversation.leave_deleted()
    conversation.save_draft("half")
    saved = conversation.require_saved()
    assert (saved.draft, len(chats.draft_attachments(saved.id))) == ("half", 1)
