"""What this machine is, and what is safe to ask of it.

The policies are pure functions of a `Device`, so that another machine can be
simulated. Knows nothing about models; imports MLX only inside functions.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgelm import log
from edgelm.blas import preload_blas
from edgelm.blas.compiler import find_compiler
from edgelm.errors import OptionError
from edgelm.machine.gpu import chips
from edgelm.machine.gpu.cores import gpu_cores
from edgelm.machine.memory import GIB, Memory, measure_memory

Backend = Literal["metal", "cuda", "cpu"]


@dataclass(frozen=True, slots=True)
class Device:
    """The machine that runs a model. The memory of a GPU that has its own is that GPU's."""

    backend: Backend
    chip: str
    """"Apple M3 Pro", or the name of the CPU or GPU."""
    generation: int | None
    """3 for any M3; None if it is not Apple's."""
    memory_bytes: int
    available_bytes: int
    """What can be had now without swapping."""
    working_set_bytes: int | None
    """What Metal recommends to keep resident; None off Metal."""
    bandwidth_bytes_per_s: int | None
    """The bandwidth of the memory that weights are read from; None if not known."""
    cpu_cores: int | None
    has_fast_blas: bool
    compiler: str | None
    """Path of the C++ compiler that MLX's CPU backend calls from `mx.compile`."""


def detect() -> Device:
    """Return this machine, as MLX's default device sees it."""
    has_fast_blas = preload_blas()
    import mlx.core as mx

    facts = mx.device_info()
    memory = measure_memory()
    cores = os.cpu_count()
    backend = _backend(mx)
    name = _cpu_name() if backend == "cpu" else str(facts.get("device_name", "unknown GPU"))
    chip = chips.find_chip(name) if backend == "metal" else None
    if backend == "cuda":
        total = int(facts.get("total_memory", memory.total_bytes))
        memory = Memory(total, int(facts.get("free_memory", total)))
    working_set = facts.get("max_recommended_working_set_size") if backend == "metal" else None
    return Device(
        backend=backend,
        chip=name,
        generation=chips.generation_of(name) if backend == "metal" else None,
        memory_bytes=memory.total_bytes,
        available_bytes=memory.available_bytes,
        working_set_bytes=int(working_set) if working_set else None,
        bandwidth_bytes_per_s=chip.bandwidth_with(cores, gpu_cores()) if chip else None,
        cpu_cores=cores,
        has_fast_blas=has_fast_blas,
        compiler=find_compiler(),
    )


def simulate(chip: str, memory_gb: float) -> Device:
    """Return an idle Mac with `chip` ("M3 Pro") and `memory_gb` of memory (as sold: 18 means 18 GiB).

    Raises:
        OptionError: there is no such chip, or no such amount of memory.
    """
    if not 1 <= memory_gb <= 4096:
        raise OptionError(f"memory is {memory_gb:g} GB, expected 1 to 4096")
    known = chips.require_chip(chip)
    total = int(memory_gb * GIB)
    return Device(
        backend="metal",
        chip=f"Apple {known.name}",
        generation=known.generation,
        memory_bytes=total,
        available_bytes=total,
        working_set_bytes=None,
        bandwidth_bytes_per_s=known.bandwidth_with(memory_gb=memory_gb),
        cpu_cores=None,
        has_fast_blas=True,
        compiler=None,
    )


def _backend(mx: Any) -> Backend:
    if mx.default_device() == mx.Device(mx.cpu):
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    if match:
        return match[1].strip()
    import platform

    return platform.processor() or platform.machine()


def configure_mlx(device: Device) -> None:
    """Set MLX up for `device`; safe to call again.

    On the CPU, `mx.compile` calls `g++` when a kernel first runs. Without one MLX runs uncompiled by
    itself; with one that fails (no headers, no writable temporary directory) every compiled function
    would raise in the middle of an answer, so one is tried here and compilation is turned off if it fails.
    """
    import mlx.core as mx

    if device.backend == "cpu":
        if device.compiler is None:
            log.logger.info("no g++ on the path: MLX runs uncompiled, slower")
            mx.disable_compile()
        elif (reason := compile_failure()) is not None:
            log.logger.warning("mx.compile fails, so MLX runs uncompiled: %s", reason)
            mx.disable_compile()
    mx.set_cache_limit(cache_limit_bytes(device, mx.get_active_memory()))


def settle_memory(device: Device, *, wire: bool = True) -> None:
    """Bound MLX's buffer cache and, on Metal, what is wired, by what is in use now: after a model came, and after one left.

    Buffers that nobody uses are given back first. A wired limit stays until another is set: without this, a small model
    would inherit a large one's. Waits for what is under way, since wired memory must not change beneath it.

    Args:
        wire: whether a model near the limit may be wired.
    """
    import mlx.core as mx

    mx.synchronize()
    mx.clear_cache()
    in_use_bytes = mx.get_active_memory()
    mx.set_cache_limit(cache_limit_bytes(device, in_use_bytes))
    if device.backend == "metal":
        mx.set_wired_limit((wired_limit_bytes(device, in_use_bytes) if wire else None) or 0)


