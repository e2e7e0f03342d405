"""Files that a prompt names with an @, and citations that do the same and mean no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelm.conversation.attachments import files_in


@pytest.mark.parametrize(
    "text", ["as [@smith2020] shows", "[@smith.et.al, p. 3]", "[@doe.2020 ch. 2]", "![@x.y z](a)"]
)
def test_a_citation_is_text(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files_in(text) == ([], [])


def test_a_file_of_that_name_is_attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smith2020").write_text("a paper")
    files, problems = files_in("as [@smith2020] shows, see @doe.2020")
    assert [file.text for file in files] == ["a paper"]
    assert problems == ["there is no file doe.2020"]
