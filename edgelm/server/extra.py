"""The extra `serve`, which a server needs and which a plain installation has not."""

from __future__ import annotations

from importlib.util import find_spec

from edgelm.errors import UnsupportedError

_NEEDED = ("starlette", "uvicorn", "prometheus_client")


def require_extra() -> None:
    """Refuse to go on where what a server needs is not installed.

    Raises:
        UnsupportedError: naming what to install.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise UnsupportedError(
                f"a server needs {name}, which is not installed", hint="pip install 'edgelm[serve]'"
            )
