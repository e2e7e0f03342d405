"""Peak memory, time and processor time of converting a synthetic 1.9 GB bfloat16 llama, beside mlx_lm.convert.

    python tests/benchmarks/convert.py [--layers 19] [--vocab 49152] [--repeats 3]

Each side converts the same directory to 4 bits, group 64, by its command line in a process of its own, alternating, three
times; edgelm tries the tokenizer, too. Prints the medians, the ratios, and whether the output tensors are the same bytes.
torch is hidden from both sides: transformers imports it when it can, and users have none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS = 2048, 5632, 32, 4

EDGELM = """
import sys
sys.modules["torch"] = None
from edgelm.cli.main import main
sys.exit(main(["convert", sys.argv[1], "-o", sys.argv[2], "--quality", "rtn", "--bits", "4", "--group-size", "64",
    "--dtype", "bfloat16", "--no-verify"]))
"""

MLX_LM = """
import sys
sys.modules["torch"] = None
sys.argv[1:] = ["--hf-path", sys.argv[1], "--mlx-path", sys.argv[2], "-q", "--q-bits", "4", "--q-group-size", "64"]
from mlx_lm.convert import main
main()
"""

MEASURE = """
import resource, subprocess, sys, time
started = time.monotonic()
code = subprocess.run([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
if code.returncode:
    sys.exit(code.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss * 1024, time.monotonic() - started, used.ru_utime + used.ru_stime)
"""


def tensors(layers: int, vocab: int) -> dict[str, tuple[int, ...]]:
    head_dim = HIDDEN // HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocab, HIDDEN),
        "lm_head.weight": (vocab, HIDDEN),
    }
    shapes["model.norm.weight"] = (HIDDEN,)
    for index in range(layers):
        prefix = f"model.layers.{index}"
        shapes |= {
            f"{prefix}.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": (KV_HEADS * head_dim, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": (KV_HEADS * head_dim, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}.mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
            f"{prefix}.input_layernorm.weight": (HIDDEN,),
            f"{prefix}.post_attention_layernorm.weight": (HIDDEN,),
        }
    return shapes


def write_model(directory: Path, layers: int, vocab: int) -> int:
    """A random llama written with numpy alone; returns its size in bytes."""
    directory.mkdir()
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "num_hidden_layers": layers, "vocab_size": vocab,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 2048, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    write_tokenizer(directory, vocab)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors(layers, vocab).items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in tensors(layers, vocab).values():
            values = rng.standard_normal(int(np.prod(shape)), dtype=np.float32) * 0.02
            file.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    return offset


def write_tokenizer(directory: Path, vocab: int) -> None:
    """A tokenizer of as many tokens as the network has, since reading one takes time and memory."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(itertools.islice(itertools.product(letters, letters), vocab - len(letters)))
    words = [*letters, *map("".join, merges)]
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    )


def measure(code: str, source: Path, output: Path) -> tuple[float, float, float]:
    """(peak resident bytes, seconds, seconds of processors) of one conversion in a process of its own."""
    shutil.rmtree(output, ignore_errors=True)
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, code, str(source), str(output)],
        capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    peak, seconds, processors = map(float, run.stdout.split())
    return peak, seconds, processors


def same_tensors(one: Path, other: Path) -> bool:
    from edgelm.blas import preload_blas

    preload_blas()
    import mlx.core as mx

    first, second = (mx.load(str(path / "model.safetensors")) for path in (one, other))
    if first.keys() != second.keys():
        return False
    return all(
        first[k].dtype == second[k].dtype and bool(mx.array_equal(first.pop(k), second.pop(k)))
        for k in list(first)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=19)
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        size = write_model(root / "source", arguments.layers, arguments.vocab)
        results: dict[str, list[tuple[float, float, float]]] = {"edgelm": [], "mlx-lm": []}
        for _ in range(arguments.repeats):
            results["mlx-lm"].append(measure(MLX_LM, root / "source", root / "peer"))
            results["edgelm"].append(measure(EDGELM, root / "source", root / "ours"))
        same = same_tensors(root / "ours", root / "peer")
    print(
        f"source {size / 1e9:.2f} GB bfloat16, {arguments.layers} layers, {arguments.vocab} tokens;"
        f" median of {arguments.repeats}"
    )
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in results.items()
    }
    for name, (peak, seconds, processors) in medians.items():
        print(f"{name:8} peak RSS {peak / 1e6:7.0f} MB   {seconds:6.1f} s   processors {processors:6.1f} s")
    ratios = [one / other for one, other in zip(medians["edgelm"], medians["mlx-lm"], strict=True)]
    print(f"ratio    peak RSS {ratios[0]:7.2f}      {ratios[1]:6.2f}     processors {ratios[2]:6.2f}")
    print(f"tensors identical: {same}")


if __name__ == "__main__":
    main()
