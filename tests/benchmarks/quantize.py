"""KL to the source of edgelm's qualities beside round-to-nearest and mlx-lm's quantizers, at equal bytes, in one run.

    python tests/benchmarks/quantize.py smollm2 --bits 4,3,2
    python tests/benchmarks/quantize.py MODEL_DIRECTORY --peers gptq,awq,dynamic

Every candidate is written to disk as a model directory (edgelm's by `edgelm.convert`, mlx-lm's by its own
functions) and measured from there, dequantized in float32 on held-out text of six domains. All quantize every
tensor, the embedding included, to the same widths in groups of 64, and calibrate on the same number of shipped tokens.
mlx-lm's GPTQ packs only 2, 4 and 8 bits; at 3 its own packing function is replaced by edgelm's. It leaves embeddings
to a "fallback", which is set to the same width. The last lines say which of the project's bars are met. With
`--json FILE` what was measured is kept as it comes: the same command goes on where an earlier one was stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgelm_converters  # noqa: F401 - puts OpenBLAS in front before mlx is imported

# isort: split
import mlx.core as mx

from edgelm import corpus
from edgelm.evaluate.compare import Comparison, score_against, summarise
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Measuring, held_out_rows
from edgelm.evaluate.scores import Estimate, mean_estimate
from edgelm.model.load import load
from edgelm_converters.convert import convert

QUALITIES = ("rtn", "fast", "good", "best")


class Kept:
    """What was measured, by candidate, in a file if one is named; of one source and one way of measuring."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path: Path | None = arguments.json
        names = ("source", "group_size", "tokens", "peer_tokens", "held_out_tokens", "seed")
        self.settings = {name: getattr(arguments, name) for name in names}
        self.found: dict[str, dict[str, Any]] = {}
        if self.path is not None and self.path.exists():
            kept = json.loads(self.path.read_text())
            if kept["settings"] != self.settings:
                raise SystemExit(
                    f"{self.path} was measured with {kept['settings']}, expected {self.settings}"
                )
            self.found = kept["found"]

    def write(self) -> None:
        if self.path is not None:
            self.path.write_text(json.dumps({"settings": self.settings, "found": self.found}))


class Bench:
    """One source, measured candidate by candidate."""

    def __init__(self, arguments: argparse.Namespace, root: Path) -> None:
        self.arguments, self.root = arguments, root
        self.source = root / "source"
        convert(arguments.source, self.source, mode="none", dtype="bfloat16", verify=False)
        loaded = load(self.source, check_fit=False)
        self.tokenizer = loaded.tokenizer
        rows = held_out_rows(
            self.tokenizer, Measuring(tokens=arguments.held_out_tokens, length=256, seed=arguments.seed)
        )
        self.reference = Reference(loaded.network, rows)
        self.kept = Kept(arguments)
        self.found = self.kept.found
        for name, entry in self.found.items():
            print(f"{name:14} KL {entry['kl']:7.4f} ± {entry['error']:.4f}  (measured before)")

    def once(self, name: str, make: Callable[[], Path]) -> None:
        """Have `make` write the candidate and measure it, unless that was done before."""
        if name not in self.found:
            started = time.monotonic()
            self.measure(name, make(), time.monotonic() - started)

    def ours(self, name: str, **settings: Any) -> None:
        """Convert by edgelm and measure."""
        calibrated = settings.get("quality") in ("good", "best") or "bpw" in settings
        if calibrated:
            settings = {"calibration_tokens": self.arguments.tokens, **settings}
        if "bpw" not in settings:  # a budget chooses groups too
            settings["group_size"] = self.arguments.group_size
        settings = {"dtype": "bfloat16", "verify": False, "loss_tokens": 0, **settings}
        self.once(name, lambda: convert(self.source, self.root / name, **settings).directory)

    def measure(self, name: str, directory: Path, elapsed_s: float) -> None:
        loaded = load(directory, check_fit=False)
        scores = score_against(self.reference, loaded.network)
        result = summarise(scores)
        size = sum(path.stat().st_size for path in directory.glob("model*.safetensors"))
        self.found[name] = {
            "kl": result.mean_kl.value, "error": result.mean_kl.standard_error, "bytes": size,
            "rows": [[float(row.kl.sum()), row.tokens] for row in scores],
        }  # fmt: skip
        self.kept.write()
        _show(name, result, size, elapsed_s)
        shutil.rmtree(directory)

    def rows(self, length: int = 512) -> mx.array:
        """The shipped calibration text as mlx-lm's quantizers take it [N, T]."""
        tokens = self.arguments.peer_tokens or self.arguments.tokens
        return mx.array(corpus.token_rows(self.tokenizer, corpus.calibration_text(), tokens, length, 0))

    def peer(self, name: str, kind: str, bits: int) -> None:
        """Quantize by mlx-lm, save by mlx-lm, and measure."""
        self.once(name, lambda: self._by_mlx_lm(self.root / name, kind, bits))

    def _by_mlx_lm(self, directory: Path, kind: str, bits: int) -> Path:
        from mlx_lm.utils import load as mlx_lm_load
        from mlx_lm.utils import save

        model, tokenizer, config = mlx_lm_load(str(self.source), return_config=True)  # type: ignore[misc]
        model.set_dtype(mx.float32)  # half precision crawls on the CPU
        model, config = PEERS[kind](model, config, self.rows(), bits, self.arguments.group_size)
        model.set_dtype(mx.bfloat16)
        save(directory, str(self.source), model, tokenizer, config)
        return directory


