"""The receipt: written to JSON and read back whole, and refused when it is something else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from receipts import RECEIPT

from edgelm.errors import FormatError
from edgelm.evaluate.compare import Comparison
from edgelm.evaluate.receipt import QualityReceipt, quality_of
from edgelm.evaluate.scores import Estimate


def test_a_receipt_survives_json() -> None:
    text = json.dumps(RECEIPT.as_json(), allow_nan=False)
    assert QualityReceipt.from_json(json.loads(text)) == RECEIPT


def test_an_unknown_error_is_null_and_comes_back_unknown() -> None:
    alone = Estimate(0.5, math.nan)
    comparison = Comparison(
        tokens=9, rows=1, perplexity=alone, perplexity_by_domain={}, reference_perplexity=alone,
        mean_kl=alone, p99_kl=alone, top1_agreement=alone, kl_by_domain={},
    )  # fmt: skip
    receipt = QualityReceipt.of(comparison, method="rtn", bits_per_weight=4.5, size_bytes=1, text="a")
    said = receipt.as_json()
    assert said["mean_kl"] == {"value": 0.5, "standard_error": None}
    assert math.isnan(QualityReceipt.from_json(said).mean_kl.standard_error)
    assert QualityReceipt.from_json(said).source_perplexity.value == 0.5


def test_keys_of_later_versions_are_ignored() -> None:
    said = RECEIPT.as_json()
    said["later"] = 1
    said["layers"][0]["later"] = 2
    assert QualityReceipt.from_json(said) == RECEIPT


@pytest.mark.parametrize(
    "change",
    [
        {"mean_kl": None},
        {"mean_kl": {"value": "x", "standard_error": 0}},
        {"layers": [3]},
        {"kl_by_domain": []},
    ],
)
def test_what_is_not_a_receipt_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="quality cannot be read"):
        QualityReceipt.from_json({**RECEIPT.as_json(), **change})


def test_a_manifest_without_quality_has_none() -> None:
    assert quality_of({"elapsed_s": 1}) is None
    assert quality_of({"quality": RECEIPT.as_json()}) == RECEIPT
