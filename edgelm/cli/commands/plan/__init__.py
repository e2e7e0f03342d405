"""`edgelm plan`: whether a model fits and how fast it can be, here or on another Mac, without loading it."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgelm.cli.commands.plan import training
from edgelm.cli.parsing.flags import refuse_together
from edgelm.cli.show.output import console, print_json, say
from edgelm.errors import OptionError
from edgelm.machine.memory import GIB
from edgelm.units import count, format_bytes

if TYPE_CHECKING:
    from edgelm.device import Device
    from edgelm.model.described import Described
    from edgelm.pricing.fit import Fit

EXAMPLES = (
    "edgelm plan smollm2-135m-instruct-4bit",
    "edgelm plan Qwen/Qwen3-8B --bits 4 --chip 'M3 Pro' --memory 18",
    "edgelm plan smollm2-135m-instruct-4bit --tune --data examples.jsonl",
)

_WHAT_IF_BITS = (8, 6, 4, 3)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """How fast the memory is that weights are read from."""

    bytes_per_s: float | None
    source: str
    """"published", "measured" or "unknown"."""


@dataclass(frozen=True)
class InferencePlan:
    """One way to run the model."""

    bits: int | None
    """Quantized to so many bits; None is as stored."""
    bits_per_weight: float | None
    fit: Fit
    decode_roof_tokens_per_s: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="what is installed, or what `edgelm convert` takes (only headers are read)",
    )
    add("--chip", metavar="NAME", help='plan for another Mac, as "M3 Pro"; needs --memory')
    add("--memory", type=float, metavar="GB", help="that Mac's memory, as sold")
    add("--context", type=int, metavar="N", help="tokens to make room for (default 4096, or the model's own)")
    add("--bits", type=int, metavar="{2,3,4,5,6,8}", help="plan it as quantized to so many bits")
    add("--json", action="store_true", help="print JSON on stdout")
    training.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from edgelm_converters.describe import describe

    device = _device(arguments)
    if arguments.context is not None and arguments.context < 1:
        raise OptionError(f"context is {arguments.context}, expected 1 or more tokens")
    if arguments.tune:
        refuse_together(arguments, "--tune, which plans training the weights as they are", "bits", "context")
    else:
        training.refuse_without_tune(arguments)
    model, is_ahead = describe(arguments.model, bits=arguments.bits)
    if is_ahead:
        say(f"{arguments.model} is not converted yet: this plans what converting it makes")
        if arguments.tune and arguments.data:
            raise OptionError(
                "--data needs the model's tokenizer, and the model is not converted yet",
                hint=f"edgelm convert {shlex.quote(arguments.model)} first",
            )
    if arguments.tune:
        training.run(arguments, model, device)
        return
    bandwidth = _bandwidth(device, is_simulated=arguments.chip is not None)
    plans = _plans(model, device, bandwidth, arguments, is_ahead=is_ahead)
    if arguments.json:
        sizes = {"size_bytes": model.size_bytes, "weights_bytes": model.weights_bytes}
        print_json({"model": model.name, **sizes, "device": device, "bandwidth": bandwidth, "plans": plans})
    else:
        _show(model, device, bandwidth, plans)


def _device(arguments: argparse.Namespace) -> Device:
    from edgelm import device

    if (arguments.chip is None) != (arguments.memory is None):
        given, missing = ("--chip", "--memory") if arguments.memory is None else ("--memory", "--chip")
        raise OptionError(f"{given} needs {missing}", hint='for example --chip "M3 Pro" --memory 18')
    return device.detect() if arguments.chip is None else device.simulate(arguments.chip, arguments.memory)


def _bandwidth(device: Device, *, is_simulated: bool) -> Bandwidth:
    """Apple's figure where there is one; else a measurement, if the device is this one."""
    if device.bandwidth_bytes_per_s is not None:
        return Bandwidth(device.bandwidth_bytes_per_s, "published")
    if is_simulated:
        return Bandwidth(None, "unknown")
    from edgelm.pricing.machine_rates import measure_read_bytes_per_s

    return Bandwidth(measure_read_bytes_per_s(), "measured")


