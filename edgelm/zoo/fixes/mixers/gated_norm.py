"""Mamba-2's gated norm over each group by itself.

Upstream: mlx_lm 0.32.2, models/mamba2.py, falcon_h1.py and granitemoehybrid.py, which take the root mean square over the
whole width: right for one group only, and Codestral Mamba has eight. Who is right: Mamba-2's own code passes
`group_size=self.d_ssm // ngroups` to its norm (state-spaces/mamba, mamba_ssm/modules/mamba2.py), and transformers 5.24 does
(modeling_mamba2.py, `MambaRMSNormGated`).

Shapes: B sequences, T tokens, C width, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.zoo.fixes.classes import derived


def use_groups_of_mamba2(network: Any, config: Mapping[str, Any]) -> None:
    """Make the gated norms of a Mamba-2 or a Granite 4 `network`, in place, know their groups, and others their epsilon."""
    kind = config.get("model_type")
    for layer in network.layers if kind in ("mamba2", "granitemoehybrid") else ():
        if kind == "mamba2":
            layer.norm.eps = network.args.layer_norm_epsilon
            use_groups(layer.mixer.norm, layer.mixer.n_groups)
        elif hasattr(layer, "mamba"):
            use_groups(layer.mamba.norm, layer.mamba.n_groups)


def use_groups(norm: Any, groups: int) -> None:
    """Make a gated norm of mlx-lm's, in place, take each of its `groups` by itself."""
    if groups > 1:
        norm._groups = groups
        norm.__class__ = derived(type(norm), __call__=_grouped)


def _grouped(self: Any, hidden_states: mx.array, gate: mx.array | None = None) -> mx.array:
    """[B, T, C] of [B, T, C]; Falcon-H1 says whether the gate comes before the norm, Mamba-2 always has it there."""
    is_before = not getattr(self, "norm_before_gate", False)
    eps = self.variance_epsilon if hasattr(self, "variance_epsilon") else self.eps
    x: mx.array = hidden_states
    if gate is not None and is_before:
        x = nn.silu(gate) * x
    parts: mx.array = mx.unflatten(x, -1, (self._groups, -1))
    x = mx.fast.rms_norm(parts, None, eps).flatten(-2) * self.weight
    return x if gate is None or is_before else nn.silu(gate) * x
