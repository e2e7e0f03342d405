"""bfloat16 models on M1 and M2 run in float16 where the family and the values allow it, and nowhere else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

from edgelm import device
from edgelm.model.load import load
from edgelm.zoo.precision import float16
from edgelm.zoo.precision.families import needs_bfloat16
from edgelm.zoo.tree import flat_parameters
from edgelm_converters.convert import convert

CHANGED = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama in bfloat16, unquantized."""
    directory = tmp_path_factory.mktemp("stored") / "tiny-bf16"
    write_checkpoint(directory, dtype="bfloat16")
    return directory


@pytest.fixture(scope="module")
def packed(stored: Path) -> Path:
    """The same in 4 bits, with scales and biases in bfloat16."""
    made = convert(
        stored, stored.parent / "packed", bits=4, group_size=32, dtype="bfloat16", quality="rtn", verify=False
    )
    return made.directory


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> object:
    """Called with a chip, makes this machine a Mac with it."""
    monkeypatch.setattr(float16, "_said", set())

    def simulate(chip: str) -> None:
        mac = device.simulate(chip, 16)
        monkeypatch.setattr(device, "detect", lambda: mac)
        monkeypatch.setattr(device, "configure_mlx", lambda _: None)

    return simulate


def dtypes(directory: Path, **options: object) -> set[mx.Dtype]:
    parameters = flat_parameters(load(directory, **options).network).values()  # type: ignore[arg-type]
    return {value.dtype for value in parameters if mx.issubdtype(value.dtype, mx.floating)}


def changed(stored: Path, target: Path, value: float, *, everywhere: bool = False) -> Path:
    """A copy of `stored` where one parameter holds `value`, in one place or everywhere."""
    target.mkdir()
    for path in stored.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            (target / path.name).write_bytes(path.read_bytes())
    tensors = dict(mx.load(str(stored / "model.safetensors")))  # type: ignore[arg-type]
    weight = tensors[CHANGED]
    tensors[CHANGED] = (
        mx.full(weight.shape, value, mx.bfloat16) if everywhere else weight.at[0, 0].add(value - weight[0, 0])
    )
    mx.save_safetensors(str(target / "model.safetensors"), tensors, {"format": "pt"})
    return target


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chip", "expected"),
    [("M1", mx.float16), ("M2 Pro", mx.float16), ("M3", mx.bfloat16), ("M4 Max", mx.bfloat16)],
)
@pytest.mark.parametrize("kind", ["stored", "packed"])
def test_m1_and_m2_run_in_float16(
    kind: str, chip: str, expected: mx.Dtype, on: object, request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    on(chip)  # type: ignore[operator]
    directory = request.getfixturevalue(kind)
    with caplog.at_level(logging.WARNING, logger="edgelm"):
        assert dtypes(directory) == {expected}
        assert load(directory).dtype == str(expected).rpartition(".")[2]
    sentence = (
        f"{directory.name} is stored in bfloat16 and runs in float16, which is faster on this chip"
        " (--dtype bfloat16 keeps it)"
    )
    said = [record.getMessage() for record in caplog.records if record.name == "edgelm"]
    assert said == ([sentence] if expected == mx.float16 else [])  # once, though it was loaded twice


def test_values_are_the_same_numbers_and_the_cache_follows(stored: Path, on: object) -> None:
    from mlx_lm.models.cache import make_prompt_cache

    on("M1")  # type: ignore[operator]
    network = load(stored).network
    weight = flat_parameters(network)[CHANGED].astype(mx.float32)
    source = mx.load(str(stored / "model.safetensors"))[CHANGED].astype(mx.float32)  # type: ignore[index]
    assert mx.allclose(weight, source, rtol=0, atol=2.0**-25)
    cache = make_prompt_cache(network)
    network(mx.array([[1, 2, 3]]), cache=cache)
    assert {layer.keys.dtype for layer in cache} == {mx.float16}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float16"])
def test_what_is_asked_for_wins(dtype: str, stored: Path, on: object) -> None:
    on("M1")  # type: ignore[operator]
    assert dtypes(stored, dtype=dtype) == {getattr(mx, dtype)}


def test_what_is_trained_or_written_keeps_its_range(stored: Path, on: object) -> None:
    on("M2")  # type: ignore[operator]
    assert dtypes(stored, keep_range=True) == {mx.bfloat16}


@pytest.mark.parametrize(
    ("value", "everywhere", "why"),
    [
        (1e5, False, "beyond float16's 65504"),
        (-7e4, False, "beyond float16's 65504"),
        (1e-7, True, "would lose"),
    ],
)
def test_values_that_float16_cannot_hold_are_named_once(
    value: float, everywhere: bool, why: str, stored: Path, tmp_path: Path, on: object,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    on("M1")  # type: ignore[operator]
    directory = changed(stored, tmp_path / "other", value, everywhere=everywhere)
    with caplog.at_level(logging.WARNING, logger="edgelm"):
        assert dtypes(directory) == {mx.bfloat16}
        assert dtypes(directory) == {mx.bfloat16}
    said = [record.getMessage() for record in caplog.records if record.name == "edgelm"]
    assert len(said) == 1
    assert CHANGED in said[0]
    assert why in said[0]


@pytest.mark.parametrize("value", [65280.0, 0.0])
def test_values_at_the_edge_are_held(value: float, stored: Path, tmp_path: Path, on: object) -> None:
    on("M1")  # type: ignore[operator]
    assert dtypes(changed(stored, tmp_path / "other", value, everywhere=value == 0)) == {mx.float16}


def test_infinities_and_no_numbers_stay_as_they_are(stored: Path, tmp_path: Path, on: object) -> None:
    on("M1")  # type: ignore[operator]
    for value in (float("inf"), float("nan")):
        directory = changed(stored, tmp_path / str(value), value, everywhere=True)
        assert dtypes(directory) == {mx.bfloat16}


def test_families_that_overflow_stay_in_bfloat16(tmp_path: Path, on: object) -> None:
    on("M1")  # type: ignore[operator]
    write_checkpoint(tmp_path / "gemma", "gemma3_text", dtype="bfloat16")
    assert dtypes(tmp_path / "gemma") == {mx.bfloat16}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "gemma"}, True), ({"model_type": "gemma2"}, True), ({"model_type": "gemma3n"}, True),
        ({"model_type": "gemma4_text"}, True), ({"model_type": "recurrent_gemma"}, True),
        ({"model_type": "t5gemma"}, True), ({"model_type": "glm4_moe"}, True), ({"model_type": "gpt_oss"}, True),
        ({"model_type": "llava", "text_config": {"model_type": "gemma3_text"}}, True),
        ({"model_type": "llama"}, False), ({"model_type": "qwen3"}, False), ({}, False),
    ],
    ids=json.dumps,
)  # fmt: skip
def test_which_families(config: dict[str, object], expected: bool) -> None:
    assert needs_bfloat16(config) is expected
