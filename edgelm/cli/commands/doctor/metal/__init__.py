"""`edgelm doctor --metal`: what only an Apple GPU can tell, measured with one model; each measurement runs on any backend."""

from __future__ import annotations

from typing import Any

from edgelm.errors import NotFoundError, UnsupportedError

Table = list[list[str]]


def require_metal() -> None:
    """Refuse where MLX has no Apple GPU.

    Raises:
        UnsupportedError: it computes on something else.
    """
    from edgelm import device

    backend = device.detect().backend
    if backend != "metal":
        raise UnsupportedError(
            f"doctor --metal measures an Apple GPU, and MLX computes on {backend} here",
            hint="edgelm doctor reports on this machine; run --metal on a Mac with Apple silicon",
        )


def measure(model: str | None, seconds: float) -> dict[str, Any]:
    """Measure all parts with `model` or the smallest of the library, as what JSON can hold: figures, tables and lines.

    Raises:
        NotFoundError: there is no model.
        FitError, EngineError: it does not fit, or MLX failed outside training.
    """
    from edgelm.cli.commands.doctor.metal.kv_memory import measure_kv_memory
    from edgelm.cli.commands.doctor.metal.training import measure_training
    from edgelm.cli.commands.doctor.metal.widths import measure_widths
    from edgelm.cli.show.output import say
    from edgelm.library.models import resolve
    from edgelm.machine.power import kept_awake

    directory = resolve(model or _smallest())
    found: dict[str, Any] = {"model": directory.name}
    with kept_awake():
        say("comparing answers by the width of a step")
        found["widths"] = measure_widths(directory)
        say("memory of a quantized KV cache")
        found["kv_memory"] = measure_kv_memory(directory)
        say(f"training for {seconds:g} s; leave the display on")
        found["training"] = measure_training(directory, seconds)
    tables = {part: found[part].table() for part in ("widths", "kv_memory", "training")}
    lines = [" ".join(cell.rjust(14) for cell in row) for rows in tables.values() for row in [*rows, [""]]]
    return {**found, "tables": tables, "lines": [f"measured with {directory.name}", *lines]}


def _smallest() -> str:
    from edgelm.library.models import installed

    usable = [model for model in installed() if model.problem is None]
    if not usable:
        raise NotFoundError("there is no model to measure with", hint="edgelm convert smollm2 makes one")
    return min(usable, key=lambda model: model.size_bytes).name
