"""Text that may be attached to a public report: without the user's name, home, host name and serial numbers."""

from __future__ import annotations

import os
import platform
import pwd
import re
from pathlib import Path
from typing import Any

_IDENTIFIERS = (
    (re.compile(r"\b(id=)\d+"), r"\1…"),
    (re.compile(r"(?i)((?:serial|uuid)[\w -]*[\"']?\s*[:=]\s*[\"']?)[\w-]{6,}"), r"\1…"),
    (re.compile(r"(/(?:Users|home)/)(?!\.\.\.)[^/\s\"':,]+"), r"\1…"),
)
_SHORTEST = 3
"""Names shorter than this stand in too many words."""


def anonymous(value: Any) -> Any:
    """Return `value`, of JSON's own types, with every text in it made anonymous."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {key: anonymous(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [anonymous(inner) for inner in value]
    return value


def _text(text: str) -> str:
    for home in {str(Path.home()), os.path.realpath(Path.home())}:
        if len(home) > 1:
            text = re.sub(re.escape(home) + r"(?=$|[/\s\"':,;)])", "~", text)
    for pattern, instead in _IDENTIFIERS:
        text = pattern.sub(instead, text)
    for name in _names():
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "…", text)
    return text


def _names() -> list[str]:
    """The names of the user and the host, the longest first."""
    host = platform.node()
    names = {host, host.partition(".")[0], os.environ.get("USER", ""), os.environ.get("LOGNAME", "")}
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:  # a container's user without an entry
        pass
    else:
        names |= {account.pw_name, account.pw_gecos.partition(",")[0]}
    return sorted(
        (name for name in names if len(name) >= _SHORTEST and name != "root"), key=len, reverse=True
    )
