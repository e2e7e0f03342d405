"""Meta's layout, made from a transformers model by undoing the conversion, gives that model back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelm.errors import FormatError, NotFoundError, UnsafeError, UnsupportedError
from edgelm_converters.sources.meta.checkpoint import open_meta
from edgelm_converters.sources.meta.params import make_config, read_params

DIM, HEADS, KV_HEADS, LAYERS, INNER, VOCABULARY = 32, 4, 2, 2, 48, 40
PARAMS = {
    "dim": DIM, "n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": KV_HEADS, "multiple_of": 16,
    "norm_eps": 1e-5, "vocab_size": -1,
}  # fmt: skip
# The layout as Meta publishes it, written down apart from the code under test.
ROWS = ("wq", "wk", "wv", "w1", "w3", "output")
COLUMNS = ("wo", "w2")


def interleave(weight: Any, heads: int) -> Any:
    """Undo the reordering: rows (i, i + D/2) of a head become neighbours again."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).transpose(1, 2).reshape(rows, width)


def to_meta(state: dict[str, Any]) -> dict[str, Any]:
    """Tensors of a transformers Llama under Meta's names and in Meta's order."""
    found = {
        "tok_embeddings.weight": state["model.embed_tokens.weight"],
        "norm.weight": state["model.norm.weight"],
    }
    found["output.weight"] = state["lm_head.weight"]
    for i in range(LAYERS):
        take = lambda name, i=i: state[f"model.layers.{i}.{name}.weight"]  # noqa: E731
        found |= {
            f"layers.{i}.attention.wq.weight": interleave(take("self_attn.q_proj"), HEADS),
            f"layers.{i}.attention.wk.weight": interleave(take("self_attn.k_proj"), KV_HEADS),
            f"layers.{i}.attention.wv.weight": take("self_attn.v_proj"),
            f"layers.{i}.attention.wo.weight": take("self_attn.o_proj"),
            f"layers.{i}.feed_forward.w1.weight": take("mlp.gate_proj"),
            f"layers.{i}.feed_forward.w2.weight": take("mlp.down_proj"),
            f"layers.{i}.feed_forward.w3.weight": take("mlp.up_proj"),
            f"layers.{i}.attention_norm.weight": take("input_layernorm"),
            f"layers.{i}.ffn_norm.weight": take("post_attention_layernorm"),
        }
    return found


def cut(name: str, tensor: Any, count: int, at: int, embedding_axis: int) -> Any:
    part = name.split(".")[-2]
    axis = (
        0 if part in ROWS else 1 if part in COLUMNS else embedding_axis if part == "tok_embeddings" else None
    )
    return tensor if axis is None else tensor.chunk(count, axis)[at].clone()


@dataclass
class Source:
    """A model, and its checkpoint in Meta's layout."""

    directory: Path
    model: Any


@pytest.fixture
def make(torch: Any, tmp_path: Path) -> Callable[..., Source]:
    def write(
        shards: int = 1,
        embedding_axis: int = 1,
        dtype: str = "float32",
        params: dict[str, Any] | None = None,
        **config: Any,
    ) -> Source:
        import transformers

        torch.manual_seed(5)
        settings = {
            "hidden_size": DIM, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
            "num_hidden_layers": LAYERS, "intermediate_size": INNER, "vocab_size": VOCABULARY,
            "rms_norm_eps": 1e-5, "initializer_range": 0.3, "tie_word_embeddings": False, **config,
        }  # fmt: skip
        model = (
            transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
            .to(getattr(torch, dtype))
            .eval()
        )
        directory = tmp_path / "llama" / "7B"
        directory.mkdir(parents=True)
        state = to_meta(model.state_dict())
        for at in range(shards):
            held = {name: cut(name, tensor, shards, at, embedding_axis) for name, tensor in state.items()}
            if settings["tie_word_embeddings"]:  # kept as one storage
                held["output.weight"] = held["tok_embeddings.weight"]
            torch.save({**held, "rope.freqs": torch.ones(4)}, directory / f"consolidated.{at:02}.pth")
        (directory / "params.json").write_text(json.dumps(PARAMS if params is None else params))
        (directory.parent / "tokenizer.model").write_bytes(b"for the tests of tokenizers")
        return Source(directory, model)

    return write


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("shards", "embedding_axis"), [(1, 1), (2, 1), (2, 0)])
def test_tensors_equal_those_of_transformers(
    make: Any, as_numpy: Callable[[Any], np.ndarray], shards: int, embedding_axis: int, dtype: str
) -> None:
    source = make(shards, embedding_axis, dtype)
    checkpoint = open_meta(source.directory)
    expected = source.model.state_dict()
    assert checkpoint.tensors.keys() == expected.keys()
    for name, lazy in checkpoint.tensors.items():
        value = lazy.read()
        assert (value.shape, value.dtype) == (lazy.shape, lazy.dtype)
        np.testing.assert_array_equal(as_numpy(value), as_numpy(expected[name]), err_msg=name)
    assert checkpoint.origin.kind == "meta"
    assert len(checkpoint.origin.files) == shards
    assert checkpoint.config["torch_dtype"] == dtype