def gptq(
    model: Any, config: dict[str, Any], rows: mx.array, bits: int, group: int
) -> tuple[Any, dict[str, Any]]:
    from mlx_lm.quant import gptq as module

    from edgelm.quant.matrix.affine import Grid

    def packed(weight: mx.array, _: int, scales: mx.array, biases: mx.array) -> mx.array:
        grid = Grid(bits, group, mx.float32, scales, biases)
        return grid.packed(grid.encode(weight))["weight"]

    own = module.quantize
    if bits not in (2, 4, 8):
        module.quantize = packed
    try:
        model, settings = module.gptq_quantize(model, rows, bits, group, bits, group, batch_size=4)
    finally:
        module.quantize = own
    return model, {**config, "quantization": settings}


def awq(
    model: Any, config: dict[str, Any], rows: mx.array, bits: int, group: int
) -> tuple[Any, dict[str, Any]]:
    from mlx_lm.quant.awq import AWQ_MODEL_CONFIGS, awq_quantize, update_config

    awq_quantize(
        model, rows, AWQ_MODEL_CONFIGS[config["model_type"]], bits=bits, group_size=group, embed_bits=bits,
        embed_group_size=group, n_grid=10,
    )  # fmt: skip
    return model, update_config(model, config)


def dynamic(
    model: Any, config: dict[str, Any], rows: mx.array, bits: int, group: int
) -> tuple[Any, dict[str, Any]]:
    """mlx-lm's dynamic quantization at this width on average, between one less and one more.

    At 2 bits, where there is no width below, between 2 and 3 at a half more.
    """
    from mlx_lm.quant.dynamic_quant import estimate_sensitivities, estimate_threshold
    from mlx_lm.utils import quantize_model

    low, high = max(2, bits - 1), bits + 1
    found = dict(estimate_sensitivities(model, rows[:8, :256], low, group, high, group, batch_size=2))
    target = (bits if low < bits else bits + 0.5) + 32 / group
    counted = copy.deepcopy(model)
    counted.set_dtype(mx.bfloat16)  # as saved: scales count towards the target with the bits they will have
    threshold = estimate_threshold(counted, found, target, low, group, high, group)

    def choose(path: str, module: Any) -> Any:
        if not hasattr(module, "to_quantized"):
            return False
        return {"bits": high, "group_size": group} if found[path] > threshold else True

    model, config = quantize_model(model, config, group_size=group, bits=low, quant_predicate=choose)
    return model, config


PEERS = {"gptq": gptq, "awq": awq, "dynamic": dynamic}


