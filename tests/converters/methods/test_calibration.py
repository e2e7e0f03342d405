"""Conversions with calibration text: what they write, what they say, what they refuse, and that they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint
from waiting import PATIENCE_S

from edgelm.errors import EdgeLMError, FitError, FormatError, NotFoundError, OptionError, UnsupportedError
from edgelm.model.load import load
from edgelm.progress import Progress
from edgelm.quant.layers.layerwise import QUANTIZED, LayerResult
from edgelm_converters.convert import Converted, convert
from edgelm_converters.estimate import StepEstimate
from edgelm_converters.methods import distill as distilling
from edgelm_converters.methods.best import SequentialGptq
from edgelm_converters.methods.calibration import layers as calibrating
from edgelm_converters.methods.layer_files import LayerFiles

pytestmark = pytest.mark.slow

FEW = {"calibration_tokens": 1024, "group_size": 32, "verify": False, "loss_tokens": 0}


def tensors(directory: Path) -> dict[str, mx.array]:
    found: dict[str, mx.array] = {}
    for path in sorted(directory.glob("*.safetensors")):
        found.update(mx.load(str(path)))  # type: ignore[arg-type]
    return found


def same(one: Path, other: Path) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(mx.array_equal(first[k], second[k]) for k in first)


class Conversions:
    """Conversions of one source, each made once; nobody changes what they wrote."""

    def __init__(self, source: Path, root: Path) -> None:
        self._source, self._root = source, root
        self._made: dict[str, Converted] = {}

    def __call__(self, **settings: Any) -> Converted:
        name = json.dumps(settings, sort_keys=True)
        if name not in self._made:
            self._made[name] = convert(self._source, self._root / f"{len(self._made)}", **{**FEW, **settings})
        return self._made[name]


@pytest.fixture(scope="module")
def converted(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversions:
    return Conversions(published, tmp_path_factory.mktemp("converted"))


def methods(receipt: dict[str, Any]) -> dict[str, str]:
    return {module["path"]: module["method"] for module in receipt["calibration"]["modules"]}


@pytest.mark.peer
@pytest.mark.parametrize(
    ("architecture", "share"),
    # Much of what a random Gemma 4 loses, it loses in tables that text says nothing about.
    [("llama3", 0.75), ("qwen3_moe", 0.75), ("gemma4_text", 0.9)],
)
def test_the_better_the_quality_the_smaller_the_divergence_and_stock_mlx_lm_reads_it(
    architecture: str, share: float, tmp_path: Path
) -> None:
    from mlx_lm import load as mlx_lm_load

    write_checkpoint(tmp_path / "source", architecture)
    kl = {}
    for quality in ("rtn", "good", "best"):
        made = convert(
            tmp_path / "source", tmp_path / quality, bits=3, quality=quality, **{**FEW, "verify": True}
        )
        kl[quality] = made.manifest.receipt["comparison"]["mean_kl"]
        assert made.manifest.recipe["quality"] == quality
        network, _ = mlx_lm_load(str(made.directory))
        assert network(mx.array([[1, 2, 3]])).shape == (1, 3, 320)
    assert kl["best"] < share * kl["rtn"]
    assert kl["good"] < kl["rtn"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("architecture", ["llama3", "gemma4_text"])
def test_what_is_written_is_what_was_measured(architecture: str, tmp_path: Path, monkeypatch: Any) -> None:
    """The quantized stream of the calibration and the model that was written give the same hidden states."""
    seen: dict[str, Any] = {}
    own = SequentialGptq.quantize

    def watched(self: Any, run: Any) -> None:
        own(self, run)
        seen["ids"], seen["hidden"] = run.walk.batches[0], run.walk.head_input(QUANTIZED, 0)[1]
        mx.eval(seen["hidden"])

    monkeypatch.setattr(SequentialGptq, "quantize", watched)
    write_checkpoint(tmp_path / "source", architecture)
    made = convert(tmp_path / "source", tmp_path / "out", bits=4, quality="best", dtype="float32", **FEW)
    loaded = load(made.directory, check_fit=False)
    found = loaded.network.model(seen["ids"])
    assert mx.allclose(found, seen["hidden"], atol=2e-3 * mx.abs(found).max().item())  # type: ignore[operator]


def test_every_module_is_accounted_for(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", "qwen3_moe")
    best = convert(tmp_path / "source", tmp_path / "best", bits=3, quality="best", **FEW)
    found = methods(best.manifest.receipt)
    assert found["model.embed_tokens"] == "search"
    assert found["lm_head"] == "gptq"
    assert found["model.layers.0.self_attn.q_proj"] == "gptq"
    assert "weighted search" in found["model.layers.0.mlp.switch_mlp.down_proj"]
    packed = {name.removesuffix(".scales") for name in tensors(best.directory) if name.endswith(".scales")}
    assert packed == set(found)
    good = convert(tmp_path / "source", tmp_path / "good", bits=3, quality="good", **FEW)
    assert methods(good.manifest.receipt)["lm_head"] == "weighted search"


def test_experts_that_no_token_reaches_are_still_quantized(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", "qwen3_moe", num_experts=16, num_experts_per_tok=1)
    made = convert(
        tmp_path / "source", tmp_path / "out", bits=4, quality="best", **{**FEW, "calibration_tokens": 512}
    )
    network = load(made.directory, check_fit=False).network
    assert bool(mx.all(mx.isfinite(network(mx.array([[5, 6, 7]])))).item())


@pytest.mark.parametrize(("bits", "group"), [(3, 32), (5, 32), (6, 64)], ids=lambda value: str(value))
def test_odd_widths(source: Path, tmp_path: Path, bits: int, group: int) -> None:
    rounded = convert(source, tmp_path / "rtn", bits=bits, group_size=group, quality="rtn")
    made = convert(
        source,
        tmp_path / "best",
        bits=bits,
        group_size=group,
        quality="best",
        calibration_tokens=1024,
        loss_tokens=0,
    )
    kl = [m.manifest.receipt["comparison"]["mean_kl"] for m in (rounded, made)]
    assert kl[1] < kl[0]
    assert made.manifest.size_bytes == rounded.manifest.size_bytes


def test_weights_of_few_bits_are_calibrated_unless_something_else_is_asked_for(
    converted: Conversions,
) -> None:
    left, asked = converted(bits=4), converted(bits=4, quality="good")
    assert left.manifest.recipe["quality"] == "good"
    assert same(left.directory, asked.directory)


@pytest.mark.parametrize("settings", [{"bits": 8}, {"bits": 5}, {"mode": "nvfp4"}], ids=str)
def test_others_are_rounded(converted: Conversions, settings: dict[str, Any]) -> None:
    settings = {**settings, "group_size": None, "allow_mixed": True}
    left, asked = converted(**settings), converted(quality="rtn", **settings)
    assert left.manifest.recipe["quality"] == "rtn"
    assert left.manifest.receipt["rounded_because"] is None
    assert same(left.directory, asked.directory)


def test_a_text_or_distillation_asks_for_calibration(source: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 400)
    made = convert(source, tmp_path / "out", bits=4, calibration=str(text), **FEW)
    assert made.manifest.recipe["quality"] == "good"
    with pytest.raises(OptionError, match="quality rtn uses no calibration text"):
        convert(source, tmp_path / "eight", bits=8, calibration=str(text), **FEW)
    with pytest.raises(OptionError, match="quality good has nothing to choose"):
        convert(made.directory, tmp_path / "kept", calibration=str(text), verify=False)


def fail_to_walk(self: Any) -> None:
    raise UnsupportedError("this architecture cannot be calibrated layer by layer: layer 1 looks back")


CANNOT: list[tuple[str, Any, str]] = [
    ("edgelm.quant.streams.walk.Walk.check", fail_to_walk, "layer 1 looks back"),
    ("edgelm.device.memory_budget_bytes", lambda _: 50_000_000, "even a layer at a time"),
]


@pytest.mark.parametrize(("name", "instead", "says"), CANNOT, ids=["architecture", "memory"])
def test_what_cannot_be_calibrated_is_rounded_and_says_why(
    source: Path, tmp_path: Path, converted: Conversions, monkeypatch: pytest.MonkeyPatch, name: str, instead: Any,
    says: str,
) -> None:  # fmt: skip
    rounded = converted(bits=4, quality="rtn")
    monkeypatch.setattr(name, instead)
    made = convert(source, tmp_path / "out", bits=4, **{**FEW, "loss_tokens": None})
    assert made.manifest.recipe["quality"] == "rtn"
    assert says in made.manifest.receipt["rounded_because"]
    assert same(made.directory, rounded.directory)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(EdgeLMError, match=says):
        convert(source, tmp_path / "asked", bits=4, quality="good", **FEW)


@pytest.mark.parametrize(
    ("mode", "quality"), [("mxfp4", "best"), ("nvfp4", "good"), ("nvfp4", "fast"), ("mxfp8", "best")]
)
def test_block_formats(source: Path, tmp_path: Path, mode: str, quality: str) -> None:
    settings = {"mode": mode, "quality": quality, "verify": True, "allow_mixed": True, "loss_tokens": 0}
    if quality != "fast":
        settings["calibration_tokens"] = 1024
    made = convert(source, tmp_path / "out", **settings)
    assert made.manifest.receipt["comparison"]["mean_kl"] < 0.1


def test_memory_does_not_grow_with_depth(tmp_path: Path) -> None:
    peaks = []
    for layers in (2, 6):
        shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": layers}
        write_checkpoint(tmp_path / f"{layers}", **shape)
        mx.reset_peak_memory()
        convert(tmp_path / f"{layers}", tmp_path / f"out-{layers}", bits=4, quality="best",
                **{**FEW, "calibration_tokens": 512})  # fmt: skip
        peaks.append(mx.get_peak_memory())
    # 4 more layers are 2.2 MB more of weights in float32.
    assert peaks[1] < peaks[0] + 1_300_000, peaks


STEP = """
import sys, time
from edgelm_converters.convert import Converted, convert
from edgelm_converters.estimate import StepEstimate

