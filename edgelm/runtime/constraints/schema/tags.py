"""Tagged unions: the property that tells the cases of a union apart must be written.

Pydantic names it under `discriminator` (OpenAPI 3.1's word), but leaves it out of `required` where the field has a default,
and then refuses a reply without it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any


def with_tags(
    root: Mapping[str, Any], schemas: Callable[[Mapping[str, Any]], Any], resolve: Any
) -> dict[str, Any]:
    """Return a copy of `root` in which every case of a tagged union requires its tag; what is valid by it is so by `root`.

    Args:
        schemas: every schema of a document.
        resolve: `(document, reference)` → the schema that it leads to.
    """
    tagged: dict[str, Any] = copy.deepcopy(dict(root))
    for schema in list(schemas(tagged)):
        tag = _tag(schema)
        for key in ("oneOf", "anyOf") if tag is not None else ():
            for case in schema.get(key, ()):
                _require_in(case, tag, tagged, resolve)
    return tagged


def _tag(schema: Mapping[str, Any]) -> str | None:
    said = schema.get("discriminator")
    name = said.get("propertyName") if isinstance(said, Mapping) else None
    return name if isinstance(name, str) else None


def _followed(case: Any, root: Mapping[str, Any], resolve: Any) -> Any:
    """The schema behind references."""
    for _ in range(32):
        if not (isinstance(case, Mapping) and "$ref" in case):
            return case
        case = resolve(root, case["$ref"])
    return case


def _require_in(case: Any, tag: str | None, root: Mapping[str, Any], resolve: Any, depth: int = 0) -> None:
    """Require the tag in a case, or in the cases of a union that is one."""
    case = _followed(case, root, resolve)
    _require(case, tag)
    for key in ("oneOf", "anyOf") if isinstance(case, Mapping) and depth < 8 else ():
        for inner in case.get(key, ()):
            _require_in(inner, tag, root, resolve, depth + 1)


def _require(case: Any, tag: str | None) -> None:
    if isinstance(case, dict) and isinstance(case.get("properties"), Mapping) and tag in case["properties"]:
        required = case.get("required", [])
        if isinstance(required, list) and tag not in required:
            case["required"] = [*required, tag]
