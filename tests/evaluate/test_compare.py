"""Perplexity and divergences against direct computation on all logits at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from networks import VOCAB, make_network, perturbed

from edgelm.errors import OutputError, UnsupportedError
from edgelm.evaluate import reference as references
from edgelm.evaluate.compare import compare, kl_difference, measure, score, score_against
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Row
from edgelm.progress import Progress

GENERATOR = np.random.default_rng(0)
ROWS = [
    Row(tuple(int(token) for token in GENERATOR.integers(VOCAB, size=length)), domain, scored_from)
    for length, domain, scored_from in [(20, "prose", 1), (33, "code", 9), (12, "code", 1), (20, "prose", 1)]
]


def direct(network: Any, row: Row) -> np.ndarray:
    """Log probabilities [tokens, V] of the scored positions, in float64."""
    logits = np.array(network(mx.array([row.ids]))[0].astype(mx.float32), dtype=np.float64)
    logits = logits[row.scored_from - 1 : -1]
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def targets(row: Row) -> np.ndarray:
    return np.array(row.ids[row.scored_from :])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["qwen3", "gemma2", "llama"])
def test_figures_equal_direct_computation(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_LOGIT_BYTES", 4 * VOCAB * 5)  # several pieces a row
    source, other = make_network(architecture), perturbed(make_network(architecture))
    with Reference(source, ROWS) as reference:
        found = compare(reference, other)
    p = np.concatenate([direct(source, row) for row in ROWS])
    q = np.concatenate([direct(other, row) for row in ROWS])
    expected = np.concatenate([targets(row) for row in ROWS])
    kl = (np.exp(p) * (p - q)).sum(-1)
    nll = -np.take_along_axis(q, expected[:, None], -1)
    assert found.tokens == sum(row.predicted for row in ROWS) == len(expected)
    assert found.mean_kl.value == pytest.approx(kl.mean(), rel=1e-3)
    assert found.p99_kl.value == pytest.approx(np.percentile(kl, 99), rel=1e-3)
    assert found.top1_agreement.value == (p.argmax(-1) == q.argmax(-1)).mean()
    assert found.perplexity.value == pytest.approx(np.exp(nll.mean()), rel=1e-4)
    assert found.perplexity == measure(other, ROWS).perplexity
    assert found.reference_perplexity == measure(source, ROWS).perplexity
    assert 0 < found.mean_kl.standard_error < found.mean_kl.value
    by_domain = found.kl_by_domain
    counts = {"prose": 38, "code": 35}
    assert by_domain.keys() == counts.keys()
    assert sum(by_domain[name].value * count for name, count in counts.items()) / 73 == pytest.approx(
        kl.mean(), rel=1e-3
    )


def test_a_network_does_not_differ_from_itself() -> None:
    network = make_network("gemma3_text")
    with Reference(network, ROWS) as reference:
        found = compare(reference, network)
    assert found.mean_kl.value == found.p99_kl.value == 0
    assert found.top1_agreement.value == 1
    assert found.perplexity == found.reference_perplexity


def test_hidden_states_beyond_the_budget_go_to_the_disk() -> None:
    source, other = make_network("qwen3"), perturbed(make_network("qwen3"))
    with Reference(source, ROWS) as kept, Reference(source, ROWS, kept_bytes=5_000) as spilled:
        directory = spilled._directory
        assert directory is not None
        path = Path(directory.name)
        assert 1 <= len(list(path.iterdir())) < len(ROWS)
        assert compare(kept, other) == compare(spilled, other)
    assert not path.exists()


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("[save_safetensors] Failed to write")

    monkeypatch.setattr(references.mx, "save_safetensors", refuse)
    with pytest.raises(OutputError, match="Failed to write") as caught:
        Reference(make_network("qwen3"), ROWS, kept_bytes=0)
    assert "TMPDIR" in (caught.value.hint or "")


def test_a_network_that_cannot_be_cut_is_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    source, other = make_network("qwen3"), perturbed(make_network("qwen3"))
    with Reference(source, ROWS) as reference:
        expected = compare(reference, other)
    monkeypatch.setattr(references, "cut", lambda _: None)
    with Reference(source, ROWS) as reference:
        found = compare(reference, other)
    assert found.mean_kl.value == pytest.approx(expected.mean_kl.value, rel=1e-4)
    assert found.perplexity.value == pytest.approx(expected.perplexity.value, rel=1e-5)


def test_tokens_that_the_reference_rules_out_add_nothing() -> None:
    def masked(network: Any, value: float) -> Any:
        return lambda ids: mx.concatenate([network(ids)[..., :-1], mx.full((*ids.shape, 1), value)], axis=-1)

    network = make_network("qwen3")
    with Reference(masked(network, float("-inf")), ROWS) as reference:
        same = compare(reference, masked(network, float("-inf")))
        wider = compare(reference, masked(network, 5.0))
    assert same.mean_kl.value == 0
    assert 0 < wider.mean_kl.value < 100


def test_other_vocabularies_are_refused() -> None:
    with (
        Reference(make_network("qwen3"), ROWS) as reference,
        pytest.raises(UnsupportedError, match="has 128 entries, and the reference's 96"),
    ):
        compare(reference, make_network("qwen3", vocab_size=128))


@pytest.mark.slow
def test_paired_differences_are_surer_than_two_means() -> None:
    source = make_network("qwen3")
    rows = [Row(tuple(int(token) for token in GENERATOR.integers(VOCAB, size=16))) for _ in range(30)]
    with Reference(source, rows) as reference:
        worse = score_against(reference, perturbed(make_network("qwen3"), noise=0.03))
        better = score_against(reference, perturbed(make_network("qwen3"), noise=0.01))
    difference = kl_difference(worse, better)
    assert difference.value > 3 * difference.standard_error
    assert kl_difference(better, worse).value == -difference.value


def test_progress_names_each_row() -> None:
    seen: list[Progress] = []
    score(make_network("qwen3"), ROWS, on_progress=seen.append)
    assert [report.done for report in seen] == [0, 1, 2, 3, 4]
    assert {report.total for report in seen} == {4}
    assert [report.detail for report in seen] == ["prose", "code", "code", "prose", ""]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows_or_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_LOGIT_BYTES", 1 << 18)
    vocab_size, length = 20_000, 96
    row_logits = 4 * vocab_size * length
    network = make_network("qwen3", vocab_size=vocab_size)
    other = perturbed(make_network("qwen3", vocab_size=vocab_size))

    def rise(count: int) -> int:
        rows = [
            Row(tuple(int(token) for token in GENERATOR.integers(vocab_size, size=length)))
            for _ in range(count)
        ]
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        with Reference(network, rows) as reference:
            compare(reference, other)
        return mx.get_peak_memory() - before

    few, many = rise(2), rise(8)
    assert few < row_logits
    assert many < few * 1.2
