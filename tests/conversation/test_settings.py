"""Settings of a chat: composed of the runtime's sampling, saved flat, read from older files."""

from __future__ import annotations

import dataclasses

import pytest

from edgelm.conversation.settings import ChatSettings
from edgelm.errors import OptionError
from edgelm.runtime.sampling.settings import Sampling


def test_all_that_sampling_knows_can_be_typed() -> None:
    known = {name for name, item in Sampling.__dataclass_fields__.items() if "bounds" in item.metadata}
    assert {"repetition_window", "presence_penalty", "frequency_penalty"} < known < set(ChatSettings.names())
    settings = ChatSettings()
    for name in known:
        settings = settings.with_text(name, "1")
    assert settings.sampling == dict.fromkeys(known, 1)
    assert settings.generation() == settings.sampling
    for name in known:
        settings = settings.with_text(name, " ")
    assert settings == ChatSettings()


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("temperature", "-1", "temperature is -1.0, expected >= 0"),
        ("presence_penalty", "3", "presence_penalty is 3.0"),
        ("seed", "x", "seed is 'x', expected a number"),
        ("seed", "1.5", "expected a number"),
        ("shoe", "1", "there is no setting 'shoe'"),
        ("max_tokens", "0", "max_tokens is 0"),
    ],
)
def test_what_is_typed_wrongly_is_named(name: str, text: str, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        ChatSettings().with_text(name, text)


def test_they_are_saved_flat_and_come_back() -> None:
    settings = ChatSettings(system="Be brief.", temperature=0.5, frequency_penalty=0.1, adapter_scale=0.5)
    saved = settings.changes(ChatSettings())
    assert saved == {
        "system": "Be brief.", "temperature": 0.5, "frequency_penalty": 0.1, "adapter_scale": 0.5,
    }  # fmt: skip
    assert ChatSettings.over(ChatSettings(), saved) == settings


def test_a_chat_may_leave_to_the_model_what_new_chats_set() -> None:
    base = ChatSettings(temperature=0.5, top_k=3)
    chat = dataclasses.replace(base, temperature=None)
    assert chat.changes(base) == {"temperature": None}
    assert ChatSettings.over(base, {"temperature": None}) == chat == ChatSettings(top_k=3)


def test_what_an_older_chat_says_wrongly_is_left_out() -> None:
    saved = {"temperature": "hot", "seed": 3, "shoe": 4, "thinking": None, "top_p": 0.5}
    assert ChatSettings.over(ChatSettings(), saved) == ChatSettings(seed=3, top_p=0.5)
