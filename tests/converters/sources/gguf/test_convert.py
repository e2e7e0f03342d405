"""`convert` on GGUF files as a whole: what becomes of each stored type when nothing else is asked for."""

from __future__ import annotations

import gguf
import mlx.core as mx
import numpy as np
import pytest

from edgelm.errors import FormatError
from edgelm_converters.convert import convert
from edgelm_converters.sources.gguf.types.kinds import Kind

SIZES = {"embedding_length": 256, "feed_forward_length": 256, "attention.head_count": 4, "block_count": 1}
LETTERS = [chr(code) for code in range(33, 127)]
TOKENIZER = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": [*LETTERS, "Ġ", "th"],
    "tokenizer.ggml.token_type": [1] * (len(LETTERS) + 2),
    "tokenizer.ggml.merges": ["t h"],
}
VOCAB = len(LETTERS) + 2
MATRICES = {
    "token_embd.weight": VOCAB, "blk.0.attn_q.weight": 256, "blk.0.attn_k.weight": 128,
    "blk.0.attn_v.weight": 128, "blk.0.attn_output.weight": 256, "blk.0.ffn_gate.weight": 256,
    "blk.0.ffn_up.weight": 256, "blk.0.ffn_down.weight": 256,
}  # fmt: skip


@pytest.fixture
def write_model(tmp_path, write_gguf, tiny_metadata, blocks):
    """A llama of one layer whose matrices are stored as `kind`, those in `others` as they say."""

    def matrix(kind, rows):
        values = np.random.default_rng(rows).standard_normal((rows, 256)).astype(np.float32) * 0.05
        if kind is Kind.F32:
            return values
        if kind is Kind.F16:
            return values.astype(np.float16)
        try:
            return gguf.quants.quantize(values, gguf.GGMLQuantizationType(kind)), kind
        except (NotImplementedError, ValueError):
            return blocks(kind, rows, 256), kind

    def write(kind, norm=1.0, **others):
        kinds = dict.fromkeys(MATRICES, kind) | {
            f"{name.replace('__', '.')}": k for name, k in others.items()
        }
        tensors = {name: matrix(kinds[name], rows) for name, rows in MATRICES.items()}
        norms = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
        tensors |= {f"{name}.weight": np.full(256, norm, np.float32) for name in norms}
        metadata = {**tiny_metadata, **SIZES, **TOKENIZER}
        return write_gguf(tmp_path / f"tiny-{kind.name}.gguf", "llama", metadata, tensors)

    return write


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "becomes", "quality"),
    [
        (Kind.Q6_K, (8, 64), "rtn"), (Kind.Q2_K, (3, 128), "fast"), (Kind.IQ4_XS, (5, 64), "fast"),
        (Kind.Q3_K, (4, 128), "fast"), (Kind.IQ1_S, (2, 128), "fast"),
    ],
    ids=str,
)  # fmt: skip
def test_a_file_of_types_that_mlx_lacks_keeps_near_it_and_calibrates_nothing(
    kind, becomes, quality, write_model, home
):
    """They must become neither 4 bits of an own choice nor twice as large, and nobody asked for an hour of calibration."""
    estimated = []
    made = convert(write_model(kind), verify=False, on_estimate=estimated.append)
    bits, group = becomes
    assert made.directory.name == f"tiny-{bits}bit"
    assert made.manifest.receipt["tensors"] == {
        "F32 → float16": 3,
        f"{kind.name} → {bits}-bit group {group}": len(MATRICES),
    }
    assert made.manifest.recipe["quality"] == quality
    receipt = made.manifest.receipt
    assert (estimated, receipt["calibration"], receipt["quality"]) == ([], None, None)


@pytest.mark.slow
def test_what_calibrates_is_still_to_be_had(write_model, home):
    made = convert(
        write_model(Kind.Q2_K), quality="good", calibration_tokens=512, loss_tokens=0, verify=False
    )
    assert made.manifest.recipe["quality"] == "good"
    assert made.manifest.receipt["tensors"]["Q2_K → 3-bit group 128"] == len(MATRICES)


EXACT = [(Kind.MXFP4, "mxfp4 group 32"), (Kind.NVFP4, "nvfp4 group 16"), (Kind.TQ1_0, "2-bit group 128"),
         (Kind.TQ2_0, "2-bit group 128"), (Kind.Q1_0, "1-bit group 128")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "form"), EXACT, ids=str)
def test_types_that_mlx_has_are_kept_and_run(kind, form, write_model, home):
    from mlx_lm import load as mlx_lm_load

    made = convert(write_model(kind))
    assert made.manifest.receipt["tensors"][f"{kind.name} → {form} (kept)"] == len(MATRICES)
    assert made.manifest.receipt["comparison"]["mean_kl"] < 1e-6
    network, *_ = mlx_lm_load(str(made.directory))
    assert mx.isfinite(network(mx.array([[1, 2, 3]]))).all().item()


