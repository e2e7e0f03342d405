"""Outcomes as the table that ships with edgelm, and as docs/architectures.md, which says the same."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgelm.zoo.proofs.settings import covers
from edgelm.zoo.proofs.table import PATH, ROPE, OtherCase, ProofTable, ProvedArchitecture, parse_table
from proving.case import TOKENS, WINDOW
from proving.judge import BOUND, Outcome

LONGEST = 160
"""Characters of a refusal on the page."""

PAGE = Path("docs") / "architectures.md"


def write_table(outcomes: Iterable[Outcome], root: Path) -> None:
    """Write the table and the page; families that were not run keep what stood there, of the same mlx-lm."""
    made = table_of(outcomes)
    if PATH.exists():
        before = json.loads(PATH.read_text(encoding="utf-8"))
        if before["mlx_lm"] == made["mlx_lm"]:
            made["architectures"] = dict(sorted({**before["architectures"], **made["architectures"]}.items()))
    PATH.write_text(written(made), encoding="utf-8")
    (root / PAGE).write_text(page_of(parse_table(made)), encoding="utf-8")


def written(table: Mapping[str, Any]) -> str:
    """The table's JSON with an architecture a line, so that changes can be read."""
    entries = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in table["architectures"].items())
    head = "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in table.items() if k != "architectures")
    return f'{{\n{head}  "architectures": {{\n{entries}\n  }}\n}}\n'


def table_of(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """The table as JSON."""
    families: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        families[outcome.family][outcome.variant].append(outcome)
    return {
        "mlx_lm": version("mlx-lm"),
        "transformers": version("transformers"),
        "tokens": TOKENS,
        "window": WINDOW,
        "bound": BOUND,
        "architectures": {name: _entry(name, cases) for name, cases in sorted(families.items())},
    }


def _entry(name: str, cases: Mapping[str, list[Outcome]]) -> dict[str, Any]:
    equal = {variant: found for variant, found in cases.items() if all(o.verdict == "equal" for o in found)}
    settings: dict[str, set[str]] = defaultdict(set)
    for outcome in (outcome for found in equal.values() for outcome in found):
        for setting, form in outcome.settings.items():
            settings[setting].add(form)
    others = [_other(variant, found, settings) for variant, found in cases.items() if variant not in equal]
    return {
        "cases": [variant or "plain" for variant in equal],
        "error": float(
            f"{max((o.error or 0.0 for found in equal.values() for o in found), default=0.0):.1e}"
        ),
        "settings": {
            k: sorted(forms)
            for k, forms in sorted(settings.items())
            if forms != {"number"} or k.startswith(ROPE)
        },
        "others": others,
    }


def _other(variant: str, found: list[Outcome], proved: Mapping[str, set[str]]) -> dict[str, Any]:
    bad = [outcome for outcome in found if outcome.verdict != "equal"]
    differing = [outcome for outcome in bad if outcome.verdict == "differs"]
    worst = max(differing, key=lambda o: o.error or 0.0) if differing else bad[0]
    forms = next((o.settings for o in found if o.settings), {})
    own = {k: form for k, form in forms.items() if not any(covers(p, form) for p in proved.get(k, ()))}
    return {
        "case": variant or "plain",
        "verdict": "differs" if differing else worst.verdict,
        "layouts": [outcome.layout for outcome in bad],
        "error": None if worst.error is None else float(f"{worst.error:.1e}"),
        "words": "" if differing else worst.words,
        "settings": own if proved else {},
    }


def page_of(table: ProofTable) -> str:
    """docs/architectures.md."""
    whole = [entry for entry in table.architectures.values() if entry.cases and not entry.others]
    partly = [entry for entry in table.architectures.values() if entry.cases and entry.others]
    none = [entry for entry in table.architectures.values() if not entry.cases]
    lines = [
        "# Architectures",
        "",
        f"What was held against transformers {table.transformers}, with mlx-lm {table.mlx_lm}."
        " `python tests/architectures/prove.py --write` makes this page and the table that ships with edgelm, which"
        " `edgelm convert` and `edgelm models info` ask.",
        "",
        f"Each case is a tiny network of transformers with seeded weights in float32, {table.tokens} tokens long against"
        f" windows of {table.window}, written as transformers 5 saves it and as the Hub published such models,"
        " converted, and computed"
        " whole, token by token and in chunks. Equal means: no logit differs by"
        f" {table.bound:.0e} of the largest one.",
        "",
        f"Of {len(table.architectures)} families {len(whole)} are equal in every case, {len(partly)} in some,"
        f" {len(none)} in none.",
        "",
        "| family | equal | largest difference | otherwise |",
        "|---|---|---|---|",
    ]
    lines += [_page_row(entry) for entry in table.architectures.values()]
    return "\n".join(lines) + "\n"


def _page_row(entry: ProvedArchitecture) -> str:
    others = "; ".join(
        f"{other.case}: {_told(other)}"
        + (f" (in the layout {other.layouts[0]})" if len(other.layouts) == 1 else "")
        for other in entry.others
    )
    error = f"{entry.error:.0e}" if entry.cases else ""
    return f"| {entry.name} | {', '.join(entry.cases)} | {error} | {others} |"


def _told(other: OtherCase) -> str:
    if other.verdict == "differs":
        return f"differs by {other.error:.1g}"
    words = other.words.partition(" hint: ")[0].replace("the source cannot be loaded: ", "").replace("|", "/")
    return f"{other.verdict}: {words if len(words) <= LONGEST else words[:LONGEST] + '…'}"
