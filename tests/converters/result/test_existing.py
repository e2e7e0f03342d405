"""What a refusal says of the model that is there already; settings of a calibration that does not take place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from edgelm.errors import OutputError
from edgelm.library.manifest import Manifest
from edgelm_converters.conversion import Conversion
from edgelm_converters.convert import convert
from edgelm_converters.result.existing import recorded, refuse_there
from edgelm_converters.sources.checkpoint import SourceOrigin

ORIGIN = SourceOrigin("org/tiny", "huggingface", (Path("model.safetensors"),), revision="abc")


def there(directory: Path, source: str = "org/tiny", **settings: Any) -> Path:
    """A directory with a manifest of such a conversion."""
    directory.mkdir()
    recipe = {key: value for key, value in recorded(Conversion(**settings)).items() if value is not None}
    Manifest(source, "huggingface", revision="abc", recipe=recipe).write(directory)
    return directory


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({}, {"seed": 3}, "made with seed 0 instead of 3"),
        ({"seed": 3}, {}, "made with seed 3 instead of 0"),
        ({"seed": 0}, {}, "same source with the same settings"),
        ({}, {"calibration_tokens": 2048}, "made with calibration_tokens 16384 instead of 2048"),
        (
            {"calibration": "/a/text.txt"},
            {"calibration": "/b/text.txt"},
            "calibration /a/text.txt instead of /b/text.txt",
        ),
        ({"size": "1.0GB"}, {"size": "1GB"}, "size 1.0GB instead of 1GB"),
    ],
)
def test_a_refusal_says_what_differs(
    before: dict[str, Any], now: dict[str, Any], told: str, tmp_path: Path
) -> None:
    target = there(tmp_path / "tiny-4bit", **before)
    with pytest.raises(OutputError, match=told) as caught:
        refuse_there(target, force=False, wanted=Conversion(**now), origin=ORIGIN)
    assert "--force" in (caught.value.hint or "")
    refuse_there(target, force=True, wanted=Conversion(**now), origin=ORIGIN)


def test_another_publishers_model_of_the_name_is_told(tmp_path: Path) -> None:
    target = there(tmp_path / "tiny-4bit", "other/tiny")
    with pytest.raises(OutputError, match="source other/tiny instead of org/tiny"):
        refuse_there(target, force=False, wanted=Conversion(), origin=ORIGIN)


def test_a_directory_without_a_manifest_is_refused_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="already exists"):
        refuse_there(tmp_path, force=False, wanted=Conversion(), origin=ORIGIN)
    with pytest.raises(OutputError, match="not written by edgelm"):
        refuse_there(tmp_path, force=True, wanted=Conversion(), origin=ORIGIN)


@pytest.mark.slow
@pytest.mark.parametrize("without", [{"quality": "rtn"}, {"quality": "fast"}, {"bits": 8}], ids=str)
def test_settings_of_a_calibration_that_is_not_made_are_warned_of_by_name(
    without: dict[str, Any], published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = "nothing is calibrated, so calibration_tokens and seed changed nothing"
    asked: dict[str, Any] = {"group_size": 32, "verify": False, "loss_tokens": 0, **without}
    with caplog.at_level(logging.WARNING, logger="edgelm"):
        made = convert(published, tmp_path / "out", calibration_tokens=1024, seed=0, **asked)
        assert told in made.manifest.receipt["notes"]
        assert [record.getMessage() for record in caplog.records if record.name == "edgelm"] == [told]
        caplog.clear()
        made = convert(published, tmp_path / "other", **asked)
        assert not any("calibrated" in note for note in made.manifest.receipt["notes"])


def test_where_it_is_made_nothing_is_unused() -> None:
    assert Conversion(seed=3, calibration_tokens=1024).unused(calibrated=True) == ()
    assert Conversion(bpw=4.0, quality="fast", seed=3).unused(calibrated=False) == ()
    assert Conversion(bpw=4.0, quality="fast", calibration_tokens=600).unused(calibrated=False) == (
        "calibration_tokens",
    )
