"""What a source holds already, as choices of a budget: weights that arrive quantized and stay so lose nothing.

Without these, a large budget would quantize anew what a conversion with no options keeps: more bytes, and a worse model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgelm.quant.apply import Decision
from edgelm.quant.budget import WidthChoice
from edgelm.quant.scheme import Settings
from edgelm_converters.targets.mlx.plan import OutputPlan, stored_bytes

Chosen = Mapping[str, WidthChoice]
"""Path → what was chosen for it."""


@dataclass(frozen=True)
class AsStored:
    """A conversion with no options of a source that is quantized in whole or in part."""

    decision: Decision
    plan: OutputPlan

    def choice(self, path: str, expected: Callable[[Settings], float] = lambda _: 0.0) -> WidthChoice:
        """Offer the tensor at `path` as it would be stored; `expected` says what quantizing it anew would lose."""
        anew = self.plan.quantize.get(path)
        settings = anew or self.plan.packed.get(path, {})
        loss = expected(settings) if anew else 0.0
        return WidthChoice(dict(settings), stored_bytes(self.plan, path), loss, is_stored=anew is None)

    def fixed_bytes(self, movable: Sequence[str]) -> int:
        """Count the bytes of everything but the tensors that a budget chooses for."""
        return self.plan.size_bytes - sum(stored_bytes(self.plan, path) for path in movable)

    def kept(self, chosen: Chosen) -> dict[str, Settings]:
        """List the modules that stay packed: those chosen so, and those that a budget has no choice about."""
        return {
            path: settings
            for path, settings in self.plan.packed.items()
            if path not in chosen or chosen[path].is_stored
        }

    def decided(self, decision: Decision, chosen: Chosen) -> Decision:
        """Change `decision` to what was chosen; other tensors are as they are with no options."""
        anew = {path: choice.settings for path, choice in chosen.items() if not choice.is_stored}
        layers = {**self.plan.quantize, **anew}
        for path, choice in chosen.items():
            if choice.is_stored:
                layers.pop(path, None)
        left = {path: width for path, width in decision.left.items() if path not in self.plan.packed}
        losses = {path: choice.loss for path, choice in chosen.items()}
        return dataclasses.replace(
            decision, layers=layers, asked=dict(layers), regrouped={}, left=left, expected_kl=losses
        )

    def without_measuring(
        self, movable: Sequence[str], offers: Callable[[str], Sequence[tuple[Settings, int]]], budget: int
    ) -> dict[str, WidthChoice] | None:
        """Choose the first of these that `budget` holds: all as stored with what MLX lacks at the widest; all as stored; what
        is packed as stored with the rest at the widest. None if it holds none of them.
        """
        finest = {path: self._finest(path, offers(path)) for path in movable}
        stored = {path: self.choice(path) for path in movable}
        mixed = {path: choice if choice.is_stored else finest[path] for path, choice in stored.items()}
        packed = {path: stored[path] if path in self.plan.packed else finest[path] for path in movable}
        for ways in (mixed, stored, packed):
            if self.fixed_bytes(movable) + sum(way.size_bytes for way in ways.values()) <= budget:
                return ways
        return None

    def _finest(self, path: str, offers: Sequence[tuple[Settings, int]]) -> WidthChoice:
        ways = [WidthChoice(settings, size, 0.0) for settings, size in offers]
        ways += [self.choice(path)] if path in self.plan.quantize else []
        return max(ways, key=lambda way: (way.settings["bits"], -way.settings["group_size"]))
