"""Prompts that wait in saved chats: sent once each, and lost to nothing."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.conversation.asking import Asker
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import NotFoundError, OutputError
from edgelm.store import messages
from edgelm.store.chat_schema import Attachment
from edgelm.store.chats import Chats

NOTE = Attachment("a.txt", "one")


def asker_in(chats: Chats) -> Asker:
    return Asker(chats, ChatSettings, lambda: None)


def refuse(*_: object, **__: Any) -> None:
    raise OutputError("the database is locked")


@pytest.mark.parametrize("owner", [Chats, messages])
def test_a_waiting_prompt_that_cannot_be_written_waits_on(
    owner: Any, chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = chats.create().id
    chats.queue(session, "tea?", [NOTE])
    with monkeypatch.context() as patch:
        patch.setattr(owner, "add" if owner is Chats else "adopt_attachments", refuse)
        with pytest.raises(OutputError):
            asker_in(chats).next_queued(session)
    assert [(waiting.text, waiting.attachments) for waiting in chats.queued(session)] == [("tea?", (NOTE,))]
    assert chats.path(session) == []
    asked = asker_in(chats).next_queued(session)
    assert asked is not None
    prompt = chats.lineage(asked.answer.id)[0]
    assert (prompt.content, prompt.attachments) == ("tea?", (NOTE,))
    assert chats.queued(session) == []


def test_a_waiting_prompt_is_sent_by_one_process_only(chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    session = chats.create().id
    chats.queue(session, "tea?")
    chats.queue(session, "milk?")
    waiting = chats.queued(session)
    with Chats() as others:
        assert asker_in(others).next_queued(session) is not None
    with pytest.raises(NotFoundError):
        asker_in(chats).say(session, None, "tea?", queued_id=waiting[0].id)
    monkeypatch.setattr(chats, "queued", lambda _: waiting)
    asked = asker_in(chats).next_queued(session)
    assert asked is not None
    said = [message.content for message in chats.path(session) if message.role == "user"]
    assert said == ["tea?", "milk?"]
    assert asker_in(chats).next_queued(session) is None


def test_what_waits_in_a_deleted_chat_comes_back_with_it(chats: Chats) -> None:
    session = chats.create().id
    chats.queue(session, "tea?", [NOTE])
    chats.delete(session)
    assert asker_in(chats).next_queued(session) is None
    assert len(chats.queued(session)) == 1
    chats.restore(session)
    assert asker_in(chats).next_queued(session) is not None
    chats.delete(session)
    chats.purge(older_than_s=-9.0)
    assert asker_in(chats).next_queued(session) is None
