"""Several adapters on one network: some put there by whoever loaded it, others borrowed by requests for their rows.

    stack = AdapterStack(network)
    stack.add(adapter, weight=0.5)
    stack.set("style", 0.0)                # off: the network computes what its base computes
    variant = stack.variant_of([use])      # rows of this variant are computed with that adapter and no other

Which adapters act on which row is `acting`, that the modules heed (`acting/`). KV caches of one variant are not those of
another. Lives on the thread that owns MLX.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any
from weakref import WeakSet

import mlx.core as mx

from edgelm.adapters.acting.borrowed import Borrowed
from edgelm.adapters.acting.rows import Acting
from edgelm.adapters.acting.stacked import Stacked, apart
from edgelm.adapters.acting.variant import LoadedAdapter, Variant, variant_key
from edgelm.adapters.files import Adapter
from edgelm.adapters.use import AdapterUse
from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.zoo.lora import adaptable, install, is_layer_of_experts, wrap
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.fingerprint import adapter_fingerprint


class AdapterStack:
    """The adapters on `network`."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.acting = Acting()
        """Who acts on which row; by default those that were put here, with their weights."""
        self._weights: dict[str, float] = {}
        self._adapters: dict[str, LoadedAdapter] = {}
        self._directories: dict[str, str] = {}
        """Name of every adapter → the real path of its directory."""
        self._full: set[str] = set()
        """Names of the full fine-tunes, whose weight is 1."""
        self._stacked: dict[str, Stacked] = {}
        self._experts: set[str] = set()
        """Paths of blocks of experts that compute variants apart."""
        self._borrowed = Borrowed(self._load)
        self._alive: WeakSet[LoadedAdapter] = WeakSet()

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each adapter by name, in the order they were added; 0 is off."""
        return dict(self._weights)

    @property
    def variant(self) -> str:
        """Tells what the network computes now from what it computes with other adapters or weights."""
        return self.acting.default.key

    @property
    def is_empty(self) -> bool:
        """Whether the network is as it was loaded: nothing was put on it, and no request has borrowed anything."""
        return not self._adapters and not self._stacked

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
        _check_weight(own_name, weight)
        if adapter.config.kind == "full":
            _check_full_weight(own_name, weight)
            check_fits(adapter, self._network)
            loaded = LoadedAdapter(own_name, adapter_fingerprint(adapter.directory))
            _replace(self._network, adapter)
            self._full.add(own_name)
        else:
            loaded = self._load(own_name, adapter)
        self._adapters[own_name] = loaded
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
        self.acting.default = self._variant(
            [
                (self._adapters[name], weight)
                for name, weight in self._weights.items()
                if name not in self._full
            ]
        )

    def variant_of(self, uses: Sequence[AdapterUse] | None) -> Variant:
        """Return the network with the adapters that a request names, and no others; None is as it was set.

        They are read where they are not in memory. A full fine-tune that is in the network's weights stays.

        Raises:
            NotFoundError, FormatError, UnsupportedError: there is none, it does not fit this network, or is a full fine-tune.
            OptionError: a weight that is not a finite number, or an adapter that is named twice.
            FitError: it does not fit in memory.
        """
        if uses is None:
            return self.acting.default
        acting: list[tuple[LoadedAdapter, float]] = []
        for use in uses:
            _check_weight(use.name, use.weight)
            own = self._name_at(use.directory)
            is_own = own is not None and own not in self._full
            adapter = self._adapters[own] if own and is_own else self._borrowed.obtain(use.directory)
            if any(adapter is other for other, _ in acting):
                raise OptionError(f"adapter {use.name} is named twice", settings=("adapter",))
            acting.append((adapter, float(use.weight)))
        return self._variant(acting)

    def _variant(self, acting: Sequence[tuple[LoadedAdapter, float]]) -> Variant:
        by_weight = tuple((adapter, weight) for adapter, weight in acting if weight)
        fixed = [(self._adapters[name], 1.0) for name in self._full]
        key = variant_key((adapter.fingerprint, weight) for adapter, weight in [*fixed, *by_weight])
        return Variant(key, by_weight)

    @property
    def size_bytes(self) -> int:
        """What adapters take in memory: those that were put here, and those that requests have borrowed."""
        return sum(adapter.size_bytes for adapter in self._alive)

    def price(self, free_bytes: Callable[[], int]) -> None:
        """Let requests borrow no more than `free_bytes` says is left beside everything else."""
        self._borrowed.free_bytes = free_bytes

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

    def _load(self, name: str, adapter: Adapter) -> LoadedAdapter:
        """Read the layers of `adapter`, all of them or, where one cannot be made, none; its modules heed them from now on."""
        check_fits(adapter, self._network, self._stacked)
        _check_finite(adapter)
        modules = adaptable(self._network)
        bases = {path: stacked.base for path, stacked in self._stacked.items()}
        fingerprint = adapter_fingerprint(adapter.directory)
        layers = {path: _layer(path, bases.get(path) or modules[path], adapter) for path in adapter.modules}
        self._stack({path: modules[path] for path in layers if path not in self._stacked})
        loaded = LoadedAdapter(name, fingerprint, layers, adapter.size_bytes)
        self._alive.add(loaded)
        return loaded

    def _stack(self, modules: Mapping[str, Any]) -> None:
        """Have the modules at their paths heed adapters."""
        above = {path.rpartition(".")[0] for path, module in modules.items() if is_layer_of_experts(module)}
        for block, experts in self._network.named_modules():
            if block in above - self._experts:
                self._experts.add(block)
                apart(experts, [f"{block}.{name}" for name in experts], self.acting)
        stacked = {path: Stacked(module, path, self.acting) for path, module in modules.items()}
        install(self._network, stacked)
        self._stacked |= stacked


def _check_weight(name: str, weight: float) -> None:
    if not -1e6 < weight < 1e6:
        raise OptionError(f"the weight of adapter {name} is {weight}, expected a finite number")


def _check_full_weight(name: str, weight: float) -> None:
    if weight != 1.0:
        raise OptionError(
            f"{name} is a full fine-tune, whose weight is 1, given {weight}",
            hint="load the model again to have it without the fine-tune",
        )


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


def _check_finite(adapter: Adapter) -> None:
    """Refuse what would make numbers of other rows infinite too, where they share a product."""
    names, values = list(adapter.tensors), list(adapter.tensors.values())
    is_finite: Any = mx.stack([mx.all(mx.isfinite(value)) for value in values]).tolist()
    if not all(is_finite):
        raise FormatError(
            f"{adapter.directory}: {names[is_finite.index(False)]} holds numbers that are not finite",
            hint="its training diverged: take an earlier step of the run",
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
