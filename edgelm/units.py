"""Numbers as people read them: decimal sizes (as disks and Hub pages count), counts of things and short durations."""

from __future__ import annotations


def format_bytes(size_bytes: float) -> str:
    """Write a size in decimal units with three significant digits: `1_234_567` → `"1.23 MB"`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number of things: `(1, "row")` → `"1 row"`, `(1500, "row")` → `"1,500 rows"`; `plural` if not made by an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def singular(plural: str) -> str:
    """Return the singular of a plural: `"rows"` → `"row"`, `"batches"` → `"batch"`; another word as it is."""
    if plural.endswith(("ches", "xes", "sses")):
        return plural[:-2]
    return plural[:-1] if plural.endswith("s") and not plural.endswith("ss") else plural


def format_seconds(elapsed_s: float) -> str:
    """Write a duration: `75.0` → `"1:15"`, `0.25` → `"0.25 s"`."""
    if elapsed_s < 60:
        return f"{elapsed_s:.3g} s"
    minutes, seconds = divmod(round(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
