"""Formats of text as they are written here: within what readers take.

RFC 3339 admits the year 0, seconds of 60 and, for durations, numbers of any length; Python's `datetime`, and with it Pydantic,
takes none of these. Every narrowed text is of its format. Formats that say nothing of the text
(OpenAPI's `password`, `binary`) are notes; Pydantic's have texts that are known; what else cannot be enforced is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from edgelm.errors import UnsupportedError

YEARS = (1000, 2999)
"""The first and the last that are written."""
CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?"
BASE64_URL = "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]==|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]=)?$"

_DATE = "[12][0-9]{3}-[0-9]{2}-[0-9]{2}"
_TIME = "[0-9]{2}:[0-9]{2}:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-][01][0-9]:[0-5][0-9])"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = f"{_BYTE}([.]{_BYTE}){{3}}"
_IPV6 = "[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}"
_PATTERNS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": "^P([0-9]{1,3}D|[0-9]{1,2}W|([0-9]{1,3}D)?T([0-9]{1,2}H)?([0-9]{1,2}M)?([0-9]{1,2}S)?)$",
}
# Base64 of ASCII, since Pydantic reads some fields as text: of each three bytes the highest bits are 0.
_FIRST, _SECOND, _THIRD = "[A-Za-f]", "[A-HQ-Xg-nw-z0-3]", "[ABEFIJMNQRUVYZcdghklopstwx014589]"
_ASCII = f"^({_FIRST}{_SECOND}{_THIRD}[A-Za-z0-9])*({_FIRST}[AQgw]==|{_FIRST}{_SECOND}[AEIMQUYcgkosw048]=)?$"
_OWN = {
    # Pydantic's names. A network has no bits beyond its prefix.
    "base64": _ASCII,
    "base64url": _ASCII,
    "ipv4interface": f"^{_IPV4}(/([12]?[0-9]|3[0-2]))?$",
    "ipv4network": f"^({_IPV4}(/32)?|{_BYTE}([.]{_BYTE}){{2}}[.]0/24|{_BYTE}[.]{_BYTE}[.]0[.]0/16|{_BYTE}([.]0){{3}}/8)$",
    "ipv6interface": f"^{_IPV6}(/([1-9]?[0-9]|1[01][0-9]|12[0-8]))?$",
    "ipv6network": f"^({_IPV6}(/128)?|[0-9a-f]{{1,4}}(:[0-9a-f]{{1,4}}){{3}}(:0){{4}}/64)$",
}
_REFUSED = {"file-path": "path", "directory-path": "path"}
"""Texts that must name what is on the disk, and what to use instead."""
_ENFORCED = {"date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}
"""By the compiler."""
_NOTES = {"binary", "password", "path", "html", "commonmark", "markdown", "textarea"}
"""Formats that any text has: OpenAPI's registry and Pydantic's `bytes`, `SecretStr` and `Path`."""
_STANDARD = _ENFORCED | {
    "idn-email", "idn-hostname", "uri-reference", "uri-template", "iri", "iri-reference", "json-pointer",
    "relative-json-pointer", "regex",
}  # fmt: skip


def narrowed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema`, whose text of a format is one that readers take, and whose notes are left out."""
    name = schema.get("format")
    if not isinstance(name, str):
        return schema
    if name in _NOTES or name in _OWN:
        schema = {key: value for key, value in schema.items() if key != "format"}
    pattern = (_PATTERNS | _OWN).get(name)
    return schema if pattern is None or "pattern" in schema else {**schema, "pattern": pattern}


def pattern_of(name: Any) -> str | None:
    """Return a pattern of which every text is of the format, where there is one."""
    known = _OWN | {
        "date": f"^{days_of(*YEARS)}$",
        "date-time": f"^{days_of(*YEARS)}T{CLOCK}Z$",
        "time": f"^{CLOCK}Z$",
        "uuid": "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        "ipv4": f"^{_IPV4}$",
        "ipv6": f"^{_IPV6}$",
    }
    return known.get(name) if isinstance(name, str) else None


def check_format(name: Any, pointer: str) -> None:
    """Refuse a format that is misspelt or that only a disk could tell; the compiler refuses other unknown ones.

    Raises:
        UnsupportedError: such a one.
    """
    if not isinstance(name, str) or name in _STANDARD | _OWN.keys() | _NOTES:
        return
    if name in _REFUSED:
        raise UnsupportedError(
            f"the schema's format {name!r} at {pointer} cannot be enforced", hint=f"use {_REFUSED[name]}"
        )
    near = difflib.get_close_matches(name.lower().replace("_", "-"), _STANDARD, n=1, cutoff=0.85)
    if near:
        raise UnsupportedError(
            f"the schema's format {name!r} at {pointer} is none of JSON Schema's",
            hint=f"did you mean {near[0]}?",
        )


def days_of(first: int, last: int) -> str:
    """Return a pattern of days of these years that every month has."""
    years = "[12][0-9]{3}" if (first, last) == YEARS else f"({'|'.join(map(str, range(first, last + 1)))})"
    return f"{years}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"


def url_pattern(schemes: Iterable[str]) -> str:
    """Return URLs of these schemes with a host that is a name: no numbers at its end, which would be an address."""
    names = "|".join(scheme.replace("+", "[+]").replace(".", "[.]") for scheme in schemes)
    label = "[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,3}"
    rest = "(/[A-Za-z0-9._~-]{1,40}){0,8}/?([?][A-Za-z0-9._~=&-]{1,80})?(#[A-Za-z0-9._~-]{1,40})?"
    return f"^({names})://({label}[.]){{0,4}}[a-z]{{2,20}}(:[1-9][0-9]{{1,3}})?{rest}$"