def compile_failure() -> str | None:
    """Return why MLX cannot compile on this CPU, None if it can.

    Takes a second the first time; MLX keeps the kernel on the disk.
    """
    import mlx.core as mx

    probe = mx.compile(lambda x: mx.exp(x) * x + 1)
    try:
        mx.eval(probe(mx.ones((4,), stream=mx.cpu)))
    except RuntimeError as error:
        return str(error).strip()
    return None


@dataclass(frozen=True, slots=True)
class Pace:
    """How much of a conversion is handed to the backend at once.

    A wait for a GPU costs as much time as a million weights, and it fills its cores only with large arrays; a CPU is as
    fast with small ones, which fit its caches.
    """

    chunks: int
    """Chunks of 2^18 weights whose scales are searched together."""
    candidates: int
    """Candidates of a search, and blocks of columns of GPTQ, that are computed before Python waits for them."""
    reused_bytes: int
    """Freed buffers that MLX may keep where weights go through once, one tensor after the other."""


_PACES: dict[Backend, Pace] = {
    "cpu": Pace(chunks=1, candidates=1, reused_bytes=0),
    "metal": Pace(chunks=16, candidates=4, reused_bytes=512 << 20),
    "cuda": Pace(chunks=16, candidates=4, reused_bytes=512 << 20),
}


def conversion_pace(backend: Backend) -> Pace:
    """Return the pace of a conversion on `backend`. It changes no bit of what is computed."""
    return _PACES[backend]


def current_pace() -> Pace:
    """Return `conversion_pace` of MLX's default device."""
    import mlx.core as mx

    return conversion_pace(_backend(mx))


def preferred_dtype(device: Device) -> Literal["float16", "bfloat16"]:
    """Return the half precision to convert to. M1 and M2 have no native bfloat16: float16 prefills 1.8x faster."""
    return "float16" if device.generation in (1, 2) else "bfloat16"


def runtime_dtype(device: Device) -> Literal["float32"] | None:
    """Return what floating parameters are cast to at load, None for as stored: half precision crawls on the CPU."""
    return "float32" if device.backend == "cpu" else None


def prefers_float16(device: Device) -> bool:
    """Return whether bfloat16 parameters run faster as float16: on M1 and M2, 1.3 to 1.8 times (measured by others)."""
    return device.backend == "metal" and device.generation in (1, 2)


def should_dequantize(device: Device, dense_bytes: int) -> bool:
    """Return whether to unpack quantized weights, `dense_bytes` in float32: on the CPU, where that fits."""
    return device.backend == "cpu" and dense_bytes <= memory_budget_bytes(device)


def recommended_working_set_bytes(device: Device) -> int:
    """Return what Metal says; for a Mac that is simulated, what Metal was seen to say on one with as much memory.

    macOS has no documented rule. Reported by `device_info()` and llama.cpp of macOS 15.5 and later: 11.84 of 16 GiB, 17.76
    of 24, 24.96 of 32, 28.08 of 36, 37.44 of 48, 51.84 of 64, 107.52 of 128 on two chips, 208 of 256, 464 of 512; 5.33 of 8.
    """
    if device.working_set_bytes is not None:
        return device.working_set_bytes
    memory = device.memory_bytes
    if memory > 128 * GIB:
        return max(memory - 48 * GIB, 128 * GIB * 84 // 100)
    percent = next(percent for from_gib, percent in _WORKING_SETS if memory >= from_gib * GIB)
    return memory * percent // 100


_WORKING_SETS = ((128, 84), (64, 81), (32, 78), (16, 74), (0, 66))
"""From so many GiB of memory: percent of it that Metal recommends."""


def memory_budget_bytes(device: Device) -> int:
    """Return the bytes that weights, KV cache and workspace may take together without swapping.

    Metal: 95% of the recommended working set, since macOS makes room for it by evicting other
    programs' pages. Elsewhere nothing does: 90% of what is available now.
    """
    if device.backend == "metal":
        return recommended_working_set_bytes(device) * 95 // 100
    return min(device.available_bytes, device.memory_bytes) * 90 // 100


def cache_limit_bytes(device: Device, in_use_bytes: int) -> int:
    """Return what to give `mx.set_cache_limit`: a quarter of the slack, but 2% to 10% of the memory.

    MLX's own default is the whole memory limit, which makes small Macs swap.
    """
    slack = max(0, memory_budget_bytes(device) - in_use_bytes)
    low, high = device.memory_bytes * 2 // 100, device.memory_bytes // 10
    return min(max(slack // 4, low), high)


def prefix_pool_bytes(device: Device, in_use_bytes: int) -> int:
    """Return what computed prompts may take in memory between requests: a quarter of the slack, 16 GiB at most."""
    slack = max(0, memory_budget_bytes(device) - in_use_bytes)
    return min(slack // 4, 16 * GIB)


def wired_limit_bytes(device: Device, in_use_bytes: int) -> int | None:
    """Return what to give `mx.set_wired_limit` once after a model was loaded; None is to wire nothing.

    Wiring the whole working set while caches grow is implicated in kernel panics (mlx #3186), but macOS pages a
    model near the limit out between tokens (measured by others: 0.73 against 31.5 token/s). So only from
    three quarters of what Metal recommends, and only what is in use then.
    """
    if device.backend != "metal":
        return None
    recommended = recommended_working_set_bytes(device)
    return min(in_use_bytes, recommended) if in_use_bytes >= recommended * 3 // 4 else None