def _show(name: str, result: Comparison, size: int, elapsed_s: float) -> None:
    domains = " ".join(f"{domain[:5]} {kl.value:.3f}" for domain, kl in result.kl_by_domain.items())
    print(
        f"{name:14} KL {result.mean_kl.value:7.4f} ± {result.mean_kl.standard_error:.4f}  top-1"
        f" {result.top1_agreement.value:6.1%}  ppl {result.perplexity.value:8.2f}  {size / 1e6:7.2f} MB"
        f"  {elapsed_s:5.0f} s  | {domains}",
        flush=True,
    )


def gained(worse: dict[str, Any], better: dict[str, Any]) -> Estimate:
    """How far the mean KL of one lies below that of another on the same rows: less noisy than two means."""
    pairs = list(zip(worse["rows"], better["rows"], strict=True))
    return mean_estimate([one[0] - other[0] for one, other in pairs], [one[1] for one, _ in pairs])


def bars(found: dict[str, dict[str, Any]], widths: list[int]) -> list[tuple[str, bool]]:
    """The bars that this run can judge."""
    kl = {name: entry["kl"] for name, entry in found.items()}
    checks: list[tuple[str, bool]] = []

    def ratio(one: str, other: str, limit: float) -> None:
        if one in kl and other in kl:
            value = kl[one] / kl[other]
            checks.append((f"{one} / {other} = {value:.3f}, bar {limit}", value <= limit))

    for bits in widths:
        if bits > 2:
            ratio(f"best-{bits}", f"rtn-{bits}", 0.25)
            ratio(f"best-{bits}", f"gptq-{bits}", 0.5)
            ratio(f"other-{bits}", f"rtn-{bits}", 0.25)
        ratio(f"good-{bits}", f"rtn-{bits}", 0.4)
        mixed, uniform = found.get(f"mixed-{bits}"), found.get(f"best-{bits}")
        if mixed and uniform:
            gain = gained(uniform, mixed)
            says = (
                f"mixed-{bits} below best-{bits} by {gain.value:.4f} ± {gain.standard_error:.4f}, row by row"
            )
            is_smaller = mixed["bytes"] <= uniform["bytes"]
            checks.append((says, gain.value > gain.standard_error and is_smaller))
    ratio("best-3", "rtn-4", 1.0)
    return checks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("source")
    add("--bits", default="4,3,2")
    add("--group-size", type=int, default=64)
    add("--methods", default=",".join(QUALITIES))
    add("--peers", default="gptq")
    add("--tokens", type=int, default=16384, help="to calibrate on")
    add("--peer-tokens", type=int, default=0, help="for the peers (default: as many)")
    add("--held-out-tokens", type=int, default=8192)
    add("--seed", type=int, default=0)
    add("--mixed", action="store_true", help="also budgeted widths at the bytes of the uniform ones")
    add("--other-domain", action="store_true", help="also calibrate best on code alone")
    add("--json", type=Path, help="keep what was measured here, and go on from it")
    arguments = parser.parse_args()
    widths = [int(bits) for bits in arguments.bits.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(arguments, Path(temporary))
        print(
            f"{arguments.source}: {arguments.tokens} tokens to calibrate on, {arguments.held_out_tokens} held out"
        )
        for bits in widths:
            for quality in filter(None, arguments.methods.split(",")):
                bench.ours(f"{quality}-{bits}", bits=bits, quality=quality)
            for kind in filter(None, arguments.peers.split(",")):
                bench.peer(f"{kind}-{bits}", kind, bits)
            if arguments.mixed:
                # The bits per weight of uniform `bits`, embedding included.
                bench.ours(f"mixed-{bits}", bpw=bits + 32 / arguments.group_size, quality="best")
            if arguments.other_domain:
                code = Path(temporary) / "code.txt"
                code.write_text("\n\n".join(corpus.documents("calibration", "code")), encoding="utf-8")
                bench.ours(f"other-{bits}", bits=bits, quality="best", calibration=str(code))
    for says, is_met in bars(bench.found, widths):
        print(f"{'met    ' if is_met else 'NOT MET'} {says}")


if __name__ == "__main__":
    main()
