"""What running a model over text comes to, counted from the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.pricing.shapes import active_share, attention_heads, hidden_width
from edgelm_converters.targets.mlx.plan import OutputPlan

_LAYER = re.compile(r"^(.*?\.\d+)\.")


@dataclass(frozen=True)
class Workload:
    """The shapes of a plan that running it over text depends on."""

    layers: int
    layer_bytes: int
    outer_bytes: int
    vocabulary: int
    """Rows of the largest matrix outside the layers."""
    hidden: int
    widest: int
    weights: int
    """Weights of all layers together."""
    matrices: int
    """Quantized matrices in the layers."""
    columns: int
    """Columns of all quantized matrices together."""
    used: float
    """Share of the weights that one token goes through."""
    heads: int
    inner: int
    """Activations of a layer for a token."""

    @classmethod
    def of(cls, plan: OutputPlan, config: Mapping[str, Any]) -> Workload:
        """Count from the shapes of `plan` and the normalised `config`."""
        layers: dict[str, int] = defaultdict(int)
        outer, vocabulary, widest, columns, matrices = 0, 0, 0, 0, 0
        for name, tensor in plan.inputs.items():
            count = math.prod(tensor.shape)
            match = _LAYER.match(name)
            if match is None:
                outer += count * plan.dtypes[name].size
                vocabulary = max(vocabulary, tensor.shape[0] if len(tensor.shape) == 2 else 0)
            else:
                layers[match[1]] += count
                path = name.removesuffix(".weight")
                if path in plan.quantize:
                    widest = max(widest, tensor.shape[-1])
                    columns += tensor.shape[-1] * (tensor.shape[0] if len(tensor.shape) > 2 else 1)
                    matrices += 1
        text = config.get("text_config") or config
        hidden = hidden_width(config) or widest
        chosen = text.get("num_experts_per_tok")
        used = active_share(config) or 1.0
        heads = attention_heads(config) or 0
        inner = int(text.get("moe_intermediate_size") or text.get("intermediate_size") or 4 * hidden)
        return cls(
            len(layers),
            4 * max(layers.values(), default=0),
            outer,
            vocabulary,
            hidden,
            widest,
            sum(layers.values()),
            matrices,
            columns,
            used,
            heads,
            inner * (chosen if isinstance(chosen, int) else 1),
        )

    def exponentials(self, row_tokens: int) -> int:
        """Count those of a layer for a token: attention over the whole row, and activations. On a CPU half of the time."""
        return self.heads * row_tokens + self.inner

    @property
    def hessian_bytes(self) -> int:
        """H and C in float32, then what is made of them in float64."""
        return (4 * 2 + 8 * 4) * self.widest**2

    def products_flops(self, tokens: int) -> int:
        """Count those of H = XᵀX in all layers; the cross products C take as many again."""
        return self.layers * 2 * tokens * (3 * self.hidden**2 + self.widest**2)
