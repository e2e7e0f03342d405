"""Small JSON files that hold one object: configs, manifests, states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError, NotFoundError

_MAX_BYTES = 16_000_000


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in `path`.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is not a JSON object, or larger than 16 MB.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FormatError(f"{path} is {path.stat().st_size} bytes long, expected a small JSON file")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} holds a {type(value).__name__}, expected a JSON object")
    return value
