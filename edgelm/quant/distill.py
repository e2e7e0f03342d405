"""Scales, biases and norms trained against the source's logits, from a calibrated start; codes stay as they are.

The student holds codes as bytes and makes each layer's weights of them when the layer runs, forwards and again
backwards (layers are checkpointed), so memory is a byte a weight, the hidden states of one row, and one layer. The
teacher is never in memory: its logits come from hidden states that were kept. The loss is KL(source ‖ student),
as it is measured. Trained values are rounded to the type they are stored in, and only kept if rows that were
not trained on say so. Idea: mlx-lm's DWQ (mlx_lm/quant/dwq.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from edgelm.quant.hooks import Call, hook
from edgelm.quant.matrix.formats import Packed, Settings
from edgelm.zoo.tree import number

Row = tuple[mx.array, Callable[[], mx.array]]
"""Token ids [1, T], and what gives the source's logits for them [1, T, V]."""


HELD_PART = 8
"""One row in so many is not trained on, and judges."""


@dataclass(frozen=True)
class Distilled:
    """What training came to."""

    parameters: dict[str, mx.array]
    """Scales, biases and norms by path, as they will be stored; empty where training did not help."""
    kl_before: float
    """On the rows that were not trained on, in nats."""
    kl_after: float


class Unpacked(nn.Module):
    """The weight of a quantized layer as codes, scales and biases, in a form that has gradients."""

    def __init__(self, packed: Packed, settings: Settings, bias: mx.array | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.scales = packed["scales"].astype(mx.float32)
        self.biases = packed["biases"].astype(mx.float32)
        # A leading underscore keeps the codes from being parameters.
        self._codes = _codes(packed, settings)
        self._group = settings["group_size"]
        if bias is not None:
            self.bias = bias

    @property
    def weight(self) -> mx.array:
        """[..., R, C] in float32."""
        return self._unpack(self._codes, self.scales, self.biases)

    def _unpack(self, codes: mx.array, scales: mx.array, biases: mx.array) -> mx.array:
        grouped = codes.reshape(*scales.shape, self._group).astype(mx.float32)
        return (grouped * scales[..., None] + biases[..., None]).reshape(codes.shape)


class UnpackedLinear(Unpacked):
    """In place of `nn.Linear`."""

    def __call__(self, x: mx.array) -> mx.array:
        y = x @ self.weight.T
        return y + self.bias if "bias" in self else y


class UnpackedEmbedding(Unpacked):
    """In place of `nn.Embedding`."""

    def __call__(self, ids: mx.array) -> mx.array:
        return self._unpack(self._codes[ids], self.scales[ids], self.biases[ids])

    def as_linear(self, x: mx.array) -> mx.array:
        return x @ self.weight.T


class UnpackedSwitch(Unpacked):
    """In place of mlx-lm's `SwitchLinear`."""

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        weight = self.weight.swapaxes(-1, -2)
        y = mx.gather_mm(x, weight, rhs_indices=indices, sorted_indices=sorted_indices)
        return y + mx.expand_dims(self.bias[indices], -2) if "bias" in self else y


_FORMS: dict[str, type[Unpacked]] = {
    "Linear": UnpackedLinear,
    "Embedding": UnpackedEmbedding,
    "SwitchLinear": UnpackedSwitch,
}


def make_student(
    network: Any, packed: Callable[[str], Packed], settings: Mapping[str, Settings]
) -> dict[str, mx.array]:
    """Turn `network` (with the source's other parameters in it) into a student, in place.

    Modules of kinds that have no form here, and those not in mode affine, keep dense weights that are not trained.

    Returns:
        The parameters to train, by path: scales, biases and vectors (norms).
    """
    replaced = []
    for path, module in network.named_modules():
        said = settings.get(path)
        form = _FORMS.get(type(module).__name__)
        if said is not None and form is not None and said.get("mode", "affine") == "affine":
            replaced.append((path, form(packed(path), said, module.get("bias"))))
    network.update_modules(tree_unflatten(replaced))
    for layer in network.layers:
        hook(layer, _checkpointed(layer))
    network.freeze()
    for path, module in network.named_modules():
        if isinstance(module, Unpacked):
            module.unfreeze(keys=["scales", "biases"], recurse=False)
        elif "weight" in module and module.weight.ndim == 1 and not path.endswith("rotary_emb"):
            module.unfreeze(keys=["weight"], recurse=False)
    flat: Any = tree_flatten(network.trainable_parameters())
    return dict(flat)


def distill(
    network: Any,
    rows: Sequence[Row],
    dtypes: Callable[[str], mx.Dtype],
    *,
    steps: int,
    rate: float,
    on_step: Callable[[int, float], None],
) -> Distilled:
    """Train the student `network` on all `rows` but the last eighth, one a step, and judge it on that eighth.

    Args:
        dtypes: what a parameter is stored in.
        rate: Adam's peak step, in units of each parameter's own mean magnitude; falls to zero.
        on_step: called with the step and its loss.
    """
    held = max(1, len(rows) // HELD_PART)
    trained, judged = list(rows[:-held]) or list(rows), list(rows[-held:])
    start = _flat(network)
    # One rate for all: parameters are expressed in units of their own magnitude.
    units = {path: mx.maximum(mx.abs(value).mean(), 1e-8) for path, value in start.items()}
    before = _mean_kl(network, judged)
    optimizer = optim.Adam(learning_rate=optim.cosine_decay(rate, steps))
    moves = {path: mx.zeros(value.shape) for path, value in start.items()}

    def loss(moved: dict[str, mx.array], ids: mx.array, expected: mx.array) -> mx.array:
        network.update(tree_unflatten([(path, start[path] + moved[path] * units[path]) for path in start]))
        return _kl(expected, network(ids)).mean()

    step_and_gradient = mx.value_and_grad(loss)
    for step in range(steps):
        ids, logits = trained[step % len(trained)]
        value, gradient = step_and_gradient(moves, ids, logits())
        moves = optimizer.apply_gradients(gradient, moves)
        mx.eval(value, moves, optimizer.state)
        on_step(step + 1, number(value))
    found = {path: (start[path] + moves[path] * units[path]).astype(dtypes(path)) for path in start}
    network.update(tree_unflatten([(path, value.astype(mx.float32)) for path, value in found.items()]))
    after = _mean_kl(network, judged)
    if not after < before:
        network.update(tree_unflatten(list(start.items())))
        return Distilled({}, before, before)
    mx.eval(found)
    return Distilled(found, before, after)


def _checkpointed(layer: Any) -> Any:
    def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        def run(parameters: Any, *inner: Any, **also: Any) -> Any:
            layer.update(parameters)
            return own(*inner, **also)

        return mx.checkpoint(run)(layer.trainable_parameters(), *arguments, **named)

    return handle


def _codes(packed: Packed, settings: Settings) -> mx.array:
    """The codes [..., R, C] as bytes: what unit scales and no biases would unpack to."""
    shape = packed["scales"].shape
    codes = mx.dequantize(
        packed["weight"], mx.ones(shape), mx.zeros(shape), settings["group_size"], settings["bits"]
    )
    codes = codes.astype(mx.uint8)
    mx.eval(codes)
    return codes


def _flat(network: Any) -> dict[str, mx.array]:
    flat: Any = tree_flatten(tree_map(lambda value: value.astype(mx.float32), network.trainable_parameters()))
    found = dict(flat)
    mx.eval(found)
    return found


def _kl(expected: mx.array, found: mx.array) -> mx.array:
    """KL(expected ‖ found) of logits, by position."""
    expected, found = expected.astype(mx.float32), found.astype(mx.float32)
    expected = expected - mx.logsumexp(expected, axis=-1, keepdims=True)
    found = found - mx.logsumexp(found, axis=-1, keepdims=True)
    return (mx.exp(expected) * (expected - found)).sum(axis=-1)


def _mean_kl(network: Any, rows: Sequence[Row]) -> float:
    values = []
    for ids, logits in rows:
        value = _kl(logits(), network(ids)).mean()
        mx.eval(value)
        values.append(number(value))
    return sum(values) / len(values)
