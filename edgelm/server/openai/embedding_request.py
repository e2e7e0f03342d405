"""A request for embeddings, which is read to be refused in words."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class EmbeddingRequest(BaseModel):
    """A body of `/v1/embeddings`."""

    model: str | None = None
    input: Any = None
