"""`convert` as a whole: the directory it makes, and what it refuses without leaving anything behind."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from endless import without_stops

from edgelm.errors import (
    EdgeLMError,
    FormatError,
    NotFoundError,
    OptionError,
    OutputError,
    UnsafeError,
    UnsupportedError,
)
from edgelm.library.manifest import Manifest
from edgelm.progress import Progress
from edgelm_converters.convert import convert


def tensors(directory: Path) -> dict[str, mx.array]:
    found: dict[str, mx.array] = {}
    for path in sorted(directory.glob("*.safetensors")):
        found.update(mx.load(str(path)))  # type: ignore[arg-type]
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_same(one: dict[str, mx.array], other: dict[str, mx.array]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert mx.array_equal(one[name], other[name]), name


PEER_RECIPES: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({"bits": bits, "group_size": group}, {"q_bits": bits, "q_group_size": group})
    for bits, group in ((2, 64), (3, 32), (4, 64), (5, 32), (6, 64), (8, 64))
]
PEER_RECIPES += [
    ({"mode": mode, "allow_mixed": True}, {"q_mode": mode}) for mode in ("mxfp4", "mxfp8", "nvfp4")
]
PEER_RECIPES += [
    ({"recipe": name, "group_size": 64}, {"quant_predicate": name, "q_group_size": 64})
    for name in ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
]
PEER_RECIPES += [({"mode": "none"}, None)]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("ours", "theirs"), PEER_RECIPES, ids=lambda value: "-".join(map(str, (value or {}).values()))
)
def test_tensors_are_bit_identical_to_mlx_lm_convert(
    ours: dict[str, Any], theirs: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelm_converters.methods.quantizers.WORTH_COMPILING", 0)
    from mlx_lm import load as mlx_lm_load
    from mlx_lm.convert import convert as mlx_lm_convert

    write_checkpoint(tmp_path / "source", dtype="bfloat16", num_hidden_layers=9, head_dim=16)
    made = convert(
        tmp_path / "source", tmp_path / "ours", dtype="bfloat16", quality="rtn", verify=False, **ours
    )
    mlx_lm_convert(
        str(tmp_path / "source"), str(tmp_path / "theirs"), quantize=theirs is not None, **(theirs or {})
    )
    assert_same(tensors(made.directory), tensors(tmp_path / "theirs"))
    mlx_lm_load(str(made.directory))


@pytest.mark.peer
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("told", [False, True], ids=["as stored", "torch_dtype"])
def test_in_the_sources_own_dtype_tensors_are_those_of_mlx_lm_convert(
    dtype: str, told: bool, tmp_path: Path
) -> None:
    """mlx-lm casts to the `torch_dtype` of a config, and keeps what is stored where it has none; scales follow."""
    from mlx_lm.convert import convert as mlx_lm_convert

    source = tmp_path / "source"
    write_checkpoint(source, dtype=dtype)
    config = json.loads((source / "config.json").read_text())
    config = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
    (source / "config.json").write_text(json.dumps({**config, **({"torch_dtype": dtype} if told else {})}))
    made = convert(
        source, tmp_path / "ours", bits=4, group_size=32, quality="rtn", dtype="source", verify=False
    )
    mlx_lm_convert(str(source), str(tmp_path / "theirs"), quantize=True, q_bits=4, q_group_size=32)
    assert_same(tensors(made.directory), tensors(tmp_path / "theirs"))


@pytest.mark.peer
def test_stock_mlx_lm_generates_the_same_tokens_and_we_read_its_directories(tmp_path: Path) -> None:
    from mlx_lm import load as mlx_lm_load
    from mlx_lm.convert import convert as mlx_lm_convert
    from mlx_lm.generate import generate_step

    import edgelm

    write_checkpoint(tmp_path / "source", rope_parameters={"rope_type": "default", "rope_theta": 10_000.0})
    made = convert(
        tmp_path / "source",
        tmp_path / "ours",
        quality="rtn",
        bits=4,
        group_size=32,
        dtype="float32",
        verify=False,
    )
    mlx_lm_convert(
        str(tmp_path / "source"), str(tmp_path / "theirs"), quantize=True, q_bits=4, q_group_size=32
    )
    prompt = [5, 6, 7, 8]

    network, _ = mlx_lm_load(str(made.directory))
    steps = generate_step(mx.array(prompt), network, max_tokens=20)
    expected = [int(token) for token, _ in steps]
    for directory in (made.directory, tmp_path / "theirs"):
        with edgelm.load(directory, check_fit=False) as model:
            without_stops(model)
            assert list(model.generate(prompt, max_tokens=20).tokens) == expected


def test_shards_become_the_same_tensors_as_one_file(source: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "sharded", shard="100KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    one = convert(source, tmp_path / "one", quality="rtn", bits=4, group_size=32, verify=False)
    many = convert(
        tmp_path / "sharded", tmp_path / "many", quality="rtn", bits=4, group_size=32, verify=False
    )
    assert_same(tensors(one.directory), tensors(many.directory))


def test_large_outputs_are_sharded_with_an_index(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelm_converters.targets.mlx.weights.MAX_SHARD_BYTES", 60_000)
    made = convert(source, tmp_path / "out", bits=8, group_size=32)
    index = json.loads((made.directory / "model.safetensors.index.json").read_text())
    names = sorted(path.name for path in made.directory.glob("*.safetensors"))
    assert len(names) > 2
    assert sorted(set(index["weight_map"].values())) == names
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    assert set(index["weight_map"]) == set(tensors(made.directory))
    assert made.manifest.receipt["comparison"]["mean_kl"] < 0.01


def test_slices_of_rows_quantize_to_the_same_codes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = convert(source, tmp_path / "whole", quality="rtn", bits=4, group_size=32, verify=False)
    monkeypatch.setattr("edgelm_converters.targets.mlx.weights.SLICE_BYTES", 5_000)
    sliced = convert(source, tmp_path / "sliced", quality="rtn", bits=4, group_size=32, verify=False)
    assert_same(tensors(whole.directory), tensors(sliced.directory))


@pytest.mark.slow
def test_experts_are_stacked_and_quantized(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", "mixtral")
    made = convert(tmp_path / "source", tmp_path / "out", bits=8, group_size=32)
    found = tensors(made.directory)
    assert found["model.layers.0.block_sparse_moe.switch_mlp.gate_proj.weight"].shape[0] == 4
    assert made.manifest.receipt["comparison"]["mean_kl"] < 5e-3


def test_the_receipt_says_what_was_made(source: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    made = convert(
        source,
        tmp_path / "out",
        quality="rtn",
        bits=4,
        group_size=32,
        dtype="float32",
        on_progress=reports.append,
    )
    manifest = Manifest.read(made.directory)
    assert manifest is not None
    assert manifest == made.manifest
    weights = made.directory / "model.safetensors"
    assert manifest.weights_sha256 == {weights.name: sha256(weights)}
    assert manifest.source_sha256 == {"model.safetensors": sha256(source / "model.safetensors")}
    assert manifest.size_bytes is not None
    assert abs(manifest.size_bytes - weights.stat().st_size) < 8_000
    assert manifest.recipe == {
        "group_size": 32, "bits": 4, "mode": "affine", "dtype": "float32", "quality": "rtn",
    }  # fmt: skip
    assert manifest.bits_per_weight == pytest.approx(6.0, abs=0.1)
    receipt = manifest.receipt
    assert 0 < receipt["comparison"]["mean_kl"] < 0.2
    assert 0.3 < receipt["comparison"]["top1_agreement"] < 1
    assert receipt["tokenizer"]["lines"] == 8
    assert receipt["elapsed_s"] > 0
    assert receipt["peak_memory_bytes"] > 1e7
    assert reports[-1].done == reports[-1].total
    assert any(report.task == "Converting" and report.total == manifest.size_bytes for report in reports)


def test_unquantized_costs_nothing_and_loses_nothing(source: Path, tmp_path: Path) -> None:
    made = convert(source, tmp_path / "out", mode="none", dtype="float32")
    assert made.manifest.bits_per_weight == 32
    assert made.manifest.receipt["comparison"]["mean_kl"] < 1e-7
    assert made.manifest.receipt["comparison"]["top1_agreement"] == 1


def test_a_width_that_does_not_fit_falls_back_and_is_listed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", hidden_size=96, intermediate_size=100, head_dim=32)
    with pytest.raises(OutputError, match=r"bits per weight.*down_proj \(rows of 100 fit no group\)"):
        convert(tmp_path / "source", tmp_path / "out", quality="rtn", bits=4, group_size=64)
    assert not (tmp_path / "out").exists()
    made = convert(
        tmp_path / "source", tmp_path / "out", quality="rtn", bits=4, group_size=64, allow_mixed=True
    )
    receipt = made.manifest.receipt
    assert set(receipt["left_unquantized"].values()) == {100}
    assert receipt["regrouped"]["model.layers.0.self_attn.q_proj"] == 32
    config = json.loads((made.directory / "config.json").read_text())
    assert config["quantization"]["model.layers.0.mlp.down_proj"] is False


@pytest.mark.slow
def test_an_mlx_model_is_kept_as_it_is_or_requantized_when_asked(source: Path, tmp_path: Path) -> None:
    first = convert(source, tmp_path / "first", bits=8, group_size=32, dtype="float32")
    kept = convert(first.directory, tmp_path / "kept")
    assert_same(tensors(first.directory), tensors(kept.directory))
    assert kept.manifest.receipt["comparison"]["mean_kl"] < 1e-7
    again = convert(
        first.directory, tmp_path / "again", quality="rtn", bits=4, group_size=32, dtype="float32"
    )
    assert again.manifest.bits_per_weight == pytest.approx(6.0, abs=0.1)
    dense = convert(first.directory, tmp_path / "dense", mode="none", dtype="float32")
    assert dense.manifest.receipt["comparison"]["mean_kl"] < 1e-7


AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Where AutoAWQ puts eight neighbouring columns in a 32-bit word."""


