"""Conversions to a byte budget."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from edgelm.errors import OptionError
from edgelm_converters.convert import convert
from edgelm_converters.methods.budget.amount import parse_mac, parse_size

pytestmark = pytest.mark.slow

FEW: dict[str, Any] = {"calibration_tokens": 1024, "quality": "good", "verify": False, "loss_tokens": 0}


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A source whose sensitivities are measured by the first of these tests, and read by the others."""
    root = tmp_path_factory.mktemp("tied")
    write_checkpoint(root / "source", "llama3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGELM_HOME", str(root / "home"))
        yield root / "source"


def widths(directory: Path) -> dict[str, int]:
    said = json.loads((directory / "config.json").read_text())["quantization"]
    layers = {path: entry for path, entry in said.items() if isinstance(entry, dict)}
    return {"default": said["bits"], **{path: entry["bits"] for path, entry in layers.items()}}


@pytest.mark.parametrize("bpw", [3.25, 4.25, 6.0])
def test_the_budget_is_kept_and_used(tied: Path, tmp_path: Path, bpw: float) -> None:
    made = convert(tied, tmp_path / "out", bpw=bpw, **FEW)
    assert bpw - 0.1 < (made.manifest.bits_per_weight or 0) <= bpw
    assert made.manifest.recipe["bpw"] == bpw


def test_a_tied_embedding_is_not_narrower_than_the_body(tied: Path, tmp_path: Path) -> None:
    made = convert(tied, tmp_path / "out", bpw=4.0, **FEW)
    found = widths(made.directory)
    body = [bits for path, bits in found.items() if ".layers." in path]
    assert found.get("model.embed_tokens", found["default"]) >= sum(body) // max(1, len(body))


def test_mixed_widths_lose_less_than_uniform_ones_at_the_same_bytes(tied: Path, tmp_path: Path) -> None:
    uniform = convert(tied, tmp_path / "uniform", bits=3, group_size=64, **{**FEW, "verify": True})
    mixed = convert(
        tied,
        tmp_path / "mixed",
        size=f"{(uniform.manifest.size_bytes or 0) / 1000}kB",
        **{**FEW, "verify": True},
    )
    assert (mixed.manifest.size_bytes or 0) <= (uniform.manifest.size_bytes or 0)
    kl = [made.manifest.receipt["comparison"]["mean_kl"] for made in (uniform, mixed)]
    assert kl[1] < kl[0]


def test_an_impossible_budget_names_the_nearest_possible(tied: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="the smallest possible is") as caught:
        convert(tied, tmp_path / "out", size="10kB", **FEW)
    least = (caught.value.hint or "").removeprefix("ask for --size ").split()[0]
    convert(tied, tmp_path / "out", size=least, **FEW)


def test_what_a_mac_can_hold(tied: Path, tmp_path: Path) -> None:
    made = convert(tied, tmp_path / "out", fit="M2 Air 8GB", **FEW)
    assert (made.manifest.bits_per_weight or 0) > 8  # so small a model fits at the widest
    assert made.manifest.recipe["quality"] == "good"


def test_a_budget_that_holds_all_at_the_widest_is_spent_without_measuring(tied: Path, tmp_path: Path) -> None:
    estimated: list[Any] = []
    made = convert(tied, tmp_path / "out", fit="M2 Air 8GB", on_estimate=estimated.append)
    assert estimated == []
    assert set(widths(made.directory).values()) == {8}
    assert made.manifest.recipe["quality"] == "rtn"
    assert made.manifest.receipt["rounded_because"] == "the budget holds every tensor at the widest"
    comparison = made.manifest.receipt["comparison"]
    assert comparison["mean_kl"] < 0.01


@pytest.mark.parametrize(
    ("text", "size"),
    [("2.3GB", 2_300_000_000), ("512 MiB", 512 << 20), ("1500", 1500), ("3g", 3_000_000_000)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "large", "-3GB", "2.3.1GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(OptionError, match="size is"):
        parse_size(text)


def test_macs() -> None:
    assert parse_mac("M2 Air 8GB").chip == "Apple M2"
    assert parse_mac("MacBook Pro, M3 Max, 36 GB").chip == "Apple M3 Max"
    for text in ("M2 Air", "8GB", "M99 8GB"):
        with pytest.raises(OptionError):
            parse_mac(text)


@pytest.mark.parametrize(
    "settings",
    [
        {"bpw": 4.0, "bits": 4}, {"bpw": 4.0, "size": "1GB"}, {"fit": "M2 8GB", "recipe": "mixed_3_6"},
        {"bpw": 4.0, "mode": "mxfp4"},
    ],
)  # fmt: skip
def test_settings_that_contradict_a_budget(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        convert(tmp_path, tmp_path / "out", **settings)
