"""The file of settings, as older versions wrote it too."""

from __future__ import annotations

from pathlib import Path

from edgelm.conversation.settings import ChatSettings
from edgelm_tui.settings import AppSettings, Settings, read_settings, write_settings


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '[app]\nfooter = false\n[chat]\nsystem = "Be brief."\ntemperature = 0.7\nmax_tokens = 9\n'
    )
    chat = ChatSettings(system="Be brief.", temperature=0.7, max_tokens=9)
    assert read_settings(file) == (Settings(AppSettings(footer=False), chat), None)


def test_only_what_is_set_is_written(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    settings = Settings(chat=ChatSettings(presence_penalty=0.5, repetition_window=128, adapter_scale=0.5))
    write_settings(settings, file)
    assert (
        file.read_text() == "[chat]\nrepetition_window = 128\npresence_penalty = 0.5\nadapter_scale = 0.5\n"
    )
    assert read_settings(file) == (settings, None)
