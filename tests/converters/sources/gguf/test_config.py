"""Metadata becomes a transformers config; what is missing or impossible is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelm.errors import FormatError, UnsupportedError
from edgelm.runtime.generation.recommended import read_recommended
from edgelm.runtime.sampling.settings import Sampling
from edgelm_converters.sources.gguf.checkpoint import open_gguf
from edgelm_converters.sources.gguf.families.dense.gemma import query_scalar, sliding_period
from edgelm_converters.sources.gguf.families.family import Reading
from edgelm_converters.sources.gguf.families.lengths import Lengths
from edgelm_converters.sources.gguf.metadata import Keys


@pytest.fixture
def tiny(tmp_path, write_gguf, tiny_metadata, tiny_tensors):
    """Open the tiny llama with some metadata and tensors changed (None removes one)."""

    def make(architecture="llama", tensors=None, **metadata):
        keys = {**tiny_metadata, **{key.replace("__", "."): value for key, value in metadata.items()}}
        held = {**tiny_tensors(), **(tensors or {})}
        path = write_gguf(
            tmp_path / "m.gguf",
            architecture,
            {key: value for key, value in keys.items() if value is not None},
            {name: value for name, value in held.items() if value is not None},
        )
        return open_gguf(path)

    return make


def test_the_whole_config_of_a_llama(tiny):
    checkpoint = tiny(
        general__license="mit", tokenizer__ggml__bos_token_id=1, tokenizer__ggml__eos_token_id=2
    )
    assert checkpoint.config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 50,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    assert checkpoint.origin.kind == "gguf"
    assert checkpoint.origin.licence == "mit"


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "attention.head_count", "context_length"])
def test_a_missing_key_is_named(key, tiny):
    with pytest.raises(FormatError, match=f"no metadata key 'llama.{key}'"):
        tiny(**{key: None})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("block_count", 3, "tensors of 2 layers, expected 3"),
        ("block_count", 2**31, "expected a number from 1"),
        ("block_count", "two", "'two', expected a number"),
        ("embedding_length", 32, r"shape \(50, 64\), expected \(50, 32\)"),
        ("feed_forward_length", 2**31 - 1, r"expected \(2147483647, 64\)"),
        ("feed_forward_length", [96, 64], "expected a number"),
        ("attention.head_count", 0, "expected a number from 1"),
        ("attention.head_count_kv", 3, "4 attention heads, expected a multiple of 3"),
        ("attention.key_length", 14, r"shape \(64, 64\), expected \(56, 64\)"),
        ("attention.key_length", 15, "heads of 15 dimensions, expected an even number"),
        ("attention.layer_norm_rms_epsilon", 0.0, "expected a number above 0"),
        ("rope.freq_base", 0.5, "rope.freq_base of 0.5"),
        ("tokenizer.ggml.eos_token_id", "x", "expected a number from 0"),
        ("expert_count", 8, "no metadata key 'llama.expert_used_count'"),
    ],
)
def test_a_value_that_cannot_be_is_named(key, value, message, tiny):
    with pytest.raises(FormatError, match=message):
        tiny(**{key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "rwkv7"}, "architecture 'rwkv7', which is none of the"),
        ({"general__type": "adapter"}, "of type 'adapter', expected a model"),
        ({"architecture": "qwen2", "expert_count": 8}, "mixture of 8 experts"),
        ({"attention.causal": False}, "attention in both directions"),
        ({"logit_scale": 0.5}, r"llama\.logit_scale '0\.5', which edgelm does not know"),
        ({"attention.value_length": 8}, "values of another width"),
        ({"attention.key_length": 16, "rope.dimension_count": 8}, "rotates 8 of 16 dimensions"),
    ],
)
def test_what_is_sound_but_unsupported(change, message, tiny):
    with pytest.raises(UnsupportedError, match=message):
        tiny(**change)


def test_an_unknown_tensor_is_named(tiny):
    with pytest.raises(FormatError, match=r"tensor 'blk\.1\.ssm_a', which a llama model has not"):
        tiny(tensors={"blk.1.ssm_a": np.ones(3, np.float32)})


def test_without_an_embedding_table(tiny):
    with pytest.raises(FormatError, match=r"no tensor 'token_embd.weight'"):
        tiny(tensors={"token_embd.weight": None})


def test_an_output_matrix_unties_the_embeddings(tiny):
    checkpoint = tiny(tensors={"output.weight": np.zeros((50, 64), np.float32)})
    assert checkpoint.config["tie_word_embeddings"] is False
    assert checkpoint.tensors["lm_head.weight"].shape == (50, 64)


def test_every_token_that_ends_an_answer_is_one_of_eos(tiny):
    tokens = ["<s>", "</s>", "<|end|>", "<|im_end|>", "hello"]
    ids = {
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.eot_token_id": 4,
        "tokenizer.ggml.padding_token_id": 2**32 - 1,
    }
    # <|im_end|> is typed as plain text, which llama.cpp does not believe.
    config = tiny(
        **ids, **{"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [3, 3, 3, 1, 1]}
    ).config
    assert config["eos_token_id"] == [1, 4, 2, 3]
    assert "pad_token_id" not in config


def test_recommended_sampling_is_kept(tiny):
    said = tiny(
        **{"general.sampling.temp": 0.6, "general.sampling.top_k": 20, "tokenizer.ggml.eos_token_id": 2}
    )
    assert said.generation_config == {"eos_token_id": 2, "do_sample": True, "temperature": 0.6, "top_k": 20}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"temp": 0.6, "top_p": 0.9}, Sampling(temperature=0.6, top_p=0.9)),
        ({"temp": 0.0, "top_k": 20}, Sampling(top_k=20)),
        ({"temp": 1.0, "min_p": 0.1, "penalty_repeat": 1.1, "penalty_last_n": 32},
         Sampling(temperature=1.0, min_p=0.1, repetition_penalty=1.1, repetition_window=32)),
        ({"temp": 1.0, "penalty_repeat": 1.5, "penalty_last_n": 0}, Sampling(temperature=1.0)),
        ({}, Sampling()),
    ],
)  # fmt: skip
def test_recommended_sampling_is_what_the_model_answers_by(said, meant, tiny):
    made = tiny(**{f"general.sampling.{name}": value for name, value in said.items()})
    assert read_recommended(made.generation_config).sampling == meant


def reading_of(flags):
    keys = Keys({"gemma3.attention.sliding_window_pattern": flags}, "gemma3", Path("m.gguf"))
    return Reading(keys, Lengths(len(flags), {}), {})


@pytest.mark.parametrize(
    ("flags", "pattern"), [([True] * 5 + [False, True], 6), ([True, False, True, False], 2)]
)
def test_windows_given_layer_by_layer_become_a_period(flags, pattern):
    assert sliding_period(reading_of(flags)) == pattern


@pytest.mark.parametrize("flags", [[True, True], [True, False, False, True]])
def test_windows_without_a_period_are_refused(flags):
    with pytest.raises(UnsupportedError, match="expected all but every n-th"):
        sliding_period(reading_of(flags))


@pytest.mark.parametrize(("layers", "scalar"), [(26, 256), (42, 256), (46, 144)])
def test_the_largest_gemma_has_an_attention_scale_of_its_own(layers, scalar):
    """Published: 256 for Gemma 2 2B, 144 for 27B (4608 / 32)."""
    lengths = Lengths(layers, {"hidden": 4608, "heads": 32, "head": 256})
    assert query_scalar(lengths, largest_layers=46) == scalar


def test_the_tokenizer_is_asked_of_the_metadata(tiny, tmp_path, monkeypatch):
    from edgelm_converters.tokenizers.formats import gguf as tokenizers

    asked = []
    monkeypatch.setattr(
        tokenizers,
        "write_gguf_tokenizer",
        lambda metadata, directory, *, origin: asked.append(
            (metadata["general.architecture"], directory, origin.name)
        ),
        raising=False,
    )
    tiny().write_tokenizer(tmp_path)
    assert asked == [("llama", tmp_path, "m.gguf")]
