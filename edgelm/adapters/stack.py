"""Several adapters on one network, each with a weight that can change between two requests.

    stack = AdapterStack(network)
    stack.add(adapter, weight=0.5)
    stack.set("style", 0.0)        # off: the network computes what its base computes

An adapter's part is the difference it makes to a module's output, times its weight. So off is off for DoRA too, whose
magnitude is not scaled by its `scale`. KV caches of one `variant` are not those of another.
"""

from __future__ import annotations

import json
import os
from itertools import chain, count
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.adapters.files import Adapter
from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.zoo.lora import adaptable, install, is_plain_lora, wrap
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.fingerprint import adapter_fingerprint


class AdapterStack:
    """The adapters on `network`."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._weights: dict[str, float] = {}
        self._fingerprints: dict[str, str] = {}
        """Name of every adapter → fingerprint of its weights."""
        self._directories: dict[str, str] = {}
        """Name of every adapter → the real path of its directory."""
        self._full: set[str] = set()
        """Names of the full fine-tunes, whose weight is 1."""
        self._stacked: dict[str, Stacked] = {}

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each adapter by name, in the order they were added; 0 is off."""
        return dict(self._weights)

    @property
    def variant(self) -> str:
        """Tells what the network computes now from what it computes with other adapters or weights."""
        acting = sorted(
            (self._fingerprints[name], weight) for name, weight in self._weights.items() if weight
        )
        return json.dumps(acting) if acting else ""

    def add(self, adapter: Adapter, *, name: str | None = None, weight: float = 1.0) -> str:
        """Put an adapter on the network; returns its name.

        Args:
            name: what to call it; None is its directory's name, or where another directory's adapter has that, one like it.

        Raises:
            OptionError: there is one of that name or directory, or a full fine-tune with another weight than 1.
            FormatError: it does not fit this network, or would change nothing.
        """
        own_name = name or self._free_name(adapter)
        if own_name in self._weights:
            raise OptionError(f"there is an adapter {own_name!r} on the model already")
        check_fits(adapter, self._network, self._stacked)
        _check_weight(own_name, weight)
        fingerprint = adapter_fingerprint(adapter.directory)
        if adapter.config.kind == "full":
            _check_full_weight(own_name, weight)
            _replace(self._network, adapter)
            self._full.add(own_name)
        else:
            self._put(own_name, adapter)
        self._fingerprints[own_name] = fingerprint
        self._directories[own_name] = os.path.realpath(adapter.directory)
        self._weights[own_name] = 0.0
        self.set(own_name, weight)
        return own_name

    def set(self, name: str, weight: float) -> None:
        """Let the adapter act with `weight`: 1 as it was trained, 0 not at all.

        Args:
            name: its name, or its directory.

        Raises:
            NotFoundError: there is none of that name or directory.
            OptionError: a weight that is not a finite number, or of a full fine-tune another than 1.
        """
        if name not in self._weights:
            name = self._name_at(os.path.expanduser(name)) or name  # noqa: PTH111  # Path's raises for ~nobody
        if name not in self._weights:
            known = ", ".join(self._weights) or "none"
            raise NotFoundError(f"there is no adapter {name!r} on the model, expected one of: {known}")
        _check_weight(name, weight)
        if name in self._full:
            _check_full_weight(name, weight)
        self._weights[name] = float(weight)
        for stacked in self._stacked.values():
            stacked.weights[name] = float(weight)

    def _name_at(self, directory: str | Path) -> str | None:
        """Return the name of the adapter in `directory`, if it is on the network."""
        try:
            path = os.path.realpath(directory)
        except ValueError:  # a NUL: no path at all
            return None
        return next((name for name, known in self._directories.items() if known == path), None)

    def _free_name(self, adapter: Adapter) -> str:
        """Return the name that the adapter has on the network, or can have; results of runs all bear the names of steps."""
        if (known := self._name_at(adapter.directory)) is not None:
            return known
        parent = adapter.directory.absolute().parent
        run = [parent.parent.name] if parent.name == "adapters" and adapter.name.startswith("step-") else []
        names = chain([adapter.name, *run], (f"{adapter.name}-{number}" for number in count(2)))
        return next(name for name in names if name and name not in self._weights)

    def _put(self, name: str, adapter: Adapter) -> None:
        """Put the layers of `adapter` on the network, all of them or, where one cannot be made, none."""
        modules = adaptable(self._network)
        bases = {path: stacked.base for path, stacked in self._stacked.items()}
        layers = {path: _layer(path, bases.get(path) or modules[path], adapter) for path in adapter.modules}
        for path, layer in layers.items():
            stacked = self._stacked.get(path) or self._stack(path)
            stacked.adapters[name] = layer

    def _stack(self, path: str) -> Stacked:
        stacked = Stacked(adaptable(self._network)[path])
        install(self._network, {path: stacked})
        self._stacked[path] = stacked
        return stacked