SCALED = {"use_scaled_rope": True, "rope_theta": 500000.0}
ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize(
    ("params", "config"),
    [
        (PARAMS, {}),
        ({**PARAMS, "rope_theta": 1e6}, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
        (
            {**PARAMS, **SCALED, "rope_scaling_factor": 8},
            {"rope_parameters": {**ROPE, "factor": 8.0}, "max_position_embeddings": 131072},
        ),
        (
            {**PARAMS, **SCALED},
            {
                "rope_parameters": {**ROPE, "factor": 32.0},
                "tie_word_embeddings": True,
                "max_position_embeddings": 131072,
            },
        ),
    ],
    ids=["llama 2", "code llama", "llama 3.1", "llama 3.2"],
)
def test_logits_equal_those_of_transformers(
    make: Any, torch: Any, as_numpy: Any, params: dict[str, Any], config: dict[str, Any], shards: int
) -> None:
    import mlx.core as mx
    from mlx_lm.models.llama import Model, ModelArgs

    is_llama3 = "use_scaled_rope" in params
    source = make(shards, 0 if is_llama3 else 1, params=params, **config)
    checkpoint = open_meta(source.directory)
    model = Model(ModelArgs.from_dict(checkpoint.config))
    model.load_weights([(name, lazy.read()) for name, lazy in checkpoint.tensors.items()])
    ids = torch.randint(0, VOCABULARY, (2, 50))
    with torch.no_grad():
        expected = source.model(ids).logits.numpy()
    logits = as_numpy(model(mx.array(ids.numpy())))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_tied_embeddings_are_told_by_their_bytes(make: Any, torch: Any) -> None:
    source = make(tie_word_embeddings=True)
    shard = source.directory / "consolidated.00.pth"
    state = torch.load(shard)
    assert state["output.weight"].data_ptr() == state["tok_embeddings.weight"].data_ptr()
    for tied in (state, {name: tensor for name, tensor in state.items() if name != "output.weight"}):
        torch.save(tied, shard)
        checkpoint = open_meta(source.directory)
        assert checkpoint.config["tie_word_embeddings"] is True
        assert "lm_head.weight" not in checkpoint.tensors
    torch.save({**state, "output.weight": state["output.weight"].clone()}, shard)
    assert open_meta(source.directory).config["tie_word_embeddings"] is False


def edit_shard(torch: Any, path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(path)
    edit(state)
    torch.save(state, path)


def test_a_missing_shard_is_an_error(make: Any) -> None:
    source = make(2)
    (source.directory / "consolidated.01.pth").rename(source.directory / "aside")
    with pytest.raises(FormatError, match=r"merged over 1 shards .* expected") as caught:
        open_meta(source.directory)
    assert "a shard may be missing" in str(caught.value)
    (source.directory / "aside").rename(source.directory / "consolidated.01.pth")
    (source.directory / "consolidated.00.pth").unlink()
    with pytest.raises(FormatError, match=r"consolidated.00.pth is missing"):
        open_meta(source.directory)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s, t: s.pop("norm.weight"), r"01.pth lacks tensors: 'norm.weight'"),
        (lambda s, t: s.pop("output.weight"), "in some shards"),
        (lambda s, t: s.update({"extra.bias": t.ones(1)}), "2 layers has not: 'extra.bias'"),
        (
            lambda s, t: s.update({"layers.2.ffn_norm.weight": t.ones(32)}),
            "has not: 'layers.2.ffn_norm.weight'",
        ),
        (lambda s, t: s.update({"norm.weight": t.ones(16)}), r"norm.weight has shape \(16,\)"),
        (lambda s, t: s.update({"norm.weight": t.ones(32).half()}), r"torch.float16 .* torch.float32"),
        (
            lambda s, t: s.update({"layers.1.attention.wq.weight": t.ones(8, 32)}),
            r"wq.weight has shape \(8, 32\)",
        ),
    ],
)
def test_shards_that_disagree_are_refused(make: Any, torch: Any, edit: Any, message: str) -> None:
    source = make(2)
    edit_shard(torch, source.directory / "consolidated.01.pth", lambda state: edit(state, torch))
    with pytest.raises(FormatError, match=message):
        open_meta(source.directory)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("layers.0.attention.wk.weight", (32, 32), r"k_proj.weight.*\(32, 32\), expected \(16, 32\)"),
        ("layers.1.feed_forward.w2.weight", (32, 50), r"down_proj.weight.*\(32, 50\), expected \(32, 48\)"),
        ("tok_embeddings.weight", (40, 16), r"embed_tokens.weight.*expected \(40, 32\)"),
        ("layers.1.ffn_norm.weight", (31,), r"post_attention_layernorm.weight.*expected \(32,\)"),
        ("layers.1.feed_forward.w1.weight", (32,), "expected a matrix"),
        ("output.weight", (41, 32), r"lm_head.weight.*expected \(40, 32\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    make: Any, torch: Any, name: str, shape: tuple[int, ...], message: str
) -> None:
    source = make()
    edit_shard(
        torch, source.directory / "consolidated.00.pth", lambda state: state.update({name: torch.ones(shape)})
    )
    with pytest.raises(FormatError, match=message):
        open_meta(source.directory)


