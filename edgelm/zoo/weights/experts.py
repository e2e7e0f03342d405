"""Experts of a layer brought under the names of mlx-lm's network where its `sanitize` knows one of their two layouts only.

They lie one by one, as most models were published (`experts.0.gate_proj.weight`, [I, H]), or all in two tensors, as
transformers 5 keeps them in memory and writes some (`experts.gate_up_proj`, [E, 2I, H]; Llama 4 and Qwen3-VL turned,
[E, H, 2I]). Where they belong, and which way they are turned, is seen in the network's own names and shapes. Source:
transformers 5.24, conversion_mapping.py.

Shapes: E experts, H hidden, I width of an expert.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from edgelm.zoo.weights.derive import Derive, T, same, shape_of, turned

Shapes = Mapping[str, tuple[int, ...]]

_AT = re.compile(r"(?P<stem>.*?\blayers\.\d+\.)(?P<inside>.+)")
_ONE = re.compile(
    r"(?P<stem>.*?\blayers\.\d+\.).+\.experts\.(?P<at>\d+)\.(?P<part>(?:gate|up|down)_proj|w[123])\.weight"
)
_ALL = re.compile(r"(?P<stem>.*?\blayers\.\d+\.).+\.experts\.(?P<part>gate_up_proj|up_proj|down_proj)")
_PARTS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_NAMES = {"up_proj": ("up_proj", "fc1"), "down_proj": ("down_proj", "fc2"), "gate_proj": ("gate_proj",)}
"""Projection → what mlx-lm's layers of experts call it."""

_KNOWN_ONE_BY_ONE = re.compile(r"experts\.(?:0|\{\w+\})\.")
"""In the source of an architecture that stacks experts by itself."""


def with_experts(
    tensors: Mapping[str, T], source: str, shapes: Callable[[], Shapes], derive: Derive[T]
) -> dict[str, T]:
    """Return `tensors` with experts as the network has them, where its architecture does not see to it.

    Args:
        source: the text of mlx-lm's modules for the architecture.
        shapes: of the network's parameters; called where experts are found.
    """
    found = dict(tensors)
    if not _KNOWN_ONE_BY_ONE.search(source):
        found = _stacked(found, shapes, derive)
    return _split(found, shapes, derive)


def homes(shapes: Shapes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return where the experts of each layer belong, as "stem of the layer + projection" → (name within it, shape).

    Stems are told by their numbers alone, since wrappers add prefixes.
    """
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = _AT.fullmatch(name)
        if match is None or len(shape) != 3 or not name.endswith(".weight"):
            continue
        last = match["inside"].split(".")[-2]
        part = next((part for part, names in _NAMES.items() if last in names), None)
        if part is not None:
            found[_key(match["stem"], part)] = (match["inside"], shape)
    return found


def _key(stem: str, part: str) -> str:
    return f"{stem.rsplit('layers.', 1)[1]}{part}"


def _stacked(tensors: Mapping[str, T], shapes: Callable[[], Shapes], derive: Derive[T]) -> dict[str, T]:
    groups: dict[tuple[str, str], dict[int, str]] = {}
    for name in tensors:
        if match := _ONE.fullmatch(name):
            part = _PARTS.get(match["part"], match["part"])
            groups.setdefault((match["stem"], part), {})[int(match["at"])] = name
    if not groups:
        return dict(tensors)
    where, found = homes(shapes()), dict(tensors)
    for (stem, part), names in groups.items():
        home = where.get(_key(stem, part))
        if home is None or sorted(names) != list(range(home[1][0])):
            continue
        experts = [found.pop(names[at]) for at in range(len(names))]
        found[stem + home[0]] = derive(experts, mx.stack)
    return found


def _split(tensors: Mapping[str, T], shapes: Callable[[], Shapes], derive: Derive[T]) -> dict[str, T]:
    fused = {
        name: match
        for name in tensors
        if (match := _ALL.fullmatch(name)) and len(shape_of(tensors[name])) == 3
    }
    if not fused:
        return dict(tensors)
    where, found = homes(shapes()), dict(tensors)
    stems = {match["stem"]: _is_turned(tensors, fused, match["stem"], where) for match in fused.values()}
    for name, match in fused.items():
        stem, part = match["stem"], match["part"]
        is_turned, parts = stems[stem], ("gate_proj", "up_proj") if part == "gate_up_proj" else (part,)
        targets = [where.get(_key(stem, one)) for one in parts]
        if is_turned is None or None in targets:
            continue
        tensor = found.pop(name)
        for at, target in enumerate(targets):
            assert target is not None
            found[stem + target[0]] = derive(
                [tensor], _half(at, is_turned) if len(parts) == 2 else turned if is_turned else same
            )
    return found


def _is_turned(
    tensors: Mapping[str, Any],
    fused: Mapping[str, re.Match[str]],
    stem: str,
    where: Mapping[str, tuple[str, tuple[int, ...]]],
) -> bool | None:
    """Whether a layer's experts are [E, in, out]; None if they are neither that nor [E, out, in]."""
    said: list[bool] = []
    for name, match in fused.items():
        if match["stem"] != stem:
            continue
        part = match["part"]
        home = where.get(_key(stem, "up_proj" if part == "gate_up_proj" else part))
        if home is None:
            return None
        count, rows, columns = home[1]
        straight = (count, rows * (2 if part == "gate_up_proj" else 1), columns)
        shape = shape_of(tensors[name])
        if shape not in (straight, (straight[0], straight[2], straight[1])):
            return None
        if straight[1] != straight[2]:  # a square one tells nothing
            said.append(shape != straight)
    return said[0] if said and all(one == said[0] for one in said) else None if said else False


def _half(at: int, is_turned: bool) -> Callable[[list[mx.array]], mx.array]:
    def half(given: list[mx.array]) -> mx.array:
        tensor = mx.swapaxes(given[0], -1, -2) if is_turned else given[0]
        width = tensor.shape[1] // 2
        return tensor[:, at * width : (at + 1) * width]

    return half
