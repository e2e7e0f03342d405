"""Models as GGUF files, read back: the same tensors, tokens and logits; and what is refused."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint
from gguf_cases import CASES

from edgelm.errors import OptionError, OutputError, UnsupportedError
from edgelm_converters.convert import convert
from edgelm_converters.exports.gguf import export_gguf
from edgelm_converters.exports.source import open_source
from edgelm_converters.sources.gguf.parts import read_parts
from edgelm_converters.targets.gguf import framing

pytestmark = pytest.mark.slow

FAMILIES = [
    "llama", "mixtral", "qwen2", "qwen3moe", "gpt-oss", "gemma4", "deepseek2-v3", "granite", "olmo3", "phi3", "glm4moe",
    "stablelm", "apertus", "exaone4", "cohere2", "gemma3",
]  # fmt: skip


def dense(path: Path, stage: Path) -> dict[str, mx.array]:
    stage.mkdir()
    source = open_source(str(path), stage)
    return {name: tensor.read() for name, tensor in source.dense.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_comes_back_as_it_was(name, tmp_path):
    CASES[name].publish(tmp_path / "source")
    exported = export_gguf(tmp_path / "source", tmp_path / "model.gguf")
    assert exported.types.keys() == {"F32"}
    assert not exported.lost
    assert exported.comparison.mean_kl < 1e-7
    before, after = dense(tmp_path / "source", tmp_path / "a"), dense(tmp_path / "model.gguf", tmp_path / "b")
    assert before.keys() == after.keys()
    for key, value in before.items():
        # One and back again, as Gemma's norms are stored, is a rounding.
        tolerance = 1e-7 if name.startswith("gemma") else 0.0
        difference = mx.abs(value.astype(mx.float32) - after[key].astype(mx.float32)).max().item()
        assert difference <= tolerance, key


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exports") / "llama"
    write_checkpoint(directory, "llama3")
    return directory


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"bits": 4, "group_size": 64, "dtype": "bfloat16"}, "Q4_1"),
        ({"bits": 5, "group_size": 32, "dtype": "float16"}, "Q5_1"),
        ({"mode": "mxfp4", "dtype": "float16"}, "MXFP4"),
        ({"mode": "nvfp4", "dtype": "float16"}, "NVFP4"),
    ],
)
def test_packed_weights_move_bit_for_bit(llama, settings, kind, tmp_path):
    made = convert(
        llama, tmp_path / "packed", quality="rtn", verify=False, loss_tokens=0, allow_mixed=True, **settings
    )
    exported = export_gguf(made.directory, tmp_path / "model.gguf")
    assert kind in exported.types
    assert not exported.lost
    assert exported.comparison.max_difference == 0
    before, after = dense(made.directory, tmp_path / "a"), dense(tmp_path / "model.gguf", tmp_path / "b")
    assert all(
        mx.array_equal(value.astype(mx.float32), after[name].astype(mx.float32))
        for name, value in before.items()
    )


def test_what_no_block_holds_is_stored_near_and_told(llama, tmp_path):
    made = convert(
        llama, tmp_path / "packed", bits=8, quality="rtn", verify=False, loss_tokens=0, dtype="float16"
    )
    exported = export_gguf(made.directory, tmp_path / "model.gguf")
    assert "Q8_0" in exported.types
    assert 0 < max(exported.lost.values()) < 1e-4
    assert 0 < exported.comparison.mean_kl < 1e-3


def test_a_type_is_given_to_matrices_alone(llama, tmp_path):
    exported = export_gguf(llama, tmp_path / "model.gguf", tensor_type="iq4_nl")
    tensors = read_parts(tmp_path / "model.gguf").tensors
    assert {tensor.kind.name for tensor in tensors.values()} == {"F32", "IQ4_NL"}
    assert tensors["output_norm.weight"].kind.name == "F32"
    assert max(exported.lost.values()) < 0.02


def test_parts_are_one_model(llama, tmp_path):
    whole = export_gguf(llama, tmp_path / "whole.gguf", verify=False)
    exported = export_gguf(llama, tmp_path / "model.gguf", split_bytes=100_000)
    assert len(exported.files) > 2
    assert exported.files[0].name == f"model-00001-of-{len(exported.files):05}.gguf"
    assert read_parts(exported.files[0]).tensors.keys() == read_parts(whole.files[0]).tensors.keys()
    assert exported.comparison.max_difference == 0


def test_a_target_that_exists_stays(llama, tmp_path):
    target = tmp_path / "model.gguf"
    target.write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        export_gguf(llama, target)
    assert target.read_text() == "mine"


def test_a_disk_without_room_is_refused_before_anything_is_written(llama, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutputError, match="has 1 kB free"):
        export_gguf(llama, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_in_the_middle_leaves_nothing(llama, tmp_path, monkeypatch):
    put, written = framing._put, []

    def full(file, piece):
        written.append(piece)
        if len(written) == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(file, piece)

    monkeypatch.setattr(framing, "_put", full)
    with pytest.raises(OutputError, match="No space left"):
        export_gguf(llama, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_types_and_names_that_there_are_not(llama, tmp_path):
    with pytest.raises(OptionError, match="expected one of auto, f32"):
        export_gguf(llama, tmp_path / "model.gguf", tensor_type="q9_k")
    with pytest.raises(OptionError, match=r"ends in \.gguf"):
        export_gguf(llama, tmp_path / "model.bin")


def test_a_setting_that_gguf_cannot_say_is_refused_by_its_name(tmp_path):
    write_checkpoint(tmp_path / "source", "olmo2", attention_bias=True)
    with pytest.raises(UnsupportedError, match=r"attention_bias|no place for"):
        export_gguf(tmp_path / "source", tmp_path / "model.gguf")


def test_an_architecture_that_is_not_written_is_refused_by_its_name(tmp_path):
    from transformers import GlmConfig

    assert GlmConfig.model_type == "glm"
    write_checkpoint(tmp_path / "source", "glm")
    with pytest.raises(UnsupportedError, match="'glm'"):
        export_gguf(tmp_path / "source", tmp_path / "model.gguf")