def report(progress):
    print(progress.task, progress.done, flush=True)
    if progress.task == "Calibrating" and progress.done == 2:
        time.sleep(600)  # here it is killed

convert(sys.argv[1], sys.argv[2], bits=3, group_size=32, quality=sys.argv[3], calibration_tokens=1024, verify=False,
        loss_tokens=0, on_progress=report)
"""


@pytest.mark.fault
@pytest.mark.parametrize("quality", ["good", "best"])
def test_killed_it_goes_on_at_the_last_finished_layer_with_the_same_result(
    source: Path, tmp_path: Path, converted: Conversions, quality: str
) -> None:
    whole = converted(bits=3, quality=quality)
    output = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", STEP, str(source), str(output), quality],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Calibrating 2"):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    assert process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
    assert not output.exists()
    kept = {path.name for path in (tmp_path / ".killed.layers").glob("layer-*.safetensors")}
    assert kept == {"layer-0000.safetensors", "layer-0001.safetensors"}

    worked_on: list[str] = []

    def report(progress: Progress) -> None:
        if progress.task == "Calibrating":
            worked_on.append(progress.detail)

    made = convert(source, output, bits=3, quality=quality, on_progress=report, **FEW)
    calibrated = {detail.split(".")[2] for detail in worked_on if ".layers." in detail and "_proj" in detail}
    assert calibrated == {"2"}, "finished layers are not quantized again"
    assert same(whole.directory, made.directory)
    assert not list(tmp_path.glob(".*"))


def test_finished_layers_of_other_settings_are_not_taken(
    source: Path, tmp_path: Path, converted: Conversions
) -> None:
    whole = converted(bits=4, quality="good", seed=7)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", bits=4, quality="good", on_progress=interrupt, **FEW)
    assert (tmp_path / ".out.layers").is_dir()
    made = convert(source, tmp_path / "out", bits=4, quality="good", seed=7, **FEW)
    assert same(whole.directory, made.directory)


def interrupt(progress: Progress) -> None:
    if progress.task == "Calibrating" and progress.done == 2:
        raise KeyboardInterrupt


def test_the_seed_and_the_text_are_in_the_manifest(
    source: Path, tmp_path: Path, converted: Conversions
) -> None:
    made = converted(bits=4, quality="good", seed=7)
    said = made.manifest.receipt["calibration"]
    assert (said["source"], said["seed"], said["tokens"]) == ("shipped", 7, 1024)
    again = convert(source, tmp_path / "again", bits=4, quality="good", seed=7, **FEW)
    assert same(made.directory, again.directory)


def test_own_text_and_chats_are_calibrated_on(source: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "notes.txt").write_text("the water boils at a lower temperature on the mountain. " * 200)
    chat = {
        "messages": [{"role": "user", "content": "water? " * 20}, {"role": "assistant", "content": "boils"}]
    }
    (own / "chats.jsonl").write_text("\n".join([json.dumps(chat)] * 40))
    made = convert(source, tmp_path / "out", bits=4, quality="good", calibration=str(own), **FEW)
    assert made.manifest.receipt["calibration"]["source"] == str(own)


BAD: list[tuple[bytes | None, type[EdgeLMError], str]] = [
    (b"", FormatError, "is empty"),
    (b"\xff\xfe\x00\x01" * 400, FormatError, "is not text"),
    (b"text\0text" * 400, FormatError, "zero bytes"),
    (b"too short", OptionError, "expected at least"),
    (None, NotFoundError, "does not exist"),
]


@pytest.mark.parametrize(("content", "kind", "says"), BAD, ids=[says for _, _, says in BAD])
def test_bad_calibration_text(
    source: Path, tmp_path: Path, content: bytes | None, kind: type[EdgeLMError], says: str
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind, match=says):
        convert(source, tmp_path / "out", bits=4, quality="best", calibration=str(path), **FEW)
    assert not (tmp_path / "out").exists()


def test_a_line_that_is_no_chat_is_named(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "hello"}]}\n{"prompt": "hello"}\n')
    with pytest.raises(FormatError, match="line 2 is no chat"):
        convert(source, tmp_path / "out", bits=4, quality="best", calibration=str(path), **FEW)


def test_text_without_a_quality_that_uses_it_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="uses no calibration text"):
        convert(source, tmp_path / "out", bits=4, quality="fast", calibration="somewhere.txt")


def test_a_model_too_large_to_calibrate_says_what_it_needs(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelm.device.memory_budget_bytes", lambda _: 50_000_000)
    with pytest.raises(EdgeLMError, match="even a layer at a time"):
        convert(source, tmp_path / "out", bits=4, quality="best", **FEW)


def test_hidden_states_beyond_the_budget_change_nothing(
    source: Path, tmp_path: Path, converted: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = converted(bits=3, quality="best")
    monkeypatch.setattr(
        "edgelm_converters.methods.calibration.layers.Activations",
        lambda _, directory: Spilling(0, directory),
    )
    spilled = convert(source, tmp_path / "spilled", bits=3, quality="best", **FEW)
    assert same(held.directory, spilled.directory)


class Spilling(calibrating.Activations):
    """Keeps nothing in memory."""


def test_distillation_lowers_the_loss_and_stock_mlx_lm_reads_the_result(
    source: Path, tmp_path: Path, converted: Conversions
) -> None:
    from mlx_lm import load as mlx_lm_load

    start = converted(bits=2, quality="good", verify=True)
    estimated: list[StepEstimate] = []
    made = convert(
        source, tmp_path / "out", bits=2, quality="good", distill=40, on_estimate=estimated.append,
        **{**FEW, "verify": True},
    )  # fmt: skip
    assert [step.task for step in estimated] == ["calibrating", "distilling"]
    said = made.manifest.receipt["calibration"]
    assert said["estimated_s"] == round(sum(step.elapsed_s for step in estimated), 1)
    assert said["distilled"]["kl_after"] < said["distilled"]["kl_before"]
    kl = [result.manifest.receipt["comparison"]["mean_kl"] for result in (start, made)]
    assert kl[1] < kl[0]
    before, after = tensors(start.directory), tensors(made.directory)
    changed = {name.rpartition(".")[2] for name in after if not mx.array_equal(before[name], after[name])}
    assert changed == {"scales", "biases", "weight"}
    packed = [name for name in after if after[name].dtype == mx.uint32]
    assert all(mx.array_equal(before[name], after[name]) for name in packed), "codes stay"
    mlx_lm_load(str(made.directory))


def test_stopped_after_distillation_it_is_not_trained_again(source: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"bits": 2, "quality": "good", "distill": 3, **FEW}
    whole = convert(source, tmp_path / "whole", **settings)

    def stop(progress: Progress) -> None:
        if progress.task == "Converting" and Path(tmp_path / ".out.layers/distilled.safetensors").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", on_progress=stop, **settings)
    tasks: set[str] = set()
    made = convert(source, tmp_path / "out", on_progress=lambda p: tasks.add(p.task), **settings)
    assert "Distilling" not in tasks
    assert same(whole.directory, made.directory)
    said = [result.manifest.receipt["calibration"]["distilled"] for result in (whole, made)]
    assert said[0] == said[1]
    assert said[0]["steps"] == 3


def test_what_distillation_did_not_help_is_kept_as_it_was(
    source: Path, tmp_path: Path, converted: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = converted(bits=2, quality="good", verify=True)
    monkeypatch.setattr(distilling, "RATE", 1e3)
    made = convert(source, tmp_path / "out", bits=2, quality="good", distill=2, **FEW)
    said = made.manifest.receipt["calibration"]["distilled"]
    assert said["kl_after"] == said["kl_before"]
    assert same(start.directory, made.directory)


def test_a_student_that_does_not_fit_is_refused_before_anything_is_spent(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilling, "_student_bytes", lambda _: 10**12)
    with pytest.raises(FitError, match="distilling takes 1 TB of memory"):
        convert(source, tmp_path / "out", bits=2, quality="good", distill=1, **FEW)
    assert list(tmp_path.glob(".out*")) == []


def test_distillation_needs_a_calibrated_start(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="starts from a calibrated model"):
        convert(source, tmp_path / "out", bits=4, quality="fast", distill=10)


def test_hidden_files_are_no_finished_layers(tmp_path: Path) -> None:
    """A kill while a part is written leaves a hidden one, and macOS puts `._name` beside files."""
    files = LayerFiles(tmp_path / "layers", {"source": "x"})
    array = mx.ones((2, 2))
    files.put("layer-0000", LayerResult({"a.weight": array}))
    for name in (".distilled.safetensors", "._layer-0000.safetensors"):
        (tmp_path / "layers" / name).write_bytes(b"\0\5")
    assert mx.array_equal(LayerFiles(tmp_path / "layers", {"source": "x"}).read("a.weight"), array)
