"""Making a network trainable: which modules get an adapter, or which weights are free.

A target that names nothing, or nothing that could be trained, is an error: a run that would change nothing does not begin.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.errors import OptionError, UnsupportedError
from edgelm.library.names import near_name
from edgelm.tune.settings import MethodSettings
from edgelm.zoo.lora import adaptable, install, wrap
from edgelm.zoo.tree import flat_parameters, flat_trainable

_GROUPS = {
    "linear": "every linear layer inside the layers",
    "attention": "those of attention",
    "mlp": "those of feed-forward blocks and experts",
    "embeddings": "the token embedding",
    "head": "the output head",
}
_ATTENTION = re.compile(r"\.(self_)?attn?(ention)?\b|\.(self_attn|attention|attn|mixer|temporal_block)\.")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def make_trainable(network: Any, settings: MethodSettings, *, is_traced: bool = False) -> list[str]:
    """Freeze `network`, then free what `settings` say; returns the paths of the modules that are trained.

    Adapters get seeded first weights from MLX's random state; `is_traced` leaves them unevaluated.

    Raises:
        OptionError: a target or layer that the network does not have.
        UnsupportedError: the method does not apply to it.
    """
    network.freeze()
    chosen = chosen_modules(network, settings)
    if settings.method == "full":
        return _free(network, settings)
    _install(network, chosen, settings)
    if not is_traced:
        mx.eval(network.trainable_parameters())
    network.train()
    return list(chosen)


def _install(network: Any, chosen: dict[str, Any], settings: MethodSettings) -> None:
    is_dora = settings.method == "dora"
    layers = {
        path: wrap(
            path,
            module,
            rank=settings.rank_of(path),
            scale=settings.scale_of(path),
            dropout=settings.dropout,
            dora=is_dora,
        )
        for path, module in chosen.items()
    }
    for layer in layers.values():
        inner = layer.get("linear", layer.get("embedding"))
        inner.freeze()
    install(network, layers)


def chosen_modules(network: Any, settings: MethodSettings) -> dict[str, Any]:
    """Find the modules that `settings` mean, by path in parameter order.

    Raises:
        OptionError: a target that no module matches, or a layer that does not exist.
    """
    modules = adaptable(network)
    layers = settings.chosen_layers(len(network.layers))
    chosen: set[str] = set()
    for target in settings.targets:
        matching = {path for path, module in modules.items() if _matches(target, path, module)}
        if not matching:
            known = [*_GROUPS, *sorted({path.rpartition(".")[2] for path in modules})]
            near = near_name(target.rpartition(".")[2], known)
            raise OptionError(
                f"target {target!r} matches no module of this model, expected a pattern or one of:"
                f" {', '.join(known)}",
                hint=f"did you mean {near}?" if near else None,
                settings=("target",),
            )
        chosen |= {path for path in matching if _layer_of(path) is None or _layer_of(path) in layers}
    for pattern, _ in settings.ranks:
        if not fnmatch.filter(chosen, pattern):
            raise OptionError(
                f"the rank pattern {pattern!r} matches none of the {len(chosen)} chosen modules"
            )
    if not chosen:
        raise OptionError(f"no module of {settings.targets!r} is in layers {settings.layers!r}")
    return {path: module for path, module in modules.items() if path in chosen}


def _matches(target: str, path: str, module: Any) -> bool:
    is_embedding = isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
    is_inside = _layer_of(path) is not None
    if target == "embeddings":
        return is_embedding and not is_inside
    if target == "head":
        return not is_embedding and not is_inside
    if target in _GROUPS:
        is_attention = _ATTENTION.search(path) is not None
        wanted = {"linear": True, "attention": is_attention, "mlp": not is_attention}[target]
        return is_inside and not is_embedding and wanted
    return fnmatch.fnmatchcase(path, target) or fnmatch.fnmatchcase(path.rpartition(".")[2], target)


def _layer_of(path: str) -> int | None:
    match = _LAYER.search(path)
    return int(match[1]) if match else None


def _free(network: Any, settings: MethodSettings) -> list[str]:
    if any(value.dtype == mx.uint32 for value in flat_parameters(network).values()):
        raise UnsupportedError(
            "quantized weights cannot be trained themselves",
            hint="--method lora trains an adapter on them; edgelm convert --mode none keeps weights trainable",
        )
    layers = settings.chosen_layers(len(network.layers))
    if settings.layers is None and settings.targets == ("linear",):
        network.unfreeze()
    else:
        for index in layers:
            network.layers[index].unfreeze()
    network.train()
    return sorted({path.rpartition(".")[0] for path in flat_trainable(network)})
