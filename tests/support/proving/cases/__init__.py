"""The configurations of every family, by kind, as data."""

from __future__ import annotations

from proving.case import Case, cases_of
from proving.cases.dense import DENSE
from proving.cases.experts import EXPERTS
from proving.cases.latent import LATENT
from proving.cases.recurrent import RECURRENT
from proving.cases.wrappers import WRAPPERS

FAMILIES = {**DENSE, **EXPERTS, **LATENT, **RECURRENT, **WRAPPERS}


def all_cases() -> list[Case]:
    """Every case, by family."""
    return list(cases_of(FAMILIES))
