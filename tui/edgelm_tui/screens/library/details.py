"""Everything about one model or adapter: numbers, verdict, receipt, lineage."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from edgelm.units import format_bytes
from edgelm_tui.engine.events import FitKnown
from edgelm_tui.screens.library.entries import Entry, ago, lineage, short_source
from edgelm_tui.shell.text.shown_paths import with_tilde

_COLOURS = {"fits": "$text-success", "tight": "$text-warning", "does not fit": "$text-error"}


class Details(VerticalScroll):
    """Shows one entry."""

    DEFAULT_CSS = """
    Details { border-left: solid $border-blurred; padding: 0 1; width: 1fr; }
    Details > .text { height: auto; }
    """

    def compose(self) -> ComposeResult:
        """Make the one text."""
        yield Static("", classes="text", markup=False)

    def show(self, entry: Entry | None, entries: Sequence[Entry], fit: FitKnown | None) -> None:
        """Show one entry; None is that none is chosen."""
        content = Content("nothing is chosen") if entry is None else _content(entry, entries, fit)
        self.query_one(Static).update(content)


def verdict(fit: FitKnown | None) -> Content:
    """Say in a word, coloured, whether a model fits; it reads the same without colour."""
    if fit is None:
        return Content("…")
    return Content.styled(fit.verdict or "unknown", _COLOURS.get(fit.verdict, "$foreground-muted"))


def _content(entry: Entry, entries: Sequence[Entry], fit: FitKnown | None) -> Content:
    parts: list[Content | str] = [Content.styled(entry.name, "bold"), f"  {entry.kind}\n"]
    if entry.problem:
        parts += [Content.styled(entry.problem, "$text-error"), "\n"]
    if entry.kind == "model" and not entry.problem:
        parts += [verdict(fit), f"  {fit.detail}" if fit else "", "\n"]
    facts = [
        ("size", format_bytes(entry.size_bytes)),
        ("bits per weight", f"{entry.bits:.3g}" if entry.bits else ""),
        ("measured loss", entry.loss),
        ("architecture", entry.architecture),
        ("context", f"{entry.context_length:,} tokens" if entry.context_length else ""),
        ("for", entry.base),
        ("source", short_source(entry.source)),
        ("licence", entry.licence),
        ("created", entry.created),
        ("last used", ago(entry.used) if entry.kind == "model" else ""),
        ("directory", with_tilde(entry.directory)),
    ]
    parts += [_line(label, value) for label, value in facts if value]
    parts += ["\n", Content.styled("Lineage", "bold"), "\n", "\n".join(lineage(entry, entries)), "\n"]
    if entry.details:
        title = "Receipt" if entry.kind == "model" else "Settings"
        parts += ["\n", Content.styled(title, "bold"), "\n", *(_line(*fact) for fact in entry.details)]
    return Content("").join(parts)


def _line(label: str, value: str) -> Content:
    return Content.assemble((label.ljust(16), "$foreground-muted"), value, "\n")
