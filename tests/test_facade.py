"""The public names: typed, listed, lazy, and `edgelm.tune` a function whatever was imported."""

from __future__ import annotations

import dataclasses
import inspect
import os
import pydoc
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import edgelm
from edgelm import errors
from edgelm.options import Options
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.typed import GenerationSettings
from edgelm.runtime.sampling.settings import Sampling
from edgelm.tune.data.settings import DataSettings
from edgelm.tune.objectives.settings import ObjectiveSettings
from edgelm.tune.request import TuneRequest
from edgelm.tune.settings import LoopSettings, MethodSettings, OptimizerSettings, RolloutSettings
from edgelm.tune.typed import TuneOptions
from edgelm_converters.conversion import Conversion
from edgelm_converters.typed_settings import ConversionSettings

ROOT = Path(__file__).resolve().parent.parent


def names(*kinds: type[Any]) -> set[str]:
    return {item.name for kind in kinds for item in dataclasses.fields(kind)}


def test_typed_settings_are_those_that_are_checked() -> None:
    forms = {"schema", "regex", "greedy", "adapter"}
    fields = names(GenerationOptions, Sampling) - {"adapters"}
    assert set(get_names(GenerationSettings)) == fields | forms
    assert set(get_names(ConversionSettings)) == names(Conversion)
    parts: tuple[type[Options], ...] = (
        MethodSettings,
        OptimizerSettings,
        ObjectiveSettings,
        LoopSettings,
        RolloutSettings,
        DataSettings,
    )
    given = names(TuneRequest) - {"model", "data", "settings", "data_settings"}
    assert set(get_names(TuneOptions)) == names(*parts) | given


def get_names(kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = kind.__annotations__
    inherited = [
        base.__annotations__
        for base in getattr(kind, "__orig_bases__", ())
        if hasattr(base, "__annotations__")
    ]
    return {**{name: hint for each in inherited for name, hint in each.items()}, **found}


def test_every_name_is_there_and_every_error_is_exported() -> None:
    for name in edgelm.__all__:
        assert getattr(edgelm, name) is not None
        assert name in dir(edgelm)
    raised = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)
    }
    assert raised <= set(edgelm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        edgelm.lod  # noqa: B018


def test_help_shows_functions_and_their_settings() -> None:
    text = pydoc.plain(pydoc.render_doc(edgelm))
    for name in ("tune(", "convert(", "load(", "class Model", "class Completion", "class OptionError"):
        assert name in text
    assert "GenerationSettings" in str(inspect.signature(edgelm.Model.generate))
    assert inspect.isfunction(edgelm.tune)
    assert "rows" in str(edgelm.tune.__doc__) or "examples" in str(edgelm.tune.__doc__)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        "",
        "import edgelm.tune",
        "import edgelm.tune.api",
        "import edgelm.tune.data.settings",
        "from edgelm.tune import api",
        "import edgelm.runs.events as events; assert events.Stepped",
        "from edgelm.tune.api import tune",
        "edgelm.tune; import edgelm.tune.step.losses",
    ],
)
def test_tune_is_a_function_whatever_is_imported(first: str) -> None:
    code = f"""
        import edgelm, inspect, sys
        {first}
        assert inspect.isfunction(edgelm.tune), edgelm.tune
        from edgelm import tune
        assert tune is edgelm.tune
        import edgelm.runs.events
        assert edgelm.runs.events.Stepped and inspect.isfunction(edgelm.tune)
        import edgelm.tune.api as api
        assert api.tune is edgelm.tune
        import pickle
        assert pickle.loads(pickle.dumps(edgelm.tune)) is edgelm.tune
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


SCRIPT = '''
"""What a user writes. Lines that must not pass are marked; mypy says so of a mark that is not needed."""

import asyncio

import edgelm


def main() -> None:
    made: edgelm.Converted = edgelm.convert("smollm2", bits=4, quality="rtn")
    edgelm.convert("smollm2", bit=4)  # type: ignore[call-arg]
    with edgelm.load(made.directory, kv_bits=8) as model:
        done: edgelm.Completion = model.generate("The", max_tokens=20, temperature=0.7, stop=["."], seed=1, greedy=False)
        model.generate("The", maxtokens=20)  # type: ignore[call-arg]
        model.generate("The", max_tokens="20")  # type: ignore[arg-type]
        model.generate(None)  # type: ignore[arg-type]
        usage: edgelm.Usage = done.usage
        print(usage.decode_tokens_per_s, [token.text for token in done.logprobs])
        chat: edgelm.Chat = model.chat(system="Be brief.", enable_thinking=False, top_p=0.9)
        model.chat(sytem="Be brief.")  # type: ignore[call-arg]
        for piece in chat.stream("Hi", max_tokens=5, schema={"type": "string"}):
            print(piece.upper())
        chat.send("Hi", temprature=1.0)  # type: ignore[call-arg]
        for result in model.generate_many(["a", [1, 2], {"prompt": "b", "seed": 7}], rows=4, top_k=3):
            print(result.text)
        asyncio.run(work(model))
        edgelm.tune(model, [{"prompt": "a", "completion": "b"}], rank=4, steps=2)
        tuned: edgelm.TuneResult = edgelm.tune("smollm2", "examples.jsonl", method="lora", epochs=1)
        edgelm.tune("smollm2", "examples.jsonl", rnak=4)  # type: ignore[call-arg]
        print(tuned.adapter.name, model.tune("examples.jsonl", steps=3).run)
        model.set_adapter("style", 0.5)
        model.set_adapter("style", "x")  # type: ignore[arg-type]


async def work(model: edgelm.Model) -> None:
    print((await model.agenerate("The", max_tokens=3)).text)
    await model.agenerate("The", maxtoken=3)  # type: ignore[call-arg]
    async for piece in model.chat().astream("Hi"):
        print(piece.upper())


try:
    main()
except edgelm.OptionError as error:
    print(error.message, error.hint)
'''


@pytest.mark.slow
def test_mypy_passes_what_is_documented_and_refuses_what_is_misspelt(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.lstrip())
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        str(tmp_path / "script.py"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
