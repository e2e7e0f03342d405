"""What a conversation needs of a model is what the real one and the stand-ins of the tests have; mypy reads this file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_api import FakeChat, FakeModel
from scripted_engine import ScriptedChat, ScriptedEngine, ScriptedModel

from edgelm.conversation.model import ChatModel, ModelChat

if TYPE_CHECKING:
    from edgelm.api import Model
    from edgelm.runtime.chat.chat import Chat

    def real(model: Model, chat: Chat) -> tuple[ChatModel, ModelChat]:
        return model, chat

    def stand_ins(model: FakeModel, scripted: ScriptedModel) -> list[ChatModel]:
        return [model, scripted]

    def their_chats(chat: FakeChat, scripted: ScriptedChat) -> list[ModelChat]:
        return [chat, scripted]


def test_stand_ins_have_all_of_it() -> None:
    needed = {name for name in vars(ChatModel) if not name.startswith("_")}
    for model in (FakeModel("tiny", lambda: None), ScriptedModel("tiny", ScriptedEngine(), None)):
        assert needed <= set(dir(model))
