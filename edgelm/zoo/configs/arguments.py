"""What mlx-lm's network of an architecture reads of a config, as a plain dictionary."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from edgelm.zoo.guards import keep_file_limit


def arguments_of(architecture: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the network of `architecture` reads, those of a wrapper's text model beside its own.

    Args:
        architecture: the config that says which network it is.
        config: flat: what is said of the text model is said at the top. What it lacks has mlx-lm's default; a setting that
            has none is left out.
    """
    with keep_file_limit():
        from mlx_lm.utils import _get_classes

    _, kind = _get_classes(dict(architecture))
    found: dict[str, Any] = {}
    for each in vars(sys.modules[kind.__module__]).values():
        if not isinstance(each, type) or not dataclasses.is_dataclass(each):
            continue
        for field in dataclasses.fields(each):
            if field.name in config:
                found[field.name] = config[field.name]
            elif field.default is not dataclasses.MISSING:
                found.setdefault(field.name, field.default)
    return found