def test_what_stands_beside_a_block_format_keeps_its_values(write_model, home):
    """No tensor of such a file is in a half precision that the rest could join."""
    made = convert(write_model(Kind.MXFP4, norm=1.001), verify=False)
    assert made.manifest.receipt["tensors"]["F32 → float32"] == 3


@pytest.mark.slow
def test_bits_that_are_asked_for_win(write_model, home):
    made = convert(write_model(Kind.Q6_K), bits=4, verify=False)
    assert made.manifest.receipt["tensors"]["Q6_K → 4-bit group 64"] == len(MATRICES)


def test_each_type_is_told_apart(write_model, home):
    path = write_model(Kind.Q4_0, token_embd__weight=Kind.F16, blk__0__ffn_down__weight=Kind.Q6_K)
    made = convert(path)
    assert made.manifest.receipt["tensors"] == {
        "F16 → float16": 1,
        "F32 → float16": 3,
        "Q4_0 → 4-bit group 32 (kept)": 6,
        "Q6_K → 8-bit group 32": 1,
    }
    assert made.manifest.receipt["comparison"]["mean_kl"] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings", "dtype"),
    [
        (Kind.Q4_1, {"mode": "none"}, mx.float16),
        (Kind.F32, {"mode": "none", "dtype": "source"}, mx.float32),
        (Kind.F32, {"bits": 4}, mx.bfloat16),
        (Kind.F16, {"bits": 4}, mx.float16),
    ],
)
def test_all_floats_of_a_result_are_of_one_type(kind, settings, dtype, write_model, home):
    made = convert(write_model(kind), verify=False, **settings)
    tensors = mx.load(str(made.directory / "model.safetensors"))
    assert {t.dtype for t in tensors.values() if mx.issubdtype(t.dtype, mx.floating)} == {dtype}
    if settings.get("mode") == "none":
        short = {mx.float16: "fp16", mx.float32: "fp32"}[dtype]
        assert made.directory.name == f"tiny-{short}"


@pytest.mark.slow
def test_hidden_files_and_projectors_beside_a_gguf_are_no_models(write_model, home, tmp_path):
    """What macOS leaves on an exFAT disk, and what comes with models that see."""
    directory = tmp_path / "a[b]*"
    directory.mkdir()
    path = write_model(Kind.F16)
    path.rename(directory / "model.gguf")
    (directory / "._model.gguf").write_bytes(b"\0\5\x16\7Mac OS X")
    (directory / ".cache.gguf").write_bytes(b"GGUF")
    (directory / "mmproj-model-f16.gguf").write_bytes(b"GGUF")
    made = convert(directory, tmp_path / "made", verify=False)
    assert made.manifest.kind == "gguf"
    (directory / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(FormatError, match=r"holds 2 GGUF files: model\.gguf, other\.gguf"):
        convert(directory, tmp_path / "again", verify=False)


MIXES = [
    {"kind": Kind.Q4_0},
    {"kind": Kind.Q8_0},
    {"kind": Kind.Q4_0, "token_embd__weight": Kind.Q8_0},
    {"kind": Kind.Q4_0, "token_embd__weight": Kind.F16, "blk__0__ffn_down__weight": Kind.Q6_K},
    {"kind": Kind.Q6_K},
]


@pytest.mark.slow
@pytest.mark.parametrize("budget", [{"fit": "M2 Air 8GB"}, {"size": "1GB"}, {"bpw": 16.0}], ids=str)
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "-".join(kind.name for kind in mix.values()))
def test_a_large_budget_gives_nothing_larger_and_worse_than_no_option(mix, budget, write_model, home):
    path = write_model(**mix)
    plain, made = convert(path), convert(path, **budget)
    sizes = [one.manifest.size_bytes for one in (made, plain)]
    losses = [
        (one.manifest.receipt["comparison"] or one.manifest.receipt["quality"])["mean_kl"]
        for one in (made, plain)
    ]
    assert sizes[0] <= sizes[1]
    assert losses[0] <= losses[1]


@pytest.mark.slow
def test_a_budget_that_holds_exact_repacks_is_told_so_and_measures_nothing(write_model, home):
    estimated = []
    made = convert(write_model(Kind.Q4_0), fit="M2 Air 8GB", on_estimate=estimated.append)
    assert made.manifest.receipt["tensors"] == {
        "F32 → float16": 3,
        "Q4_0 → 4-bit group 32 (kept)": len(MATRICES),
    }
    assert estimated == []
    assert any("nothing is quantized anew" in note for note in made.manifest.receipt["notes"])


@pytest.mark.slow
def test_a_budget_below_the_source_keeps_the_tensors_that_it_can(write_model, home):
    path = write_model(Kind.Q4_0, token_embd__weight=Kind.F16)
    plain = convert(path, verify=False)
    made = convert(path, size=f"{plain.manifest.size_bytes - 1000}B", verify=False)
    assert made.manifest.size_bytes <= plain.manifest.size_bytes - 1000
    assert made.manifest.receipt["tensors"]["Q4_0 → 4-bit group 32 (kept)"] == len(MATRICES) - 1
    assert made.manifest.receipt["tensors"]["F16 → 8-bit group 64"] == 1