def awq_words(codes: np.ndarray) -> mx.array:
    """Codes of 4 bits [R, C] → words [R, C / 8]."""
    eights = codes.reshape(len(codes), -1, 8)[:, :, AWQ_ORDER].astype(np.uint32)
    return mx.array((eights << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32))


def pack_as_awq(source: Path, method: str) -> dict[str, np.ndarray]:
    """Replace the projections by AutoAWQ's triples, groups of 64; returns the weights that they stand for."""
    loaded, meant = tensors(source), {}
    rng = np.random.default_rng(0)
    for name in [n for n in loaded if n.endswith("proj.weight")]:
        outputs, width = loaded.pop(name).shape
        path = name.removesuffix(".weight")
        codes = rng.integers(0, 16, (width, outputs))
        zeros = rng.integers(0, 16, (width // 64, outputs))
        scales = rng.uniform(0.01, 0.02, zeros.shape).astype(np.float16)
        loaded[f"{path}.qweight"], loaded[f"{path}.qzeros"] = awq_words(codes), awq_words(zeros)
        loaded[f"{path}.scales"] = mx.array(scales)
        meant[path] = ((codes - zeros.repeat(64, 0)) * scales.repeat(64, 0).astype(np.float32)).T
    mx.save_safetensors(str(source / "model.safetensors"), loaded)
    change_config(source, quantization_config={"quant_method": method, "bits": 4, "group_size": 64})
    return meant


@pytest.mark.slow
@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_awq_and_gptq_weights_are_imported(method: str, source: Path, tmp_path: Path) -> None:
    meant = pack_as_awq(source, method)
    made = convert(source, tmp_path / "out")
    assert made.manifest.receipt["comparison"]["mean_kl"] < 1e-6
    assert json.loads((made.directory / "config.json").read_text())["quantization"]["bits"] == 4
    found = tensors(made.directory)
    for path, weight in meant.items():
        parts = (found[f"{path}.{part}"] for part in ("weight", "scales", "biases"))
        got = np.array(mx.dequantize(*parts, 64, 4).astype(mx.float32))
        # -zero · scale is rounded to float16 once, and so is the result.
        assert np.abs(got - weight).max() < 4e-4, path


def test_an_order_of_groups_beside_awqs_layout_is_refused(source: Path, tmp_path: Path) -> None:
    pack_as_awq(source, "gptq")
    rewrite(source, lambda t: t.update({"model.layers.0.mlp.up_proj.g_idx": mx.zeros(64, mx.int32)}))
    with pytest.raises(
        UnsupportedError, match=r"source is packed as GPTQ \(4-bit\), which edgelm does not read"
    ):
        convert(source, tmp_path / "out")


def change_config(source: Path, **changes: Any) -> None:
    path = source / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def rewrite(source: Path, change: Any) -> None:
    path = source / "model.safetensors"
    found = dict(mx.load(str(path)))  # type: ignore[arg-type]
    mx.eval(found)
    change(found)
    mx.save_safetensors(str(path), found)


def cut(source: Path) -> None:
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lie(source: Path) -> None:
    path = source / "model.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])


BAD_SOURCES: dict[str, tuple[Any, type[EdgeLMError], str]] = {
    "no weights": (lambda s: (s / "model.safetensors").unlink(), NotFoundError, "holds no weights"),
    "no config": (lambda s: (s / "config.json").unlink(), NotFoundError, "config.json does not exist"),
    "config not JSON": (lambda s: (s / "config.json").write_text("{"), FormatError, "not valid JSON"),
    "no model_type": (lambda s: change_config(s, model_type=None), FormatError, "model_type"),
    "unknown architecture": (lambda s: change_config(s, model_type="gpt5"), UnsupportedError, "'gpt5' is not supported"),
    "path as architecture": (lambda s: change_config(s, model_type="../x"), UnsupportedError, "not supported"),
    "code": (lambda s: change_config(s, model_file="evil.py"), UnsafeError, "evil.py"),
    "config key missing": (lambda s: change_config(s, hidden_size=None), FormatError, "hidden_size"),
    "absurd depth": (
        lambda s: change_config(s, num_hidden_layers=10**9), FormatError, "num_hidden_layers 1000000000, expected at most",
    ),
    "no heads": (lambda s: change_config(s, num_attention_heads=0), FormatError, "division by zero"),
    "absurd vocabulary": (lambda s: change_config(s, vocab_size=2**40), FormatError, "outside the supported range"),
    "negative size": (lambda s: change_config(s, hidden_size=-5), FormatError, "cannot be loaded"),
    "size of the wrong type": (lambda s: change_config(s, hidden_size="x"), FormatError, "cannot be loaded"),
    "token id of the wrong type": (lambda s: change_config(s, eos_token_id="zz"), FormatError, "eos_token_id.*expected int"),
    "no tokenizer": (
        lambda s: [path.unlink() for path in s.glob("*token*")], NotFoundError, "no tokenizer",
    ),
    "tokenizer not JSON": (lambda s: (s / "tokenizer.json").write_text("{"), FormatError, "tokenizer.json is not valid JSON"),
    "tokenizer without tokens": (
        lambda s: (s / "tokenizer.json").write_text('{"model": {}}'), FormatError, "source cannot be loaded",
    ),
    "tokenizer of code": (
        lambda s: (s / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["x.X", null]}}'
        ),
        UnsafeError, "the tokenizer of .*source is Python code",
    ),
    "config is a directory": (
        lambda s: ((s / "config.json").unlink(), (s / "config.json").mkdir()), FormatError, "config.json cannot be read",
    ),
    "weights are a directory": (
        lambda s: ((s / "model.safetensors").unlink(), (s / "model.safetensors").mkdir()),
        FormatError, "model.safetensors cannot be read",
    ),
    "weights are a broken link": (
        lambda s: ((s / "model.safetensors").unlink(), (s / "model.safetensors").symlink_to("/nowhere")),
        FormatError, "model.safetensors cannot be read",
    ),
    "integers for weights": (
        lambda s: rewrite(s, lambda t: t.update({"model.norm.weight": mx.zeros(64, mx.int32)})),
        FormatError, "wrong type: model.norm.weight is I32",
    ),
    "missing tensor": (
        lambda s: rewrite(s, lambda t: t.pop("model.norm.weight")), FormatError, "missing: model.norm.weight",
    ),
    "extra tensor": (
        lambda s: rewrite(s, lambda t: t.update(stray=mx.zeros(3))), FormatError, "not known to the architecture: stray",
    ),
    "misshapen tensor": (
        lambda s: rewrite(s, lambda t: t.update({"model.norm.weight": mx.zeros(63)})),
        FormatError, r"model.norm.weight is \(63,\), expected \(64,\)",
    ),
    "truncated": (cut, FormatError, "truncated: 1000 of"),
    "lying header": (lie, FormatError, "announces a header of"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_sources_are_named_and_leave_nothing(name: str, source: Path, tmp_path: Path) -> None:
    breaks, kind, message = BAD_SOURCES[name]
    breaks(source)
    with pytest.raises(kind, match=message):
        convert(source, tmp_path / "out", quality="rtn", bits=4, group_size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_missing_expert_is_named(tmp_path: Path) -> None:
    """Experts are stacked by the architecture's own code, which knows no better than a KeyError."""
    write_checkpoint(tmp_path / "source", "mixtral")
    gone = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    rewrite(tmp_path / "source", lambda t: t.pop(gone))
    with pytest.raises(FormatError, match=f"source cannot be loaded: missing key or tensor '{gone}'"):
        convert(tmp_path / "source", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_architecture_that_leaves_python_is_an_error(source: Path, tmp_path: Path) -> None:
    """mlx-lm's olmo calls exit() where a package of its own is missing."""
    change_config(
        source, model_type="olmo", d_model=64, n_layers=2, mlp_hidden_size=64, n_heads=4, embedding_size=64
    )
    with pytest.raises(UnsupportedError, match="source needs a package that is not installed"):
        convert(source, tmp_path / "out")


def test_a_rope_scaling_that_the_architecture_ignores_is_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    write_checkpoint(tmp_path / "source", "starcoder2", rope_parameters=rope)
    with pytest.raises(UnsupportedError, match=r"scales RoPE.*starcoder2 ignores"):
        convert(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 7}, "bits is 7, expected one of"),
        ({"mode": "mxfp4", "bits": 8}, "bits is 8, expected 4 in mode mxfp4"),
        ({"group_size": 16}, "expected 32, 64 or 128"),
        ({"mode": "none", "bits": 4}, "mode none"),
        ({"recipe": "mixed_2_6", "bits": 4}, "sets the bits itself"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"bits": True}, "bits is True"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_read(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        convert(tmp_path / "nowhere", **settings)


def test_an_output_that_exists_is_kept(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        convert(source, tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "mine"


def test_a_disk_that_is_too_small_is_noticed_first(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="1 kB free"):
        convert(source, tmp_path / "out", quality="rtn", bits=4, group_size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_that_is_nothing_says_so(home: Path) -> None:
    with pytest.raises(NotFoundError, match="no-such-model is no path"):
        convert("no-such-model")


def test_a_name_close_to_one_in_the_library_is_suggested(source: Path, home: Path) -> None:
    convert(source, home / "models" / "tiny-llama-4bit", quality="rtn", bits=4, verify=False)
    with pytest.raises(NotFoundError, match="did you mean tiny-llama-4bit"):
        convert("tiny-llama-4bi")


def test_a_package_is_named_as_it_was_asked_for(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it happened to be installed is of no use in a manifest that is shared."""
    monkeypatch.setattr(
        "edgelm.library.packages.find_package", lambda name: source if name == "pack" else None
    )
    made = convert("pack", tmp_path / "out", quality="rtn", bits=4, group_size=32, verify=False)
    assert made.manifest.source == "pack"
    assert made.manifest.parents[0]["source"] == "pack"


def test_a_hub_id_is_converted(fake_hub: Any, source: Path) -> None:
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    fake_hub.add("someone/tiny-llama", files)
    made = convert("someone/tiny-llama", quality="rtn", bits=4, group_size=32, verify=False)
    assert made.directory.name == "tiny-llama-4bit-g32-rtn"
    assert made.manifest.source == "someone/tiny-llama"
    assert made.manifest.revision is not None
    assert len(made.manifest.revision) == 40
