"""Search the Hugging Face Hub for models that write text."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies

from edgelm.errors import NetworkError
from edgelm.hub.errors import hub_errors

DEFAULT_LIMIT = 30
_REACH_S = 4.0
"""How long the Hub may take to answer the door; huggingface_hub by itself tries again for half a minute."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """One model of the Hub, as the search lists it."""

    id: str
    downloads: int
    """In the last month."""
    likes: int
    is_mlx: bool
    """In MLX's format already: it can be pulled as it is."""
    is_gguf: bool
    is_gated: bool


def search_models(query: str, *, limit: int = DEFAULT_LIMIT) -> list[HubModel]:
    """Search for models whose id matches `query`, the most downloaded first.

    Raises:
        NetworkError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    check_reachable(f"the search for {query!r}")
    with hub_errors(f"the search for {query!r}"):
        found = list(HfApi().list_models(search=query, sort="downloads", limit=limit, full=True))
    return [
        HubModel(
            id=model.id,
            downloads=model.downloads or 0,
            likes=model.likes or 0,
            is_mlx="mlx" in (model.tags or ()) or model.library_name == "mlx",
            is_gguf="gguf" in (model.tags or ()),
            is_gated=bool(model.gated),
        )
        for model in found
        if model.pipeline_tag in (None, "text-generation", "image-text-to-text")
    ]


def check_reachable(what: str) -> None:
    """Find out at once where there is no network. Behind a proxy, only the proxy can tell.

    Raises:
        NetworkError: the Hub's address is unknown here, refuses, or does not answer.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise NetworkError(f"HF_HUB_OFFLINE forbids {what}", hint="unset HF_HUB_OFFLINE")
    address = urlsplit(constants.ENDPOINT)
    if address.hostname is None or {"https", "http", "all"} & getproxies().keys():
        return
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), timeout=_REACH_S).close()
    except OSError as error:
        reason = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise NetworkError(
            f"{constants.ENDPOINT} cannot be reached for {what}: {reason}",
            hint="check the network, then try again",
        ) from error
