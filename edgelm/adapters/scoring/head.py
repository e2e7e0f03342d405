"""The scalar head of a reward model: one number for the hidden state at the last token of an answer.

It is what transformers' `AutoModelForSequenceClassification` with one label has, under the same name (`score.weight`), without
a bias. On a network it is its own module, beside what makes logits.

Shapes: D hidden.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.errors import UnsupportedError
from edgelm.zoo.body_and_head import cut

SCORE_WEIGHT = "score.weight"
"""Its path, in a network and in a file."""
_SPREAD = 0.02
"""The standard deviation of first weights: the `initializer_range` of transformers' configs where they say none."""


class ScoreHead(nn.Module):
    """Scores hidden states.

    Args:
        weight: `[1, D]` float32.
    """

    def __init__(self, weight: mx.array) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weight = weight

    def __call__(self, hidden: mx.array) -> mx.array:
        """Return the scores `[...]`, float32, of hidden states `[..., D]`."""
        return (hidden.astype(mx.float32) @ self.weight[0]).astype(mx.float32)


def install_score(network: Any, weight: mx.array | None = None, *, is_traced: bool = False) -> None:
    """Give `network` a scalar head as its module `score`.

    Args:
        weight: `[1, D]`; None draws first weights from MLX's random state.
        is_traced: the network's weights hold nothing, and nothing is evaluated.

    Raises:
        UnsupportedError: the network gives no hidden states.
    """
    if weight is None:
        weight = mx.random.normal((1, hidden_size(network, is_traced=is_traced)), scale=_SPREAD)
    network.score = ScoreHead(weight)
    network.score.train(network.training)


def hidden_size(network: Any, *, is_traced: bool = False) -> int:
    """Return D of `network`. For what is raised see `install_score`."""
    halves = cut(network, is_loaded=not is_traced)
    if halves is None:
        raise UnsupportedError(
            "this architecture's head cannot be taken apart, so it has no hidden states to score",
            hint="reward models are trained on other architectures: llama, qwen3 and gemma for some",
        )
    size: int = halves.hidden(mx.zeros((1, 1), mx.int32)).shape[-1]
    return size
