"""What a server is told: where it listens, who may ask, and how much. Plain values, checked when built."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from edgelm.errors import OptionError
from edgelm.options import Options, option


@dataclass(frozen=True)
class ServerSettings(Options):
    """Settings of `edgelm serve`.

    Raises:
        OptionError: a setting outside what it may be, or a host that others reach without a key.
    """

    host: str = option("127.0.0.1", "address to listen on; one that others reach asks for a key")
    port: int = option(8080, "port to listen on; 0 is any that is free", ge=0, le=65535)
    api_key: str | None = option(None, "what askers must send; EDGELM_API_KEY is read where it is not given")
    origins: tuple[str, ...] = ()
    """Web pages that may ask, as "https://example.com"; none by default."""
    hosts: tuple[str, ...] = ()
    """Further names that the Host header may have."""
    max_body_bytes: int = option(8 << 20, "largest body of a request", ge=1024)
    max_waiting: int = option(
        64, "replies under way and waiting; beyond them askers are told to come again", ge=1
    )
    retry_after_s: int = option(2, "when they may come again", ge=1)
    stall_s: int = option(
        120, "seconds without a step, while there is work, after which /health says stalled", ge=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.host:
            raise OptionError("host is '', expected an address", settings=("host",))
        if self.api_key is not None and not (
            self.api_key.isascii() and self.api_key.isprintable() and self.api_key.strip()
        ):
            raise OptionError("the API key is empty, or no printable ASCII", settings=("api_key",))
        if not is_loopback(self.host) and self.api_key is None:
            raise OptionError(
                f"host is {self.host!r}, which others reach, and there is no API key",
                hint="give --api-key or EDGELM_API_KEY, or listen on 127.0.0.1",
                settings=("host", "api_key"),
            )
        for name in ("origins", "hosts"):
            _check_names(name, getattr(self, name))

    @property
    def allowed_hosts(self) -> list[str]:
        """Names that the Host header may have: a page whose name was bound to this address (DNS rebinding) has another."""
        own = [_in_header(self.host)] if self.host not in ("0.0.0.0", "::") else []
        return [*own, "localhost", "127.0.0.1", "[::1]", *map(_in_header, self.hosts)]


def _in_header(host: str) -> str:
    """A name or an address as the Host header has it."""
    host = host.strip("[]").lower()
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address. Names are not asked for, but for localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_names(name: str, value: Any) -> None:
    if isinstance(value, str) or not all(isinstance(item, str) and item for item in value):
        raise OptionError(f"{name} is {value!r}, expected a list of names", settings=(name,))
    if "*" in "".join(value):
        raise OptionError(f"{name} is {value!r}, expected names without *", settings=(name,))
