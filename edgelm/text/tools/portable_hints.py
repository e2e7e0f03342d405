"""Type hints as Pydantic takes them on every Python."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, NotRequired, Required, Union


def portable(hint: Any) -> Any:
    """Return `hint` with texts of `Annotated` as descriptions, and TypedDicts of `typing` as those of typing_extensions.

    Pydantic refuses `typing.TypedDict` before Python 3.12 (its error "typed-dict-version").
    """
    from pydantic import Field
    from typing_extensions import TypedDict

    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        notes = [Field(description=note) if isinstance(note, str) else note for note in inner[1:]]
        return typing.Annotated[(portable(inner[0]), *notes)]
    if typing.is_typeddict(hint):
        items = {
            key: (Required if key in hint.__required_keys__ else NotRequired)[portable(item)]
            for key, item in typing.get_type_hints(hint).items()
        }
        return TypedDict(hint.__name__, items)  # type: ignore[operator]
    if not inner or origin is Literal:
        return hint
    parts = tuple(part if part is ... else portable(part) for part in inner)
    return Union[parts] if origin in (Union, types.UnionType) else origin[parts]  # noqa: UP007
