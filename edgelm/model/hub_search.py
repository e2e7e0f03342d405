"""Search the Hugging Face Hub for models that write text."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.model.hub_errors import hub_errors

DEFAULT_LIMIT = 30


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
    """Models whose id matches `query`, the most downloaded first.

    Raises:
        NetworkError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

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
