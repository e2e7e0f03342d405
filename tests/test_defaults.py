"""How a model answers where nothing is said: as its files recommend, and not for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import edgelm
from edgelm.runtime.generation.recommended import Recommended, default_options

ADVICE = {"do_sample": True, "temperature": 3.0, "top_k": 30, "max_new_tokens": 9, "eos_token_id": 1}


@pytest.fixture(scope="module")
def advising(tmp_path_factory: pytest.TempPathFactory) -> Iterator[edgelm.Model]:
    directory = tmp_path_factory.mktemp("advising") / "model"
    write_checkpoint(directory, "llama")
    (directory / "generation_config.json").write_text(json.dumps(ADVICE))
    with edgelm.load(directory) as model:
        yield model


def test_the_recommendation_is_the_default_everywhere(advising: edgelm.Model) -> None:
    said = advising.generate("the water", temperature=3.0, top_k=30, top_p=1.0, seed=5)
    assert advising.generate("the water", seed=5).tokens == said.tokens
    assert "".join(advising.stream("the water", seed=5)) == said.text
    (many,) = advising.generate_many(["the water"], seed=5)
    assert many.tokens == said.tokens
    chat, plain = (
        advising.chat(seed=5).send("the water"),
        advising.chat(seed=5, greedy=True).send("the water"),
    )
    assert chat.tokens == advising.chat().send("the water", temperature=3.0, top_k=30, seed=5).tokens
    assert plain.tokens != chat.tokens


def test_greedy_and_zero_are_asked_for(advising: edgelm.Model) -> None:
    first = advising.generate("the water", greedy=True)
    assert first.tokens == advising.generate("the water", temperature=0).tokens
    assert first.tokens == advising.generate("the water", temperature=3.0, top_k=1).tokens
    assert first.tokens != advising.generate("the water", seed=5).tokens
    row = {"prompt": "the water", "greedy": True}
    assert [result.tokens for result in advising.generate_many([row])] == [first.tokens]


def test_an_answer_has_a_limit_and_says_when_it_met_it(advising: edgelm.Model) -> None:
    cut = advising.generate("the water", greedy=True)
    assert (len(cut.tokens), cut.reason) == (9, "length")
    assert len(advising.generate("the water", greedy=True, max_tokens=None).tokens) > 9
    assert default_options(Recommended(), thinks=False).max_tokens == 1024
    assert default_options(Recommended(), thinks=True).max_tokens == 8192
    assert edgelm.GenerationOptions().max_tokens == 1024


@pytest.mark.slow
def test_a_model_that_recommends_nothing_is_greedy(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", "llama")
    (tmp_path / "model" / "generation_config.json").unlink(missing_ok=True)
    with edgelm.load(tmp_path / "model") as model:
        assert model.defaults == edgelm.GenerationOptions()
        assert model.defaults.sampling.is_greedy