class Stacked(nn.Module):
    """A module, and the adapters on it."""

    def __init__(self, base: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.base = base
        # Kept out of the module tree: they are not parameters of the model.
        object.__setattr__(self, "adapters", {})
        object.__setattr__(self, "weights", {})

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        plain: mx.array = self.base(x, *args, **kwargs)
        parts = (weight * _difference(layer, plain, x, args, kwargs) for layer, weight in self._active())
        return sum((part.astype(plain.dtype) for part in parts), plain)

    def as_linear(self, x: mx.array) -> mx.array:
        """Return the logits of an embedding that is the head too, with its adapters."""
        plain: mx.array = self.base.as_linear(x)
        parts = (weight * (layer.as_linear(x) - plain) for layer, weight in self._active())
        return sum((part.astype(plain.dtype) for part in parts), plain)

    def _active(self) -> list[tuple[Any, float]]:
        return [
            (layer, self.weights[name]) for name, layer in self.adapters.items() if self.weights.get(name)
        ]


def _check_weight(name: str, weight: float) -> None:
    if not -1e6 < weight < 1e6:
        raise OptionError(f"the weight of adapter {name} is {weight}, expected a finite number")


def _check_full_weight(name: str, weight: float) -> None:
    if weight != 1.0:
        raise OptionError(
            f"{name} is a full fine-tune, whose weight is 1, given {weight}",
            hint="load the model again to have it without the fine-tune",
        )


def _difference(layer: Any, plain: mx.array, x: mx.array, args: Any, kwargs: Any) -> mx.array:
    if is_plain_lora(layer):  # the base need not be computed again
        alone: mx.array = layer.scale * ((x @ layer.lora_a) @ layer.lora_b)
        return alone
    whole: mx.array = layer(x, *args, **kwargs)
    return whole - plain


def _layer(path: str, base: Any, adapter: Adapter) -> Any:
    tensors = adapter.tensors_of(path)
    config = adapter.config
    layer = wrap(path, base, rank=_rank(tensors), scale=config.scale, dora=config.kind == "dora")
    layer.update(tensors)
    layer.eval()
    mx.eval(tensors)
    return layer


def _rank(tensors: dict[str, mx.array]) -> int:
    first = tensors["lora_a"]
    return int(first.shape[1] if first.ndim == 3 else first.shape[-1])


def check_fits(adapter: Adapter, network: Any, stacked: dict[str, Stacked] | None = None) -> None:
    """Refuse an adapter whose tensors are not those that `network` would have, or that would change nothing.

    Raises:
        FormatError: the first tensor that does not fit.
    """
    if adapter.config.kind == "full":
        _check_full(adapter, network)
        return
    bases = {**adaptable(network), **{path: module.base for path, module in (stacked or {}).items()}}
    for path in adapter.modules:
        if path not in bases:
            raise FormatError(f"{adapter.directory} adapts {path}, which this model does not have")
        _check_layer(path, bases[path], adapter)
    # A DoRA with such a lora_b may still have moved its magnitude.
    if adapter.config.kind == "lora" and _is_zero(adapter, "lora_b"):
        raise FormatError(
            f"{adapter.directory} would change nothing: every lora_b is zero", hint="it was never trained"
        )


def _is_zero(adapter: Adapter, leaf: str) -> bool:
    found = (value for name, value in adapter.tensors.items() if name.endswith(f".{leaf}"))
    return not any(mx.any(value).item() for value in found)


def _check_layer(path: str, base: Any, adapter: Adapter) -> None:
    tensors = adapter.tensors_of(path)
    wanted = {"lora_a", "lora_b"} | ({"m"} if adapter.config.kind == "dora" else set())
    if set(tensors) != wanted:
        raise FormatError(f"{adapter.directory}: {path} has {sorted(tensors)}, expected {sorted(wanted)}")
    layer = wrap(path, base, rank=_rank(tensors), scale=1.0, dora=adapter.config.kind == "dora")
    for leaf, value in tensors.items():
        if value.shape != layer[leaf].shape:
            raise FormatError(
                f"{adapter.directory}: {path}.{leaf} has shape {value.shape}, but this model's would be {layer[leaf].shape}"
            )


def _check_full(adapter: Adapter, network: Any) -> None:
    parameters = flat_parameters(network)
    for name, value in adapter.tensors.items():
        if name not in parameters or parameters[name].shape != value.shape:
            found = parameters[name].shape if name in parameters else "none"
            raise FormatError(f"{adapter.directory}: {name} has shape {value.shape}, the model's is {found}")


def _replace(network: Any, adapter: Adapter) -> None:
    parameters = flat_parameters(network)
    cast = [(name, value.astype(parameters[name].dtype)) for name, value in adapter.tensors.items()]
    network.load_weights(cast, strict=False)
    mx.eval(network.parameters())