def _plans(
    model: Described, device: Device, bandwidth: Bandwidth, arguments: argparse.Namespace, *, is_ahead: bool
) -> list[InferencePlan]:
    """Price the model as asked; else as stored and, where that would help, at other widths."""
    from edgelm.pricing.fit import decode_roof_tokens_per_s, price, trace
    from edgelm.pricing.weight_bytes import bits_per_weight, is_quantized, quantize_headers

    cache = trace(model.config, model.directory)
    # Of a source that is not converted yet, the widths are in its description already.
    widths = [arguments.bits] if arguments.bits is not None and not is_ahead else [None]
    if arguments.bits is None and device.backend != "cpu" and not is_quantized(model.headers, model.config):
        widths += _WHAT_IF_BITS
    plans = []
    for bits in widths:
        headers = model.headers if bits is None else quantize_headers(model.headers, model.config, bits)
        config = model.config if bits is None else {**model.config, "quantization": {"bits": bits}}
        fit = price(headers, cache, config, device, context=arguments.context)
        roof = decode_roof_tokens_per_s(fit, bandwidth.bytes_per_s)
        plans.append(InferencePlan(bits, None if bits is None else bits_per_weight(bits), fit, roof))
    return plans


def _show(model: Described, device: Device, bandwidth: Bandwidth, plans: list[InferencePlan]) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    # Memory is sold in GiB, whatever the label says.
    screen.print(Text(f"{model.name} on {device.chip} with {device.memory_bytes / GIB:.3g} GiB"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column()
    table.add_row("size", Text(_size_text(model)))
    for name, value in _lines(plans[0], device, bandwidth):
        table.add_row(name, Text(value))
    screen.print(table)
    if len(plans) > 1:
        screen.print(Text("\nquantized (edgelm convert --bits):"))
        screen.print(_what_if(plans[1:]))


def _lines(plan: InferencePlan, device: Device, bandwidth: Bandwidth) -> list[tuple[str, str]]:
    fit = plan.fit
    width = f" at {plan.bits} bits" if plan.bits is not None else ""
    cast = ", as float32" if device.backend == "cpu" else ""
    return [
        ("weights", f"{format_bytes(fit.weights_bytes)} in memory{width}{cast}"),
        ("KV cache", _cache_text(fit)),
        ("workspace", _workspace_text(fit)),
        ("in all", f"{format_bytes(fit.total_bytes)} of {format_bytes(fit.budget_bytes)} safe to use"),
        ("verdict", _verdict_text(fit)),
        ("longest context", "unknown" if fit.max_context is None else f"{count(fit.max_context, 'token')}"),
        ("decode", _roof_text(plan, bandwidth)),
    ]


def _size_text(model: Described) -> str:
    """Return the model's size on the disk, as `edgelm models` says it."""
    weights = f"weights {format_bytes(model.weights_bytes)}"
    return weights if model.size_bytes is None else f"{format_bytes(model.size_bytes)}, of which {weights}"


def _cache_text(fit: Fit) -> str:
    if fit.kv_bytes is None or fit.kv_bytes_per_token is None:
        return "unknown: this architecture's cache cannot be told from its config"
    growth = f"{format_bytes(1000 * fit.kv_bytes_per_token)} for each 1,000 tokens"
    return f"{growth}; {format_bytes(fit.kv_bytes)} at {fit.context_tokens:,}"


def _workspace_text(fit: Fit) -> str:
    if fit.workspace_bytes is None:
        return "unknown"
    return f"{format_bytes(fit.workspace_bytes)}, {count(fit.chunk_tokens, 'token')} of the prompt at once"


def _verdict_text(fit: Fit) -> str:
    missing = f" (without {' and '.join(fit.unknown)}, which are unknown)" if fit.unknown else ""
    return f"{fit.verdict} at {count(fit.context_tokens, 'token')}{missing}"


def _roof_text(plan: InferencePlan, bandwidth: Bandwidth) -> str:
    if bandwidth.bytes_per_s is None or plan.decode_roof_tokens_per_s is None:
        return "unknown"
    # A published bandwidth is never exceeded; a measured one also holds what else the machine was doing.
    bound = "at most" if bandwidth.source == "published" else "about"
    speed = f"{format_bytes(bandwidth.bytes_per_s)}/s {bandwidth.source}"
    return f"{bound} {_speed_text(plan.decode_roof_tokens_per_s)} token/s (memory bandwidth, {speed})"


def _speed_text(tokens_per_s: float) -> str:
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 10 else f"{tokens_per_s:.2g}"


def _what_if(plans: list[InferencePlan]) -> object:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("bits", "weights", "in all", "longest context", "decode at most, token/s"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for plan in plans:
        fit, roof = plan.fit, plan.decode_roof_tokens_per_s
        context = "unknown" if fit.max_context is None else f"{fit.max_context:,}"
        speed = "unknown" if roof is None else _speed_text(roof)
        table.add_row(
            str(plan.bits), format_bytes(fit.weights_bytes), format_bytes(fit.total_bytes), context, speed,
            fit.verdict,
        )  # fmt: skip
    return table
