"""Models in Anthropic's form, a page of them at a time: https://platform.claude.com/docs/en/api/models-list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from edgelm.server.exchange.body import refusal
from edgelm.zoo.configs.normalise import context_length, read_config


class PageQuery(BaseModel):
    """Which part of a list is asked for."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    after_id: str | None = None
    before_id: str | None = None


def model_info(name: str, directory: Path) -> dict[str, Any]:
    """Return one model."""
    created = datetime.fromtimestamp(int(directory.stat().st_mtime), UTC)
    length = context_length(read_config(directory))
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": length,
        "max_tokens": length,
    }


def models_page(served: Mapping[str, Path], query: PageQuery) -> dict[str, Any]:
    """Return a page of models, by name.

    Raises:
        RequestError: it begins behind, or ends before, a model that is not there.
    """
    names = sorted(served)
    for field in ("after_id", "before_id"):
        if (name := getattr(query, field)) is not None and name not in served:
            raise refusal(field, f"is {name!r}, expected one of {', '.join(names)}")
    if query.before_id is not None:
        rest = names[: names.index(query.before_id)]
        page, has_more = rest[-query.limit :], len(rest) > query.limit
    else:
        rest = names[names.index(query.after_id) + 1 :] if query.after_id is not None else names
        page, has_more = rest[: query.limit], len(rest) > query.limit
    return {
        "data": [model_info(name, served[name]) for name in page],
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
        "has_more": has_more,
    }
