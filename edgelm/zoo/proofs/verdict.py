"""What the shipped table says of one config: proved equal, known to differ, or not proved, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgelm.zoo.proofs.settings import Forms, covers, settings_of
from edgelm.zoo.proofs.table import OtherCase, ProofTable, ProvedArchitecture, name_of, shipped_table

_SHOWN = 4
_LONGEST = 200
"""Characters of a refusal that are told."""


@dataclass(frozen=True)
class Proof:
    """What is known of an architecture with one config's settings."""

    verdict: str
    """"proved equal", "known to differ" or "not proved"."""
    words: str
    """The verdict and its reason, as one sentence without a full stop."""

    def as_json(self) -> dict[str, str]:
        """Return plain values for a receipt."""
        return {"verdict": self.verdict, "words": self.words}


def proof_of(config: Mapping[str, Any], table: ProofTable | None = None) -> Proof:
    """Look a config.json up, as published, among what was proved."""
    table = table or shipped_table()
    name = name_of(config)
    installed = _installed()
    entry = table.architectures.get(name)
    if entry is None:
        return _not_proved(f"no network of {name} was held against transformers")
    if installed != table.mlx_lm:
        return _not_proved(
            f"the table is of mlx-lm {table.mlx_lm}, and this is {installed}",
            _judged(entry, config, table).words,
        )
    return _judged(entry, config, table)


def _judged(entry: ProvedArchitecture, config: Mapping[str, Any], table: ProofTable) -> Proof:
    forms = settings_of(config)
    if not forms:
        return _not_proved(f"transformers takes its config for no valid one of {entry.name}")
    differing = [other for other in entry.others if other.verdict == "differs"]
    if not entry.cases:
        return _differs(differing) if differing else _not_proved(_refusals(entry))
    known = [other for other in differing if other.settings and _has_all(forms, other.settings)]
    if known:
        return _differs(known)
    unproved = _unproved(entry, forms)
    if unproved:
        return _not_proved(f"{entry.name} was not tried with {_listed(unproved)}")
    untold = [other for other in differing if not other.settings]
    if untold:
        return _differs(untold)
    return Proof(
        "proved equal",
        f"proved equal to transformers {table.transformers} with these settings (mlx-lm {table.mlx_lm}, tiny networks,"
        f" {table.tokens} tokens, differences below {_rounded_up(entry.error)} of the largest logit)",
    )


def _differs(others: Sequence[OtherCase]) -> Proof:
    """Tell the largest of the differences, with the settings that tell its case, or the case's name."""
    worst = max(others, key=lambda other: other.error or 0.0)
    case = f", with {_listed(worst.settings)}" if worst.settings else f" (case: {worst.case})"
    words = f"known to differ from transformers by {worst.error:.1g} of the largest logit{case}"
    return Proof("known to differ", words)


def _refusals(entry: ProvedArchitecture) -> str:
    words = entry.others[0].words.partition(" hint: ")[0] if entry.others else "no case of it was run"
    return f"{entry.name} was not run: {words[:_LONGEST]}"


def _unproved(entry: ProvedArchitecture, forms: Forms) -> Forms:
    return {
        name: form
        for name, form in forms.items()
        if not any(covers(proved, form) for proved in entry.proved_forms(name))
    }


def _has_all(forms: Forms, wanted: Mapping[str, str]) -> bool:
    return all(forms.get(name) == form for name, form in wanted.items())


def _not_proved(reason: str, otherwise: str = "") -> Proof:
    return Proof(
        "not proved", f"not proved: {reason}" + (f" (with that one: {otherwise})" if otherwise else "")
    )


def _listed(settings: Mapping[str, str]) -> str:
    shown = [f"{name} {form}" for name, form in settings.items()]
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")


def _rounded_up(error: float) -> str:
    return next((f"{bound:.0e}" for bound in (1e-6, 1e-5, 1e-4) if error < bound), f"{error:.0e}")


def _installed() -> str:
    try:
        return version("mlx-lm")
    except PackageNotFoundError:
        return "none"