def test_mixtures_of_experts_are_unsupported(make: Any, torch: Any) -> None:
    source = make()
    expert = {"layers.0.feed_forward.experts.0.w1.weight": torch.ones(2)}
    edit_shard(torch, source.directory / "consolidated.00.pth", lambda state: state.update(expert))
    with pytest.raises(UnsupportedError, match="mixture of experts"):
        open_meta(source.directory)


def test_what_is_missing_is_named(make: Any) -> None:
    source = make()
    (source.directory.parent / "tokenizer.model").rename(source.directory / "tokenizer.model")
    open_meta(source.directory)
    (source.directory / "tokenizer.model").unlink()
    with pytest.raises(NotFoundError, match=r"no tokenizer.model in"):
        open_meta(source.directory)
    (source.directory / "params.json").unlink()
    with pytest.raises(NotFoundError, match=r"params.json"):
        open_meta(source.directory)
    (source.directory / "consolidated.00.pth").unlink()
    with pytest.raises(NotFoundError, match="holds no consolidated"):
        open_meta(source.directory)


def test_code_in_a_shard_is_refused(make: Any, torch: Any, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "executed"),))

    source = make(2)
    torch.save({"norm.weight": Touch()}, source.directory / "consolidated.01.pth")
    with pytest.raises(UnsafeError, match=r"mkdir"):
        open_meta(source.directory)
    assert not (tmp_path / "executed").exists()


