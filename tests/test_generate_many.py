"""`Model.generate_many` of a loaded checkpoint: what `generate` gives, prompt by prompt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint
from lora_adapters import write_lora

from edgelm.api import Model, load
from edgelm.errors import EngineError, NotFoundError, OptionError, PromptError, UnsupportedError
from edgelm.model.load import load as load_network
from edgelm.progress import Progress


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    directory = tmp_path_factory.mktemp("many")
    write_checkpoint(directory, "gemma3_text", sliding_window=8)
    with load(directory) as loaded:
        yield loaded


PROMPTS = ["the water", "on the mountain boils", "at", "a lower temperature than the water on the mountain"]


@pytest.mark.slow
def test_as_each_alone(model: Model) -> None:
    seen: list[Progress] = []
    results = list(model.generate_many(PROMPTS, max_tokens=20, on_progress=seen.append))
    assert sorted(result.index for result in results) == [0, 1, 2, 3]
    for result in results:
        assert result.text == model.generate(PROMPTS[result.index], max_tokens=20).text
    assert (seen[0].done, seen[-1].done, seen[-1].total, seen[-1].unit) == (0, 4, 4, "prompts")


@pytest.mark.parametrize("rows", [None, 1])
def test_a_bad_prompt_is_its_own_result(model: Model, rows: int | None) -> None:
    prompts = ["the water", {"prompt": "x", "top_p": 7}, [1, 9999], {"prompt": "at", "max_tokens": 2}]
    found = {result.index: result for result in model.generate_many(prompts, rows=rows, max_tokens=4)}
    assert isinstance(found[1].error, OptionError)
    assert isinstance(found[2].error, PromptError)
    assert [len(found[at].completion.tokens) for at in (0, 3)] == [4, 2]


@pytest.mark.slow
def test_each_prompt_may_name_its_adapters(tmp_path: Path) -> None:
    """One that was made for another model is the failure of its prompt alone; what is on the model stays as it is set."""
    write_checkpoint(tmp_path / "tiny", "llama")
    network = load_network(tmp_path / "tiny").network
    one = write_lora(tmp_path / "one", network, size=1.0)
    foreign = write_lora(tmp_path / "foreign", network, base="other", base_sha256="0" * 64)
    prompts = [
        {"prompt": "the water", "adapter": name} for name in (str(one), f"{one}=0.25", str(foreign), "none")
    ]
    with load(tmp_path / "tiny") as tiny:
        base = tiny.generate("the water", max_tokens=6).tokens
        found = {each.index: each for each in tiny.generate_many(["the water", *prompts], max_tokens=6)}
        assert found[0].completion.tokens == base
        said = [found[at].completion.tokens for at in (1, 2)]
        assert len({base, *said}) == 3
        assert isinstance(found[3].error, UnsupportedError)
        assert isinstance(found[4].error, NotFoundError)
        assert [
            tiny.generate("the water", max_tokens=6, **each).tokens for each in settings_of(prompts[:2])
        ] == said
        with pytest.raises(UnsupportedError, match="trained on other"):
            tiny.generate("the water", adapter=foreign)
        chat = tiny.load_chat(tiny.chat(adapter=f"{one}=0.25", max_tokens=6).save(tmp_path / "chat.json"))
        assert [str(use) for use in chat.options.adapters or ()] == ["one=0.25"]
        tiny.add_adapter(one, 0.25)
        assert tiny.generate("the water", max_tokens=6).tokens == said[1]
        assert tiny.generate("the water", max_tokens=6, adapter=[]).tokens == base


def settings_of(prompts: list[dict[str, str]]) -> list[Any]:
    return [{"adapter": prompt["adapter"]} for prompt in prompts]


def test_bad_settings_of_all_are_refused_at_once(model: Model) -> None:
    with pytest.raises(OptionError, match="temperature"):
        model.generate_many(PROMPTS, temperature=-1)
    with pytest.raises(OptionError, match="rows"):
        model.generate_many(PROMPTS, rows=0)


def test_leaving_early_stops_the_model(model: Model) -> None:
    results = model.generate_many([*PROMPTS, {"prompt": "the", "max_tokens": 1}], max_tokens=200)
    assert next(results).index == 4
    results.close()
    assert len(model.generate("the water", max_tokens=3).tokens) == 3


def test_no_prompts(model: Model) -> None:
    assert list(model.generate_many([])) == []


def test_messages_and_per_prompt_stop(model: Model) -> None:
    messages = [{"role": "user", "content": "the water"}]
    chat = model.chat(max_tokens=12).send("the water")
    (result,) = model.generate_many([messages], max_tokens=12)
    assert result.text == chat.text


@pytest.mark.slow
def test_a_closed_model(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "llama")
    model = load(tmp_path)
    model.close()
    with pytest.raises(EngineError, match="closed"):
        list(model.generate_many(PROMPTS))


@pytest.mark.real
def test_smollm2(smollm2: Path) -> None:
    prompts = ["The capital of France is", "Water boils at", "Once upon a time", "2 + 2 ="]
    with load(smollm2) as model:
        results = {result.index: result.text for result in model.generate_many(prompts, max_tokens=12)}
        for index, prompt in enumerate(prompts):
            assert results[index] == model.generate(prompt, max_tokens=12).text


@pytest.mark.slow
def test_replies_of_several_threads_share_steps(model: Model) -> None:
    """Each gets what it gets alone, beside a run over many prompts and one that is refused; settings change between."""
    alone = {prompt: model.generate(prompt, max_tokens=30).text for prompt in PROMPTS}
    found: dict[str, str] = {}
    errors: list[Exception] = []

    def ask(prompt: str) -> None:
        found[prompt] = model.generate(prompt, max_tokens=30).text

    def ask_wrongly() -> None:
        try:
            model.generate([9999], max_tokens=3)
        except PromptError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in PROMPTS]
    threads.append(threading.Thread(target=ask_wrongly))
    for thread in threads:
        thread.start()
    results = {result.index: result.text for result in model.generate_many(PROMPTS, max_tokens=30)}
    assert model.adapters == {}
    for thread in threads:
        thread.join()
    assert found == alone
    assert [results[index] for index in range(len(PROMPTS))] == [alone[prompt] for prompt in PROMPTS]
    assert len(errors) == 1


@pytest.mark.slow
def test_stop_ends_all_that_run(model: Model) -> None:
    endless = {"max_tokens": None, "logit_bias": {1: -100.0}}
    streams = [model.stream(prompt, **endless) for prompt in PROMPTS[:2]]  # type: ignore[arg-type]
    for stream in streams:
        next(stream)
    model.stop()
    for stream in streams:
        list(stream)
    assert len(model.generate("the water", max_tokens=3).tokens) == 3
