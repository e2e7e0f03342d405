"""What mlx-lm computes otherwise than transformers is computed as transformers does; where mlx-lm is mended, a fix can go."""

from __future__ import annotations

import pytest
from upstream import (
    DIFFERENT,
    EQUAL,
    Published,
    Upstream,
    logits_in_pieces,
    logits_of,
    mended,
    publish,
    unmended,
)
from upstream_cases import CASES

from edgelm.errors import EdgeLMError

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Upstream, Published]:
    """One difference, and a model that shows it."""
    found = CASES[request.param]
    return found, publish(found.config(), tmp_path_factory.mktemp("published"))


def test_it_is_computed_as_transformers_does(case: tuple[Upstream, Published]) -> None:
    network = mended(case[1].directory)
    assert case[1].error(logits_of(network)) < EQUAL
    assert case[1].error(logits_in_pieces(network, [10, 23, 7])) < EQUAL
    assert case[1].error(logits_in_pieces(network, [])[:20]) < EQUAL


def test_mlx_lm_still_computes_something_else(
    case: tuple[Upstream, Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, published = case
    try:
        logits = logits_of(unmended(published.directory, monkeypatch))
    except (EdgeLMError, TypeError):  # it lacks a tensor, has one too many, or divides by None
        return
    assert published.error(logits) > DIFFERENT, (
        f"upstream mended: drop this fix (mlx_lm/models/{upstream.file}: edgelm/zoo/fixes/{upstream.fix}.py)"
    )
