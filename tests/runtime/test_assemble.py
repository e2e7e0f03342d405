"""A model put together from settings: pools, disk, drafts and kinds of cache, through the public API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

import edgelm
from edgelm.errors import OptionError, PromptError, UnsupportedError

TEXT = "the water on the mountain boils at a lower temperature " * 18


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny"
    write_checkpoint(directory, "llama")
    return directory


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer, another network."""
    directory = tmp_path_factory.mktemp("models") / "other"
    write_checkpoint(directory, "qwen3")
    return directory


def answer(directory: Path, prompt: str = TEXT, **settings: Any) -> Any:
    with edgelm.load(directory, **settings) as model:
        return model.generate(prompt, max_tokens=12, temperature=0.8, seed=3)


@pytest.mark.slow
def test_a_draft_model_changes_nothing_but_the_pace(home: Path, checkpoint: Path, other: Path) -> None:
    plain = answer(checkpoint)
    for draft in (checkpoint, other):
        assert answer(checkpoint, draft=draft).tokens == plain.tokens


@pytest.mark.slow
def test_a_draft_of_another_vocabulary_is_refused(home: Path, checkpoint: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "foreign", "llama")
    file = tmp_path / "foreign" / "tokenizer.json"
    file.write_text(file.read_text().replace('"<|user|>"', '"<|human|>"'))
    with pytest.raises(UnsupportedError, match="foreign has another vocabulary than tiny"):
        edgelm.load(checkpoint, draft=tmp_path / "foreign")


@pytest.mark.slow
def test_a_session_reopens_from_the_disk(home: Path, checkpoint: Path) -> None:
    cold = answer(checkpoint, disk_cache=True)
    warm = answer(checkpoint, disk_cache=True)
    assert cold.usage.cached_tokens == 0
    assert warm.usage.cached_tokens == warm.usage.prompt_tokens - 1
    assert warm.tokens == cold.tokens
    assert answer(checkpoint).usage.cached_tokens == 0  # only where it was asked for


@pytest.mark.slow
def test_the_disk_keeps_models_and_kinds_apart(home: Path, checkpoint: Path, other: Path) -> None:
    answer(checkpoint, disk_cache=True)
    assert answer(other, disk_cache=True).usage.cached_tokens == 0
    assert answer(checkpoint, disk_cache=True, kv_dtype="float16").usage.cached_tokens == 0
    assert answer(checkpoint, disk_cache=True, max_context=32).usage.cached_tokens == 0


@pytest.mark.slow
def test_a_disk_that_refuses_costs_no_answer(
    home: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.mkdir()
    (home / "caches").write_text("not a directory")
    assert answer(checkpoint, disk_cache=True).tokens == answer(checkpoint).tokens
    assert "the prompt cache was not written" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"kv_dtype": "float16"}, {"max_context": 32}], ids=str)
def test_kinds_of_cache(home: Path, checkpoint: Path, settings: dict[str, Any]) -> None:
    assert len(answer(checkpoint, **settings).tokens) == 12


@pytest.mark.slow
def test_a_kind_that_cannot_be_is_refused_before_anything_is_answered(home: Path, checkpoint: Path) -> None:
    with pytest.raises(UnsupportedError, match="llama cannot run with this KV cache"):
        edgelm.load(checkpoint, kv_bits=8)
    with pytest.raises(OptionError, match="max_context is 3"):
        edgelm.load(checkpoint, max_context=3)


@pytest.mark.slow
def test_speculation_can_be_turned_off(home: Path, checkpoint: Path) -> None:
    with edgelm.load(checkpoint) as model:
        on = model.generate(TEXT, max_tokens=12)
        off = model.generate(TEXT, max_tokens=12, speculation=False)
    assert on.tokens == off.tokens
    assert off.usage.drafted_tokens == 0


@pytest.mark.slow
def test_the_context_is_still_the_models(home: Path, checkpoint: Path) -> None:
    with edgelm.load(checkpoint, max_context=32) as model, pytest.raises(PromptError, match="context of 256"):
        model.generate(TEXT * 20)


@pytest.mark.slow
def test_chats_share_what_they_have_in_common(home: Path, checkpoint: Path) -> None:
    system = "Say what is asked, in one sentence, and nothing else. " * 3
    with edgelm.load(checkpoint) as model:
        first, second = (model.chat(system=system, max_tokens=4) for _ in range(2))
        first.send("What is the water on the mountain, and at which temperature does it boil? " * 2)
        shared = second.send("Where is the mountain?").usage.cached_tokens
        again = first.send("And why?").usage
    assert shared > 50
    assert again.cached_tokens > shared


@pytest.mark.real
def test_turns_and_branches_of_a_real_chat(home: Path, smollm2: Path) -> None:
    """Every turn of SmolLM2 prefills its new tokens alone, and answers as a cold model does."""
    with edgelm.load(smollm2) as warm:
        chat = warm.chat(max_tokens=16)
        chat.send("Name three rivers in Europe.")
        follow = chat.send("Which of them is the longest?")
        turns = chat.messages
    new = follow.usage.prompt_tokens - follow.usage.cached_tokens
    assert new < 25
    with edgelm.load(smollm2) as cold:
        again = cold.chat(max_tokens=16, messages=turns[:2]).send("Which of them is the longest?")
    assert again.text == follow.text
