"""Where caches lie: out of backups, in one's own EDGELM_HOME where there is one, moved from where they were."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from edgelm import paths


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The platform's data and cache directories of edgelm, as on a Mac."""
    data, cache = tmp_path / "Library/Application Support/edgelm", tmp_path / "Library/Caches/edgelm"
    monkeypatch.delenv("EDGELM_HOME", raising=False)
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda *_, **__: str(data))
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(cache))
    return data, cache


def test_caches_are_where_backups_do_not_look(places: tuple[Path, Path]) -> None:
    data, cache = places
    assert paths.home() == data
    assert paths.caches() == cache
    assert paths.prompt_caches() == cache / "prompts"
    assert not cache.exists(), "asking makes nothing"


def test_caches_of_an_earlier_edgelm_are_moved_once(places: tuple[Path, Path]) -> None:
    data, cache = places
    (data / "caches" / "sensitivity").mkdir(parents=True)
    (data / "caches" / "sensitivity" / "a.json").write_text("{}")
    assert (paths.caches() / "sensitivity" / "a.json").read_text() == "{}"
    assert not paths.former_caches().exists()
    (data / "caches").mkdir()
    assert paths.caches() == cache
    assert paths.former_caches().exists(), "what an older edgelm wrote since is named by doctor, not mixed in"


def test_a_home_that_cannot_be_written_is_no_obstacle(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = places
    (data / "caches").mkdir(parents=True)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "rename", refuse)
    assert paths.caches() == cache


def test_a_home_of_ones_own_keeps_its_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path / "mine"))
    assert paths.caches() == tmp_path / "mine" / "caches"
