"""Without the extra `serve`, everything that needs it says what to install; nothing else is the worse for it."""

from __future__ import annotations

import sys

import pytest

import edgelm
from edgelm.cli.main import main
from edgelm.errors import UnsupportedError


@pytest.mark.parametrize("name", ["starlette", "uvicorn", "prometheus_client"])
def test_what_to_install(
    name: str, home: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    for call in (edgelm.serve, edgelm.asgi_app):
        with pytest.raises(
            UnsupportedError, match=rf"a server needs {name}.*\nhint: pip install 'edgelm\[serve\]'"
        ):
            call(port=0)
    for flags in ([], ["--background"]):
        assert main(["serve", *flags]) == 1
        assert "hint: pip install 'edgelm[serve]'" in capsys.readouterr().err
    assert main(["serve", "--status"]) == 0
