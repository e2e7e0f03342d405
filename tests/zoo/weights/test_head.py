"""Whether the head is the embedding: the tensors decide, as in transformers, whatever the config says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from checkpoints import write_checkpoint

from edgelm.device import detect
from edgelm.errors import FormatError
from edgelm.model.load import load
from edgelm.pricing.fit import check_fit
from edgelm.zoo.configs.normalise import normalise_config, read_config
from edgelm.zoo.weights.files import read_headers
from edgelm_converters.convert import convert

HEAD, EMBEDDING, TIED = "lm_head.weight", "model.embed_tokens.weight", "tie_word_embeddings"
IDS = [5, 6, 7, 8, 9]


def published(directory: Path, architecture: str, said: bool | None, **tensors: str) -> Path:
    """A checkpoint whose config says tied, untied or nothing, with only the `tensors` (name → "own" or "same")."""
    layers = 6 if architecture == "gemma3_text" else 2  # mlx-lm asks for a whole period of windows
    write_checkpoint(directory, architecture, tie_word_embeddings=False, num_hidden_layers=layers)
    path = directory / "model.safetensors"
    held: dict[str, Any] = dict(mx.load(str(path)))  # type: ignore[arg-type]
    mx.eval(held)
    if HEAD not in held:
        held[HEAD] = mx.random.normal(held[EMBEDDING].shape, key=mx.random.key(1)) * 0.1
    for name, other in ((HEAD, EMBEDDING), (EMBEDDING, HEAD)):
        if name not in tensors.values() and tensors.get(name) is None:
            continue
        if tensors[name] == "same":
            held[name] = held[other]
        elif tensors[name] == "none":
            del held[name]
    mx.eval(held)
    mx.save_safetensors(str(path), held, {"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    config.pop(TIED, None)
    (directory / "config.json").write_text(json.dumps(config if said is None else {**config, TIED: said}))
    return directory


CASES = [
    ("llama", True, {}, False),
    ("llama", None, {}, False),
    ("llama", False, {}, False),
    ("llama", True, {HEAD: "same"}, True),
    ("llama", False, {HEAD: "same"}, False),
    ("llama", True, {HEAD: "none"}, True),
    ("llama", True, {EMBEDDING: "none"}, True),
    ("qwen2", True, {}, False),
    ("qwen3", True, {HEAD: "same"}, True),
    ("gemma3_text", None, {HEAD: "none"}, True),
    ("gemma3_text", True, {}, False),
    ("mixtral", True, {HEAD: "none"}, True),
    ("mixtral", True, {}, False),
]  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize(("architecture", "said", "tensors", "is_tied"), CASES)
def test_logits_are_those_of_transformers(
    architecture: str, said: bool | None, tensors: dict[str, str], is_tied: bool, tmp_path: Path
) -> None:
    source = published(tmp_path / "source", architecture, said, **tensors)
    network = transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        expected = network(torch.tensor([IDS])).logits[0].numpy()
    made = convert(source, tmp_path / "made", mode="none", dtype="float32")
    for directory in (source, made.directory):
        got = np.array(load(directory, check_fit=False).network(mx.array([IDS]))[0])
        assert np.abs(got - expected).max() < 1e-4
    config = json.loads((made.directory / "config.json").read_text())
    assert config[TIED] is is_tied
    assert (HEAD in mx.load(str(made.directory / "model.safetensors"))) is not is_tied
    notes = made.manifest.receipt["notes"]
    assert bool(notes) == (
        said is True and bool(tensors or not is_tied) and not (is_tied and tensors == {HEAD: "none"})
    )


def test_a_head_is_quantized_beside_its_embedding(tmp_path: Path) -> None:
    source = published(tmp_path / "source", "llama", True)
    made = convert(source, tmp_path / "made", bits=8, group_size=32, dtype="float32")
    assert made.manifest.receipt["comparison"]["mean_kl"] < 5e-3
    assert "lm_head.scales" in mx.load(str(made.directory / "model.safetensors"))
    assert load(made.directory, check_fit=False).config[TIED] is False


def test_a_head_that_the_config_promises_and_is_missing_is_named(tmp_path: Path) -> None:
    source = published(tmp_path / "source", "llama", False, **{HEAD: "none"})
    with pytest.raises(FormatError, match=r"missing: lm_head\.weight"):
        convert(source, tmp_path / "made")


def test_a_head_that_the_architecture_cannot_hold_is_refused(tmp_path: Path) -> None:
    source = published(tmp_path / "source", "gemma2", True)
    with pytest.raises(FormatError, match=r"not known to the architecture: lm_head\.weight"):
        convert(source, tmp_path / "made")


def test_what_an_architecture_leaves_out_is_in_the_receipt(tmp_path: Path) -> None:
    source = published(tmp_path / "source", "llama", False)
    held: dict[str, Any] = dict(mx.load(str(source / "model.safetensors")))  # type: ignore[arg-type]
    mx.eval(held)
    for layer in range(2):
        held[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = mx.zeros(8)
    mx.save_safetensors(str(source / "model.safetensors"), held, {"format": "pt"})
    made = convert(source, tmp_path / "made", mode="none", dtype="float32", verify=False)
    assert made.manifest.receipt["dropped"] == {"model.layers.*.self_attn.rotary_emb.inv_freq": 2}


@pytest.mark.parametrize(("head", "counted"), [(None, 1), ("same", 0)])
def test_a_head_is_priced_as_it_is_loaded(head: str | None, counted: int, tmp_path: Path) -> None:
    """A head that differs is kept though the config says tied, so its bytes count; the embedding once more does not."""
    source = published(tmp_path / "source", "llama", True, **({HEAD: head} if head else {}))
    config = normalise_config(read_config(source))
    found = check_fit(source, config, detect())
    headers = read_headers(source)
    rest = sum(info.size_bytes for name, info in headers.items() if name != HEAD)
    assert found.weights_bytes == rest + counted * headers[HEAD].size_bytes
