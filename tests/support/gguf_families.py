"""A family of models through llama.cpp's converter: transformers → GGUF → edgelm, held against the original."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch
import transformers
from checkpoints import COMMON, VOCAB, write_tokenizer
from llama_cpp_converter import LlamaCppConverter
from mlx_lm.models.cache import make_prompt_cache
from safetensors.torch import load_file, save_file

from edgelm.model.load import load
from edgelm_converters.convert import convert
from edgelm_converters.sources.gguf.config import read_keys
from edgelm_converters.sources.gguf.parts import read_parts
from edgelm_converters.sources.gguf.reader import StoredTensor

PROMPT = np.random.default_rng(1).integers(4, VOCAB, 48).tolist()
TEXT = (
    "The water on the mountain boils at 95.5 degrees,  isn't it?\n\n  def f(x): return x**2  # Äh, 水が沸く"
)
TOLERANCE = 1e-4


@dataclass(frozen=True)
class FamilyCase:
    """One model of a family."""

    name: str
    """transformers' class, without "Config" and "ForCausalLM"."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What its config has beside COMMON."""
    network: str = ""
    """transformers' class of the network; "`name`ForCausalLM" if not said."""
    common: Mapping[str, Any] = field(default_factory=lambda: COMMON)
    pre: str = "gpt-2"
    tokenizer: Callable[[Path], None] = write_tokenizer
    options: tuple[str, ...] = ()
    """Flags of the converter."""
    adjust: Callable[[Any], None] | None = None
    """Changes the network before it is published and judges: where transformers computes other than the model's authors."""
    cached: bool = False
    """Whether both need a cache to compute it as it is meant: Gemma 3n's layers share keys through one."""
    tokens: int = VOCAB
    """What the prompt's tokens are below: the converter of Gemma 3 cuts rows off that no token has."""
    original: Callable[[Any, Path], None] | None = None
    """Changes what is published: renames tensors, say, or rewrites the config."""

    def build(self) -> Any:
        """A seeded network in float32 in which nothing is as it was initialised."""
        config = getattr(transformers, f"{self.name}Config")(**{**self.common, **self.settings})
        torch.manual_seed(11)
        kind = getattr(transformers, self.network or f"{self.name}ForCausalLM")
        make = kind.from_config if kind is transformers.AutoModelForCausalLM else kind._from_config
        network = make(config, attn_implementation="eager").float().eval()
        enliven(network)
        if self.adjust is not None:
            self.adjust(network)
        return network

    def publish(self, directory: Path) -> Any:
        """Save such a network and a tokenizer as transformers does; returns the network."""
        network = self.build()
        network.save_pretrained(directory)
        self.tokenizer(directory)
        if self.original is not None:
            self.original(network, directory)
        return network


def with_settings(*without: str, **settings: Any) -> Callable[[Any, Path], None]:
    """Publish settings as they were before transformers 5, for which llama.cpp's converter asks, and some not at all."""

    def change(_: Any, directory: Path) -> None:
        path = directory / "config.json"
        config = {**json.loads(path.read_text()), **settings}
        path.write_text(json.dumps({name: value for name, value in config.items() if name not in without}))

    return change


def with_tensors(
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
) -> Callable[[Any, Path], None]:
    """Publish other tensors than transformers saves."""

    def rewrite(_: Any, directory: Path) -> None:
        path = directory / "model.safetensors"
        tensors = {name: tensor.contiguous().clone() for name, tensor in change(load_file(path)).items()}
        save_file(tensors, path, {"format": "pt"})

    return rewrite


def chained(*changes: Callable[[Any, Path], None]) -> Callable[[Any, Path], None]:
    """Make one change to what is published after another."""

    def change(network: Any, directory: Path) -> None:
        for each in changes:
            each(network, directory)

    return change


def enliven(network: Any) -> None:
    """Norms, biases, gates, decays and time steps move away from what they were made with; matrices are drawn anew."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and "A_log" not in name:
                parameter.normal_(0, 0.4 if "conv" in name else 0.1)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point() and name.endswith("bias"):
                buffer.add_(torch.randn_like(buffer) * 0.1)


def logits_of(network: Any, prompt: list[int] = PROMPT, *, cached: bool = False) -> np.ndarray:
    """transformers' logits, [tokens, vocabulary]."""
    with torch.no_grad():
        return network(torch.tensor([prompt]), use_cache=cached).logits[0].numpy()


def converted_logits(directory: Path, prompt: list[int] = PROMPT, *, cached: bool = False) -> np.ndarray:
    """edgelm's logits for a converted model, [tokens, vocabulary]."""
    network = load(directory, check_fit=False).network
    return np.array(network(mx.array([prompt]), cache=make_prompt_cache(network) if cached else None)[0])


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest of the original."""
    width = min(found.shape[-1], expected.shape[-1])  # llama.cpp pads some vocabularies
    return float(np.abs(found[..., :width] - expected[..., :width]).max() / np.abs(expected).max())


def check_family(case: FamilyCase, llama_cpp: LlamaCppConverter, tmp_path: Path, *options: str) -> Path:
    """Hold logits and tokens of a converted GGUF against the original's; returns the converted model."""
    network = case.publish(tmp_path / "source")
    gguf = llama_cpp.convert(
        tmp_path / "source",
        *case.options,
        *options,
        pre=case.pre,
        out=tmp_path / "model.gguf",
        as_published=case.original is not None,
    )
    check_two_way(gguf)
    out = convert(gguf, tmp_path / "out", mode="none", dtype="float32", verify=False).directory
    prompt = [token % case.tokens for token in PROMPT]
    expected = logits_of(network, prompt, cached=case.cached)
    assert expected.std() > 0.05, "logits too flat to mean anything"
    worst = difference(converted_logits(out, prompt, cached=case.cached), expected)
    assert worst < TOLERANCE, f"logits differ by {worst:.2g}"
    check_tokens(tmp_path / "source", out)
    return out


def check_two_way(path: Path) -> None:
    """Hold what the rules write of what they read against the file, whose tensors are float32."""
    model = read_parts(path)
    keys, family = read_keys(model)
    lengths = family.lengths(keys, model.tensors)
    for layer in (None, *range(lengths.layers)):
        prefix = "" if layer is None else f"blk.{layer}."
        for rule in family.outer if layer is None else family.block:
            names = [prefix + tensor.name for tensor in rule.stored]
            if all(name in model.tensors for name in names):
                stored = [values_of(model.tensors[name]) for name in names]
                sizes = lengths.at(layer)
                written = rule.to_gguf(rule.from_gguf(stored, sizes), sizes)
                for name, first, second in zip(names, stored, written, strict=True):
                    np.testing.assert_allclose(
                        second.ravel(), first.ravel(), rtol=1e-6, atol=1e-6, err_msg=name
                    )


def values_of(stored: StoredTensor) -> np.ndarray:
    """The values of a tensor that is stored in float32."""
    count = stored.size_bytes // 4
    return np.fromfile(stored.path, np.float32, count, offset=stored.begin).reshape(stored.shape)


def check_tokens(source: Path, out: Path) -> None:
    """Hold the tokens of a text against the original tokenizer's."""
    ours = transformers.AutoTokenizer.from_pretrained(out).encode(TEXT, add_special_tokens=False)
    if (source / "tokenizer.model").exists():
        import sentencepiece

        theirs = sentencepiece.SentencePieceProcessor(model_file=str(source / "tokenizer.model")).encode(TEXT)
    else:
        theirs = transformers.AutoTokenizer.from_pretrained(source).encode(TEXT, add_special_tokens=False)
    assert ours == theirs