def test_the_tokenizer_comes_from_the_directory_above(make: Any, tmp_path: Path) -> None:
    source = make()
    (source.directory.parent / "tokenizer.json").write_text('{"model": {}}')
    open_meta(source.directory).write_tokenizer(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()


# Numbers in the style of Meta's releases, and what the config must make of each.
LLAMA1 = {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-6, "vocab_size": -1}
LLAMA2 = {**LLAMA1, "norm_eps": 1e-5}
LLAMA3 = {
    "dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256,
    "ffn_dim_multiplier": 1.3, "multiple_of": 1024, "norm_eps": 1e-5, "rope_theta": 500000.0,
}  # fmt: skip
LLAMA32 = {**LLAMA3, "dim": 2048, "n_layers": 16, "use_scaled_rope": True}
LARGEST = {"dim": 8192, "n_heads": 64, "n_layers": 80, "norm_eps": 1e-5}


def scaled(factor: float) -> dict[str, Any]:
    return {"rope_scaling": {**{k: v for k, v in ROPE.items() if k != "rope_theta"}, "factor": factor}}


@pytest.mark.parametrize(
    ("params", "vocabulary", "tied", "expected"),
    [
        (LLAMA1, 32000, False, {"max_position_embeddings": 2048, "rope_theta": 1e4, "eos_token_id": 2}),
        ({**LLAMA1, **LARGEST}, 32000, False, {"max_position_embeddings": 2048, "head_dim": 128}),
        (LLAMA2, 32000, False, {"max_position_embeddings": 4096, "num_key_value_heads": 32}),
        (
            {**LLAMA2, **LARGEST, "n_kv_heads": 8},
            32000,
            False,
            {"max_position_embeddings": 4096, "num_key_value_heads": 8},
        ),
        (
            {**LLAMA2, "rope_theta": 1000000},
            32016,
            False,
            {"max_position_embeddings": 16384, "rope_theta": 1e6},
        ),
        (
            LLAMA3,
            128256,
            False,
            {"max_position_embeddings": 8192, "rope_theta": 5e5, "bos_token_id": 128000},
        ),
        (
            {**LLAMA3, "use_scaled_rope": True},
            128256,
            False,
            {"max_position_embeddings": 131072, **scaled(8.0)},
        ),
        (LLAMA32, 128256, True, {"max_position_embeddings": 131072, "head_dim": 64, **scaled(32.0)}),
        # The tied output projection kept as a copy: told by its size.
        (LLAMA32, 128256, False, {"tie_word_embeddings": False, **scaled(32.0)}),
        # Known to be ambiguous: the first Llama 2 7B chat had the norm_eps of Llama 1.
        ({**LLAMA2, "norm_eps": 1e-6}, 32000, False, {"max_position_embeddings": 2048}),
        ({**LLAMA32, "rope_scaling_factor": 16}, 128256, True, scaled(16.0)),
        ({"model": {**LLAMA2, "max_seq_len": 777}}, 32000, False, {"max_position_embeddings": 777}),
    ],
)
def test_the_version_is_told_from_the_numbers(
    tmp_path: Path, params: dict[str, Any], vocabulary: int, tied: bool, expected: dict[str, Any]
) -> None:
    path = tmp_path / "params.json"
    path.write_text(json.dumps(params))
    config = make_config(read_params(path), intermediate_size=99, vocabulary_size=vocabulary, is_tied=tied)
    assert {key: config[key] for key in expected} == expected
    assert ("rope_scaling" in config) == ("use_scaled_rope" in params)
    assert config["intermediate_size"] == 99


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dim": None}, FormatError, "dim None"),
        ({"dim": "4096"}, FormatError, "dim '4096'"),
        ({"n_layers": 10**6}, FormatError, "n_layers 1000000"),
        ({"n_heads": 0}, FormatError, "n_heads 0"),
        ({"n_heads": True}, FormatError, "n_heads True"),
        ({"n_kv_heads": 3}, FormatError, "groups of one size"),
        ({"n_heads": 4096}, FormatError, "even size"),
        ({"norm_eps": -1}, FormatError, "norm_eps -1"),
        ({"rope_theta": "x"}, FormatError, "rope_theta 'x'"),
        ({"moe": {"num_experts": 8}}, UnsupportedError, "mixture of experts"),
        ({"vision_chunk_size": 448}, UnsupportedError, "vision"),
        ({"quantization_args": {"scheme": "int4"}}, UnsupportedError, "quantized"),
        ({"sliding_window": 4096}, UnsupportedError, "Mistral"),
    ],
)
def test_params_that_are_wrong_are_refused(tmp_path: Path, changes: Any, error: Any, message: str) -> None:
    path = tmp_path / "params.json"
    path.write_text(json.dumps({**LLAMA2, **changes}))
    with pytest.raises(error, match=message):
        read_params(path)
