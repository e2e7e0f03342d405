"""A chat is saved as a file that anybody can read, and goes on from it as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import edgelm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[edgelm.Model]:
    directory = tmp_path_factory.mktemp("saved") / "model"
    write_checkpoint(directory, "llama", num_hidden_layers=1)
    with edgelm.load(directory) as loaded:
        yield loaded


def test_it_goes_on_as_it_was(model: edgelm.Model, tmp_path: Path) -> None:
    chat = model.chat(
        system="Be brief.", temperature=0.0, top_k=0, seed=3, max_tokens=5, stop="x", logit_bias={70: -2.0}
    )
    chat.send("the water")
    file = chat.save(tmp_path / "chats" / "one.json")
    again = model.load_chat(file)
    assert (again.system, again.messages, again.options) == (chat.system, chat.messages, chat.options)
    assert again.send("on").tokens == chat.send("on").tokens
    assert model.load_chat(file, max_tokens=2).options.max_tokens == 2
    said = json.loads(file.read_text())
    assert said["messages"][:2] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "the water"},
    ]
    assert (said["model"], said["settings"]["temperature"]) == (model.name, 0.0)


def test_the_form_of_answers_is_kept(model: edgelm.Model, tmp_path: Path) -> None:
    for name, form in {"schema": {"type": "boolean"}, "regex": "a|b", "grammar": 'start: "a"'}.items():
        chat = model.chat(**{name: form}, enable_thinking=False)  # type: ignore[arg-type]
        again = model.load_chat(chat.save(tmp_path / f"{name}.json"))
        assert again.options.grammar == chat.options.grammar
        assert again.options.enable_thinking is False


def test_a_file_that_is_there_stays(model: edgelm.Model, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text("mine")
    with pytest.raises(edgelm.OutputError, match="already exists"):
        model.chat().save(file)
    assert file.read_text() == "mine"
    model.chat().save(file, overwrite=True)
    assert model.load_chat(str(file)).messages == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "holds no chat"),
        ('{"messages": [{"role": "user"}]}', "content"),
        ('{"messages": [], "settings": {"temperatur": 1}}', "did you mean temperature"),
        ('{"messages": [], "settings": {"temperature": "hot"}}', "temperature is 'hot'"),
    ],
)
def test_what_is_no_chat_is_named(text: str, said: str, model: edgelm.Model, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(text)
    with pytest.raises(edgelm.EdgeLMError, match=said):
        model.load_chat(file)


def test_log_probabilities_have_text(model: edgelm.Model) -> None:
    done = model.generate("the water", max_tokens=8, logprobs=2)
    assert "".join(token.text for token in done.logprobs).strip("\ufffd") in done.text
    for token in done.logprobs:
        alternatives = {other.token: other.text for other in token.alternatives}
        assert len(alternatives) == 2
        assert alternatives.get(token.id, token.text) == token.text
        assert token.text


def test_a_system_prompt_beside_the_messages_counts(model: edgelm.Model, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"system": "Be brief.", "messages": [{"role": "user", "content": "x"}]}')
    chat = model.load_chat(file)
    assert (chat.system, len(chat.messages)) == ("Be brief.", 1)
    file.write_text('{"system": 5, "messages": []}')
    with pytest.raises(edgelm.FormatError, match="system is 5, expected text"):
        model.load_chat(file)


@pytest.mark.slow
def test_an_export_with_alternatives_is_no_conversation(model: edgelm.Model, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(
        '{"edgelm_chat": 1, "shown": [1], "messages": [{"id": 1, "role": "user", "content": "x"}]}'
    )
    with pytest.raises(edgelm.FormatError, match="every alternative"):
        model.load_chat(file)
