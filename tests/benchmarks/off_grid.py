"""Make of a model that came out of a quantized file one whose weights are on no grid, for comparing quantizers on.

    python tests/benchmarks/off_grid.py gemma-3-270m.gguf DIRECTORY

Every small model that package indexes serve is quantized, which flatters methods of the same width and group.
Here each weight of a matrix is moved to a random place in the interval that its own quantizer would have rounded to
the value it has: what comes out is one of the models that would have given this very file. Whatever the file's
format, the step is taken from the values themselves (the smallest gap between two in a block of 16). Seeded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import edgelm_converters  # noqa: F401 - puts OpenBLAS in front before mlx is imported

# isort: split
import mlx.core as mx
import numpy as np

from edgelm.evaluate.compare import compare
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Measuring, held_out_rows
from edgelm.model.load import load
from edgelm_converters.convert import convert

BLOCK = 16
"""Of Q6_K; the other formats share a step among 32 weights."""
SEED = 7


def moved(weight: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """`weight` [R, C] with uniform noise of a step from end to end."""
    blocks = np.sort(weight.reshape(-1, BLOCK), axis=1)
    gaps = np.diff(blocks, axis=1)
    # Half precision blurs equal values; a real gap is far above a thousandth of the largest weight.
    gaps = np.where(gaps > 1e-3 * np.abs(blocks).max(axis=1, keepdims=True), gaps, np.inf)
    step = gaps.min(axis=1, keepdims=True)
    step = np.where(np.isfinite(step), step, 0)
    noise = random.uniform(-0.5, 0.5, blocks.shape) * step
    return (weight + noise.reshape(weight.shape)).astype(np.float32)


def move(path: Path, random: np.random.Generator) -> float:
    """Move the matrices of a safetensors file; by how much of their square, on average."""
    arrays = mx.load(str(path))
    assert isinstance(arrays, dict)
    mx.eval(arrays)  # before the file is written over
    shares = []
    for name, array in arrays.items():
        if array.ndim == 2:
            old = np.array(array)
            new = moved(old, random)
            shares.append(np.square(new - old).sum() / np.square(old).sum())
            arrays[name] = mx.array(new)
    mx.save_safetensors(str(path), arrays, metadata={"format": "mlx"})
    return float(np.mean(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    random = np.random.default_rng(SEED)
    convert(arguments.source, arguments.directory, mode="none", dtype="float32", verify=False)
    before = load(arguments.directory, check_fit=False)
    rows = held_out_rows(before.tokenizer, Measuring(tokens=2048, length=256, seed=0))
    with Reference(before.network, rows) as reference:
        for path in sorted(arguments.directory.glob("model*.safetensors")):
            print(f"{path.name}: moved by {move(path, random):.2%} of the squares of its matrices")
        found = compare(reference, load(arguments.directory, check_fit=False).network)
    print(f"perplexity {found.reference_perplexity}, after {found.perplexity}; mean KL {found.mean_kl}")


if __name__ == "__main__":
    main()
