"""What the library holds: models and adapters, with where they come from and what was built on them.

Plain values, read from the disk; knows no widget.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from edgelm import paths
from edgelm.errors import EdgeLMError
from edgelm.units import format_bytes

SORTS = ("name", "size", "bits", "used")


@dataclass(frozen=True)
class Entry:
    """One model or adapter."""

    name: str
    kind: Literal["model", "adapter"]
    directory: Path
    size_bytes: int
    bits: float | None = None
    loss: str = ""
    """What quantization cost, as it was measured."""
    used: float | None = None
    """Seconds since 1970."""
    source: str = ""
    licence: str = ""
    created: str = ""
    architecture: str = ""
    context_length: int | None = None
    base: str = ""
    """The model that an adapter is for."""
    problem: str | None = None
    details: tuple[tuple[str, str], ...] = ()
    """More, as label and value."""

    @property
    def key(self) -> str:
        """What no other entry has: an adapter may be called like a model."""
        return f"{self.kind}/{self.name}"


def read_entries() -> list[Entry]:
    """Read everything that is installed, by name."""
    from edgelm.library.models import installed
    from edgelm.library.recent import model_uses

    uses = model_uses()
    models = [_model(found, uses.get(found.name)) for found in installed()]
    return sorted([*models, *_adapters()], key=lambda entry: (entry.kind, entry.name))


def arranged(entries: Sequence[Entry], words: str, sort: str) -> list[Entry]:
    """Keep those that hold all words, in the order asked for; the largest, and the last used, first."""
    wanted = words.lower().split()
    kept = [entry for entry in entries if all(word in _text(entry) for word in wanted)]
    keys = {
        "size": lambda entry: -entry.size_bytes,
        "bits": lambda entry: entry.bits or 99.0,
        "used": lambda entry: -(entry.used or 0.0),
    }
    return sorted(kept, key=keys[sort]) if sort in keys else sorted(kept, key=lambda entry: entry.name)


def lineage(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    """Draw a tree: where the entry comes from above, what was built on it below."""
    lines = []
    parent = entry.base or short_source(entry.source)
    if parent:
        lines.append(parent)
    lines.append(("└ " if parent else "") + f"{entry.name}  ◂")
    children = [other for other in entries if other is not entry and _is_child(other, entry)]
    indent = "  " if parent else ""
    for at, child in enumerate(children):
        mark = "└" if at == len(children) - 1 else "├"
        lines.append(f"{indent}{mark} {child.name} ({child.kind})")
    return lines


def short_source(source: str) -> str:
    """Shorten a path to its last part; a Hub id stays as it is."""
    return Path(source).name if source.startswith(("/", "~")) else source


def ago(seconds: float | None, now: float | None = None) -> str:
    """Say how long ago it was, as `"3 h ago"`."""
    if seconds is None:
        return "never"
    passed = (now if now is not None else time.time()) - seconds
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= length:
            return f"{passed / length:.0f} {unit} ago"
    return "just now"


def _is_child(other: Entry, entry: Entry) -> bool:
    names = {entry.name, str(entry.directory)}
    return bool({other.base, other.source} & names)


def _text(entry: Entry) -> str:
    return (
        f"{entry.name} {entry.kind} {entry.source} {entry.architecture} {entry.base} {entry.licence}".lower()
    )


def _model(found: Any, used: float | None) -> Entry:
    from edgelm.library.manifest import Manifest

    try:
        manifest = Manifest.read(found.directory)
    except EdgeLMError:  # it is `found.problem` then
        manifest = None
    receipt = manifest.receipt if manifest and isinstance(manifest.receipt, dict) else {}
    return Entry(
        name=found.name,
        kind="model",
        directory=found.directory,
        size_bytes=found.size_bytes,
        bits=found.bits_per_weight if _is_number(found.bits_per_weight) else None,
        loss=_loss(receipt),
        used=used,
        source=_text_of(found.source),
        licence=_text_of(found.licence),
        created=_text_of(found.created),
        architecture=_text_of(found.model_type),
        context_length=found.context_length if isinstance(found.context_length, int) else None,
        problem=found.problem,
        details=tuple(_receipt(manifest, receipt)) if manifest else (),
    )


def _loss(receipt: dict[str, Any]) -> str:
    comparison = receipt.get("comparison")
    measured = comparison.get("mean_kl") if isinstance(comparison, dict) else None
    return f"KL {measured:.2g}" if _is_number(measured) else ""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text_of(said: object) -> str:
    """What a file that people and other programs write says, if it is text."""
    return said if isinstance(said, str) else ""


def _receipt(manifest: Any, receipt: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if manifest.revision:
        yield "revision", str(manifest.revision)[:12]
    if manifest.recipe and isinstance(manifest.recipe, dict):
        yield "recipe", ", ".join(f"{key} {value}" for key, value in manifest.recipe.items())
    tensors = receipt.get("tensors")
    for label, count in tensors.items() if isinstance(tensors, dict) else ():
        yield "tensors", f"{count} {label}"
    comparison = receipt.get("comparison")
    if isinstance(comparison, dict):
        yield "against source", ", ".join(f"{k.replace('_', ' ')} {_short(v)}" for k, v in comparison.items())
    elif receipt.get("skipped"):
        yield "against source", f"not compared: {receipt['skipped']}"
    tokenizer = receipt.get("tokenizer")
    if isinstance(tokenizer, dict):
        yield (
            "tokenizer",
            f"{tokenizer.get('exact')} of {tokenizer.get('lines')} sample lines come back exactly",
        )
    if receipt.get("elapsed_s") is not None:
        said = receipt.get("peak_memory_bytes")
        peak = format_bytes(said if _is_number(said) else 0)
        yield "conversion", f"{_short(receipt['elapsed_s'])} s, peak memory {peak}"


def _short(value: object) -> str:
    if isinstance(value, list):  # paths of modules, of which only the last part tells them apart
        kinds = sorted({str(path).rpartition(".")[2] for path in value})
        return f"{len(value)}: {', '.join(kinds)}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _adapters() -> Iterator[Entry]:
    folder = paths.adapters()
    for directory in sorted(folder.iterdir()) if folder.is_dir() else []:
        config = directory / "adapter_config.json"
        if directory.name.startswith(".") or not config.is_file():
            continue
        said, problem = _read_json(config)
        lora = said.get("lora_parameters") if isinstance(said.get("lora_parameters"), dict) else {}
        facts = {"method": said.get("fine_tune_type"), "layers": said.get("num_layers"), **(lora or {})}
        facts["modules"] = facts.pop("keys", None)
        yield Entry(
            name=directory.name,
            kind="adapter",
            directory=directory,
            size_bytes=sum(map(_size, directory.rglob("*"))),
            base=_base(said, directory),
            problem=problem,
            details=tuple((str(key), _short(value)) for key, value in facts.items() if value is not None),
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # it was deleted meanwhile
        return 0


def _base(config: dict[str, Any], directory: Path) -> str:
    manifest, _ = _read_json(directory / "edgelm.json")
    said = manifest.get("base") or config.get("model") or config.get("base_model_name_or_path") or ""
    name = said.get("name") if isinstance(said, dict) else said
    return Path(str(name)).name if name else ""


def _read_json(file: Path) -> tuple[dict[str, Any], str | None]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError) as error:
        return {}, f"{file.name} cannot be read: {error}"
    return (said, None) if isinstance(said, dict) else ({}, f"{file.name} is no object")
