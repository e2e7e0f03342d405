"""Exports as llama.cpp itself reads them: the logits of the network, the tokens of its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from gguf_cases import CASES
from numpy.typing import NDArray

from edgelm_converters.convert import convert
from edgelm_converters.exports.gguf import export_gguf
from edgelm_converters.exports.source import open_source
from edgelm_converters.result.texts import TOKENIZER_SAMPLE
from edgelm_converters.result.verify import source_logits

llama_cpp = pytest.importorskip("llama_cpp")
pytestmark = [pytest.mark.peer, pytest.mark.slow]

FAMILIES = [
    "llama", "mixtral", "qwen2", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "gemma4", "glm4moe", "deepseek2-v3",
    "granite", "olmo3", "command-r", "stablelm", "apertus", "starcoder2", "minimax-m2",
]  # fmt: skip
Logits = NDArray[np.float64]

IDS = np.random.default_rng(1).integers(4, 280, 40).tolist()


class Opened:
    """A file in llama.cpp, on one thread of the CPU."""

    def __init__(self, path: Path) -> None:
        self.model = llama_cpp.Llama(
            str(path),
            n_ctx=128,
            n_batch=128,
            n_ubatch=128,
            logits_all=True,
            verbose=False,
            n_threads=1,
            n_threads_batch=1,
        )

    def logits(self) -> Logits:
        self.model.eval(IDS)
        return np.array(self.model.scores[: len(IDS)], dtype=np.float64)

    def tokens(self, text: str) -> list[int]:
        return list(self.model.tokenize(text.encode(), add_bos=False, special=False))


def network_logits(path: Path, stage: Path) -> Logits:
    stage.mkdir()
    network, tensors = open_source(str(path), stage).again()
    return np.array(source_logits(network, tensors, IDS), dtype=np.float64)


def divergence(ours: Logits, theirs: Logits) -> float:
    """The mean KL divergence of positions, in nats, over the tokens that both know."""
    width = min(ours.shape[1], theirs.shape[1])
    log_p, log_q = (
        each - np.log(np.exp(each).sum(axis=1, keepdims=True))
        for each in (ours[:, :width], theirs[:, :width])
    )
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_computes_the_same(name: str, tmp_path: Path) -> None:
    CASES[name].publish(tmp_path / "source")
    export_gguf(tmp_path / "source", tmp_path / "model.gguf", verify=False)
    opened = Opened(tmp_path / "model.gguf")
    ours, theirs = network_logits(tmp_path / "source", tmp_path / "stage"), opened.logits()
    assert divergence(ours, theirs) < 1e-5
    assert (ours.argmax(axis=1) == theirs[:, : ours.shape[1]].argmax(axis=1)).all()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "source")
    # llama.cpp composes no characters, which Qwen's published tokenizer does.
    samples = TOKENIZER_SAMPLE[:-1] if name == "qwen2" else TOKENIZER_SAMPLE
    for text in samples:
        assert opened.tokens(text) == tokenizer.encode(text, add_special_tokens=False), text


@pytest.mark.parametrize(
    "settings",
    [{"bits": 4, "group_size": 64}, {"bits": 5, "group_size": 32}, {"mode": "mxfp4"}, {"mode": "nvfp4"}],
    ids=["4", "5", "mxfp4", "nvfp4"],
)
def test_packed_weights_lose_next_to_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    CASES["llama"].publish(tmp_path / "source")
    made = convert(
        tmp_path / "source", tmp_path / "packed", quality="rtn", verify=False, loss_tokens=0, allow_mixed=True, dtype="float16",
        **settings,
    )  # fmt: skip
    assert not export_gguf(made.directory, tmp_path / "model.gguf", verify=False).lost
    ours = network_logits(made.directory, tmp_path / "stage")
    assert divergence(ours, Opened(tmp_path / "model.gguf").logits()) <= 0.001
