"""`edgelm doctor`: what this machine is, what it lacks for edgelm, and the remedy for each; `--metal` measures an Apple GPU."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelm.cli.commands.doctor.checks import (
    Check,
    check_backend,
    check_blas,
    check_compiler,
    check_demo,
    check_home,
    check_library,
    check_memory,
    check_open_files,
    check_prompt_cache,
    check_torch,
    check_version,
)
from edgelm.cli.commands.doctor.system import (
    check_architecture,
    check_former_caches,
    check_hidden_pth,
    check_power_assertion,
    check_terminal,
    site_directories,
    tool_checks,
)
from edgelm.cli.parsing.actions import add_force
from edgelm.cli.report_files import check_report
from edgelm.cli.show.output import console, print_json
from edgelm.errors import EdgeLMError
from edgelm.machine.condition import condition
from edgelm.units import format_bytes

__all__ = [
    "Check",
    "add_arguments",
    "check_backend",
    "check_blas",
    "check_compiler",
    "check_demo",
    "check_home",
    "check_library",
    "check_memory",
    "check_open_files",
    "check_prompt_cache",
    "check_torch",
    "check_version",
    "run",
    "run_checks",
]

EXAMPLES = ("edgelm doctor",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add = parser.add_argument
    add("--metal", action="store_true", help="measure what only an Apple GPU can tell, in a few minutes")
    add("--model", metavar="MODEL", help="what --metal measures with (default: the smallest in the library)")
    add("--seconds", type=float, default=60.0, metavar="S", help="of training in --metal (default 60)")
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the report there as JSON, and beside it as Markdown; names and paths of yours are left out",
    )
    add_force(parser)
    add("--json", action="store_true", help="print JSON on stdout")


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        EdgeLMError: something is broken.
        UnsupportedError: `--metal` without an Apple GPU.
        OutputError: the report cannot be written.
    """
    metal, model, output = (getattr(arguments, name, None) for name in ("metal", "model", "output"))
    if output is not None:
        check_report(output, arguments)
    if metal:
        from edgelm.cli.commands.doctor.metal import require_metal

        require_metal()
    checks = list(run_checks())
    said: dict[str, Any] = {"checks": checks}
    if metal:
        from edgelm.cli.commands.doctor.metal import measure

        said |= {"metal": measure(model, arguments.seconds)}
    if arguments.json:
        print_json(said)
    else:
        _show(checks)
        for line in said.get("metal", {}).get("lines", ()):
            print(line)
    if output is not None:
        from edgelm.cli.commands.doctor.report import write_report

        write_report(output, said)
    broken = [check.name for check in checks if check.status == "fail"]
    if broken:
        raise EdgeLMError(f"broken: {', '.join(broken)}", hint="the remedies are beside each line above")


def run_checks() -> Iterator[Check]:
    """Make every check, in the order shown. Imports MLX, never mlx_lm or transformers."""
    yield Check("Python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Check("platform", "ok", platform.platform())
    yield check_architecture()
    yield Check("condition", "ok", condition().line())
    for name in ("edgelm", "mlx", "mlx-lm", "transformers"):
        yield check_version(name)
    yield check_torch(importlib.util.find_spec("torch") is not None)
    if importlib.util.find_spec("mlx") is not None:
        yield from _check_machine()
    yield check_home()
    if importlib.util.find_spec("mlx") is not None:
        yield check_library()
    yield check_prompt_cache()
    yield from check_former_caches()
    yield check_demo()
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield check_power_assertion()
    yield check_hidden_pth(site_directories())
    yield check_terminal()
    if sys.platform == "darwin":
        yield from tool_checks()


def _check_machine() -> Iterator[Check]:
    from edgelm import device
    from edgelm.pricing.machine_rates import (
        measure_matmul_flops_per_s,
        measure_read_bytes_per_s,
        measure_round_trip_s,
    )

    machine = device.detect()
    yield check_backend(machine)
    yield check_memory(machine)
    flops_per_s = measure_matmul_flops_per_s()
    if machine.backend == "cpu":
        yield check_blas(machine, flops_per_s)
        yield check_compiler(machine, device.compile_failure() if machine.compiler else None)
    yield Check("matmul", "ok", _products(flops_per_s))
    yield Check("memory reads", "ok", f"{format_bytes(measure_read_bytes_per_s())}/s measured")
    yield Check(
        "round trip", "ok", f"{measure_round_trip_s() * 1e6:,.0f} µs from asking for a number to having it"
    )


def _products(float32_flops_per_s: float) -> str:
    import mlx.core as mx

    from edgelm.pricing.machine_rates import measure_half_flops_per_s

    rates = {
        "float32": float32_flops_per_s,
        "float16": measure_half_flops_per_s(mx.float16),
        "bfloat16": measure_half_flops_per_s(mx.bfloat16),
    }
    return ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in rates.items())


def _show(checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in checks:
        table.add_row(Text(check.status, style=colours[check.status]), Text(check.name), Text(check.value))
        if check.raw is not None:
            table.add_row("", "", Text(f"said: {' | '.join(check.raw.split(chr(10)))[:300]}", style="dim"))
        if check.remedy is not None:
            table.add_row("", "", Text(f"→ {check.remedy}"))
    console().print(table)
