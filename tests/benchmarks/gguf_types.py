"""What becomes of a GGUF's types: the size of the result beside the file's, and what was lost of what the file says.

    python tests/benchmarks/gguf_types.py --types Q2_K,IQ2_XXS [--source smollm2] [--layers 2,18] [--ggml LIBRARY]
    python tests/benchmarks/gguf_types.py --table [--ggml LIBRARY]

For each type the matrices of some layers are quantized by ggml's own quantizer (`ggml_quantize_chunk`, of llama-cpp-python's
libggml-base or the one that --ggml names; importance all alike), the file is converted as `edgelm convert FILE` does, and
logits are compared on held-out text with those of the same file's values in float32. Printed: bits per weight of the type and
of what it becomes, their ratio, the KL that the type itself costs (against the source), and the KL that converting adds.
Rows that a type's blocks do not divide are left as they are: of SmolLM2 only the down projections have 256s. The rest of the
file leaves room for more bits then; with --least, types become the least that they would become in a file of their own.

--table prints, on Gaussian weights, what each step of `types/widths.py` loses of the mean square, beside the type's own loss.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import edgelm_converters  # noqa: F401 - puts OpenBLAS in front before mlx is imported

# isort: split
import gguf
import mlx.core as mx
import numpy as np

from edgelm.evaluate.compare import compare
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Measuring, held_out_rows
from edgelm.model.load import load
from edgelm.progress import ignore_progress
from edgelm.quant.matrix.formats import dequantized, searched
from edgelm.quant.matrix.search import DISCRETE
from edgelm.quant.scheme import settings_bits_per_weight
from edgelm_converters.convert import convert
from edgelm_converters.sources.gguf.types import widths
from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes, values_per_block
from edgelm_converters.sources.gguf.types.widths import STEPS, settings_of
from edgelm_converters.sources.recognise import open_checkpoint

TYPES = "Q2_K,Q3_K,Q6_K,IQ1_S,IQ1_M,IQ2_XXS,IQ2_XS,IQ2_S,IQ3_XXS,IQ3_S,IQ4_NL,IQ4_XS,MXFP4,TQ2_0"
TOKENS = 1024
MODULE = "model.layers.{}.mlp.down_proj"
"""The one whose settings are printed: its rows are wide in every model."""


class Quantizer:
    """ggml's own."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.ggml_quantize_chunk.restype = ctypes.c_size_t
        self._library.ggml_quantize_chunk.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
            ctypes.c_void_p,
        ]  # fmt: skip

    def __call__(self, values: np.ndarray, kind: Kind) -> np.ndarray:
        """The bytes of `values` [R, C] in `kind`, [R, row bytes]."""
        self._library.ggml_quantize_init(int(kind))
        values = np.ascontiguousarray(values, np.float32)
        rows, width = values.shape
        made = np.zeros((rows, width // values_per_block(kind) * block_bytes(kind)), np.uint8)
        alike = np.ones(width, np.float32)
        self._library.ggml_quantize_chunk(
            int(kind), values.ctypes.data, made.ctypes.data, 0, rows, width, alike.ctypes.data
        )
        return made


def shipped_library() -> Path | None:
    """The libggml-base of an installed llama-cpp-python."""
    found = importlib.util.find_spec("llama_cpp")
    folder = Path(found.origin or "").parent / "lib" if found else Path()
    return next(iter(sorted(folder.glob("libggml-base.*"))), None) if found else None


class Rewriter:
    """The source with some of its matrices in another type."""

    def __init__(self, source: Path, quantize: Quantizer, layers: set[int]) -> None:
        self._reader, self._quantize = gguf.GGUFReader(source), quantize
        self.layers = layers

    def _is_changed(self, tensor: Any, kind: Kind | None) -> bool:
        parts = tensor.name.split(".")
        is_inside = parts[0] == "blk" and int(parts[1]) in self.layers and len(tensor.shape) == 2
        return is_inside and (kind is None or tensor.shape[0] % values_per_block(kind) == 0)

    def write(self, path: Path, kind: Kind) -> list[str]:
        """Write the file; gives the names of what is in `kind`."""
        reader = self._reader
        writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
        for field in reader.fields.values():
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
        changed = []
        for tensor in reader.tensors:
            if self._is_changed(tensor, kind):
                values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
                writer.add_tensor(
                    tensor.name, self._quantize(values, kind), raw_dtype=gguf.GGMLQuantizationType(kind)
                )
                changed.append(tensor.name)
            else:
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return changed


def bits_of(kind: Kind) -> float:
    return block_bytes(kind) * 8 / values_per_block(kind)


def table(quantize: Quantizer) -> None:
    """Print what each step loses."""
    weights = np.random.default_rng(0).standard_normal((96, 1024)).astype(np.float32) * 0.05
    for kind, steps in STEPS.items():
        values = gguf.quants.dequantize(quantize(weights, kind), gguf.GGMLQuantizationType(kind))
        own = np.square(values - weights).sum() / np.square(weights).sum()
        print(f"{kind.name:8} {bits_of(kind):.3f} bits, own loss {own:.5f}")
        for bits, group, _ in steps:
            settings = settings_of(bits, group)
            found = dequantized(
                searched(mx.array(values).astype(mx.float16), settings, effort=DISCRETE), settings
            )
            lost = np.square(np.array(found) - values).sum() / np.square(values).sum()
            ratio = settings_bits_per_weight(settings) / bits_of(kind)
            print(
                f"    {bits} bits in {group:3}s  {ratio:.2f}x  loses {lost:.2g}, {lost / own:.2f} of its own"
            )


def exact(path: Path, folder: Path) -> Any:
    """The values of a file in float32."""
    made = convert(path, folder, mode="none", dtype="float32", verify=False)
    return load(made.directory, check_fit=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="smollm2")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--layers", default="2,18")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--least", action="store_true")
    parser.add_argument("--ggml", type=Path, default=shipped_library())
    parser.add_argument("--tokens", type=int, default=TOKENS)
    arguments = parser.parse_args()
    if arguments.ggml is None:
        sys.exit("no ggml library: install llama-cpp-python, or name one with --ggml")
    if arguments.table:
        table(Quantizer(arguments.ggml))
        return
    if arguments.least:
        widths.LARGEST_RATIO = 0.0
    (source,) = open_checkpoint(arguments.source, revision=None, on_progress=ignore_progress).origin.files
    layers = {int(layer) for layer in arguments.layers.split(",")}
    rewriter = Rewriter(source, Quantizer(arguments.ggml), layers)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        original = exact(source, folder / "source")
        rows = held_out_rows(original.tokenizer, Measuring(tokens=arguments.tokens, length=256, seed=0))
        print("type      bits  becomes  bits  ratio  KL of the type  KL added")
        with Reference(original.network, rows) as reference:
            for name in arguments.types.split(","):
                row(Kind[name], folder / name, rewriter, reference, rows)


def row(kind: Kind, folder: Path, rewriter: Rewriter, reference: Reference, rows: Any) -> None:
    """Measure and print one type."""
    folder.mkdir()
    changed = len(rewriter.write(folder / "file.gguf", kind))
    made = convert(folder / "file.gguf", folder / "made", verify=False)
    values = exact(folder / "file.gguf", folder / "exact")
    own = compare(reference, values.network).mean_kl.value
    with Reference(values.network, rows) as held:
        added = compare(held, load(made.directory, check_fit=False).network).mean_kl.value
    module = MODULE.format(next(iter(sorted(rewriter.layers))))
    config = json.loads((made.directory / "config.json").read_text())["quantization"]
    settings = config.get(module, {key: config[key] for key in ("bits", "group_size", "mode")})
    form, bits = (
        f"{settings['mode']} {settings['bits']}/{settings['group_size']}",
        settings_bits_per_weight(settings),
    )
    print(
        f"{kind.name:8} {bits_of(kind):6.3f}  {form} x {changed}  {bits:.3f}  {bits / bits_of(kind):.2f}"
        f"  {own:.5f}  {added:.5f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
