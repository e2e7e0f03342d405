"""What is passed wrongly to Python's API is an error of edgelm's that names the value and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

import edgelm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[edgelm.Model]:
    directory = tmp_path_factory.mktemp("arguments") / "model"
    write_checkpoint(directory, "llama", num_hidden_layers=1)
    with edgelm.load(directory) as loaded:
        yield loaded


NAN = float("nan")
CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "generate bytes": (lambda m: m.generate(b"abc"), "a prompt is b'abc', expected text or token ids"),
    "generate None": (lambda m: m.generate(None), "a prompt is None"),
    "generate number": (lambda m: m.generate(7), "a prompt is 7"),
    "generate mapping": (lambda m: m.generate({"role": "user"}), "a prompt is {'role': 'user'}"),
    "generate messages": (lambda m: m.generate([{"role": "user", "content": "x"}]), "expected token ids\nhint: messages go to"),
    "generate texts": (lambda m: m.generate(["a", "b"]), "a prompt holds 'a'"),
    "generate bools": (lambda m: m.generate([True]), "a prompt holds True"),
    "generate floats": (lambda m: m.generate([1.0]), "a prompt holds 1.0"),
    "generate set": (lambda m: m.generate({1, 2}), "a prompt is {1, 2}, expected text or token ids"),
    "one tool alone": (lambda m: m.chat(tools=len), "tools is <built-in function len>, expected a list of functions"),
    "one definition alone": (lambda m: m.chat(tools={"name": "f"}), "tools is {'name': 'f'}, expected a list"),
    "generate nothing": (lambda m: m.generate([]), "the prompt is empty"),
    "generate far ids": (lambda m: m.generate([10**9]), "the prompt holds token 1000000000"),
    "generate negative ids": (lambda m: m.generate([-1]), "the prompt holds token -1"),
    "stream None": (lambda m: list(m.stream(None)), "a prompt is None"),
    "misspelt": (lambda m: m.generate("x", maxtokens=3), "no setting 'maxtokens'\nhint: did you mean max_tokens?"),
    "max_tokens 0": (lambda m: m.generate("x", max_tokens=0), "max_tokens is 0, expected >= 1"),
    "max_tokens text": (lambda m: m.generate("x", max_tokens="3"), "max_tokens is '3', expected int"),
    "max_tokens bool": (lambda m: m.generate("x", max_tokens=True), "max_tokens is True, expected int"),
    "max_tokens float": (lambda m: m.generate("x", max_tokens=2.5), "max_tokens is 2.5, expected int"),
    "temperature NaN": (lambda m: m.generate("x", temperature=NAN), "temperature is nan"),
    "temperature None": (lambda m: m.generate("x", temperature=None), "temperature is None, expected float"),
    "temperature huge": (lambda m: m.generate("x", temperature=10**400), "temperature is 1000"),
    "top_p negative": (lambda m: m.generate("x", top_p=-0.1), "top_p is -0.1"),
    "seed negative": (lambda m: m.generate("x", seed=-1), "seed is -1"),
    "logprobs bool": (lambda m: m.generate("x", logprobs=True), "logprobs is True"),
    "stop number": (lambda m: m.generate("x", stop=5), "stop"),
    "stop bytes": (lambda m: m.generate("x", stop=b"a"), "stop"),
    "sampling mapping": (lambda m: m.generate("x", sampling={"temperature": 1}), "sampling is {'temperature': 1}"),
    "schema number": (lambda m: m.generate("x", schema=3), "schema is 3"),
    "regex number": (lambda m: m.generate("x", regex=3), "regex is 3"),
    "grammar bytes": (lambda m: m.generate("x", grammar=b"start: A"), "grammar is b'start: A'"),
    "logit_bias list": (lambda m: m.generate("x", logit_bias=[1]), "logit_bias is [1]"),
    "many text": (lambda m: m.generate_many("abc"), "prompts is 'abc', expected several prompts"),
    "many None": (lambda m: m.generate_many(None), "prompts is None"),
    "many mapping": (lambda m: m.generate_many({"prompt": "x"}), "prompts is {'prompt': 'x'}"),
    "many rows": (lambda m: m.generate_many(["x"], rows=2.5), "rows is 2.5"),
    "many progress": (lambda m: m.generate_many(["x"], on_progress=3), "on_progress is 3, expected a function"),
    "chat messages": (lambda m: m.chat(messages="x"), "messages"),
    "chat messages None": (lambda m: m.chat(messages=None), "messages"),
    "chat message": (lambda m: m.chat(messages=[{"role": "user"}]), "content"),
    "chat system": (lambda m: m.chat(system=5), "system is 5, expected str or None"),
    "chat thinking": (lambda m: m.chat(enable_thinking="yes"), "enable_thinking is 'yes'"),
    "chat misspelt": (lambda m: m.chat(temprature=1), "did you mean temperature?"),
    "send number": (lambda m: m.chat().send(5), "text is 5, expected str"),
    "send bytes": (lambda m: m.chat().send(b"x"), "text is b'x', expected str"),
    "tools limit": (lambda m: m.chat().run_tools("x", limit=0), "limit is 0, expected >= 1"),
    "tools approve": (lambda m: m.chat().run_tools("x", approve=3), "approve is 3, expected a function"),
    "save path": (lambda m: m.chat().save(3), "path is 3"),
    "load_chat nothing": (lambda m: m.load_chat("/nowhere/chat.json"), "does not exist"),
    "add_adapter": (lambda m: m.add_adapter(3), "adapter is 3, expected a name or a path"),
    "add_adapter weight": (lambda m: m.add_adapter("x", "1"), "weight is '1', expected a finite number"),
    "set_adapter text": (lambda m: m.set_adapter("n", "x"), "weight is 'x', expected a finite number"),
    "set_adapter NaN": (lambda m: m.set_adapter("n", NAN), "weight is nan"),
    "set_adapter bool": (lambda m: m.set_adapter("n", True), "weight is True"),
    "set_adapter name": (lambda m: m.set_adapter(None, 1), "name is None, expected str"),
    "load dtype": (lambda m: edgelm.load(m.directory, dtype="int8"), "dtype is 'int8', expected float16, bfloat16, float32"),
    "load None": (lambda _: edgelm.load(None), "model is None, expected a name or a path"),  # type: ignore[arg-type]
    "load empty": (lambda _: edgelm.load(""), "model is empty"),
    "load adapter": (lambda m: edgelm.load(m.directory, adapter=3), "adapter is 3"),  # type: ignore[arg-type]
    "load check_fit": (lambda m: edgelm.load(m.directory, check_fit="no"), "check_fit is 'no', expected bool"),  # type: ignore[arg-type]
    "load kv_bits": (lambda m: edgelm.load(m.directory, kv_bits=3), "kv_bits is 3"),
    "load max_context": (lambda m: edgelm.load(m.directory, max_context=-1), "max_context is -1"),
    "load draft": (lambda m: edgelm.load(m.directory, draft=b"x"), "draft is b'x'"),  # type: ignore[arg-type]
    "convert misspelt": (lambda _: edgelm.convert("x", bit=4), "no setting 'bit'\nhint: did you mean bits?"),  # type: ignore[call-arg]
    "convert bits": (lambda _: edgelm.convert("x", bits=7), "bits is 7, expected one of"),  # type: ignore[arg-type]
    "convert bits text": (lambda _: edgelm.convert("x", bits="4"), "bits is '4', expected int"),  # type: ignore[arg-type]
    "convert source": (lambda _: edgelm.convert(None), "source is None"),  # type: ignore[arg-type]
    "convert output": (lambda _: edgelm.convert("x", 3), "output is 3"),  # type: ignore[arg-type]
    "tune misspelt": (lambda m: edgelm.tune(m, "x", rnak=3), "no setting 'rnak'\nhint: did you mean rank?"),  # type: ignore[call-arg]
    "tune model": (lambda _: edgelm.tune(3, []), "model is 3, expected a name, a path or a loaded model"),  # type: ignore[arg-type]
    "tune data": (lambda m: edgelm.tune(m, 3), "data is 3"),  # type: ignore[arg-type]
    "tune no rows": (lambda m: edgelm.tune(m, []), "data holds no rows"),
    "tune row": (lambda m: edgelm.tune(m, ["x"]), "row 0 of data is 'x', expected a mapping"),  # type: ignore[list-item]
    "tune row value": (lambda m: edgelm.tune(m, [{"text": {1, 2}}]), "row 0 of data cannot be written as JSON"),
    "tune rank": (lambda m: edgelm.tune(m, [{"text": "x"}], rank=0), "rank is 0"),
    "tune hold_out": (lambda m: edgelm.tune(m, [{"text": "x"}], hold_out=2), "hold_out is 2, expected >= 0 and < 1"),
    "tune prompts": (lambda m: edgelm.tune(m, [{"text": "x"}], prompts="x"), "prompts is 'x', expected a list"),
    "resume": (lambda _: edgelm.resume_tune(5), "run is 5"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_it_is_named(name: str, model: edgelm.Model, home: Path) -> None:
    call, said = CALLS[name]
    with pytest.raises(edgelm.EdgeLMError) as caught:
        call(model)
    assert said in str(caught.value)


@pytest.mark.slow
def test_a_prompt_may_be_an_array_or_any_sequence_of_ids(model: edgelm.Model) -> None:
    import mlx.core as mx
    import numpy as np

    expected = model.generate([70, 71], max_tokens=3).tokens
    for prompt in ((70, 71), range(70, 72), np.array([70, 71]), mx.array([70, 71]), list(np.array([70, 71]))):
        assert model.generate(prompt, max_tokens=3).tokens == expected  # type: ignore[arg-type]
