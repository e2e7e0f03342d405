"""The head of a reward adapter on the disk, and the refusals that keep it what it is.

`score.safetensors`, with one tensor `score.weight`, lies beside the adapter's own files, whose config says "task": "reward" and
which template answers were written by. So stock mlx-lm still reads the adapter, and here nobody chats with one by mistake.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.adapters.files import REWARD, SCORE, Adapter
from edgelm.adapters.scoring.head import SCORE_WEIGHT
from edgelm.errors import FormatError, NotFoundError, UnsupportedError
from edgelm.library.identity import file_sha256
from edgelm.text.template_identity import template_identity
from edgelm.zoo.weights.stored_array import load_safetensors


def read_score(adapter: Adapter) -> mx.array:
    """Read the head `[1, D]` of a reward adapter, as float32.

    Raises:
        UnsupportedError: the adapter is of another kind.
        NotFoundError: the head's file is missing.
        FormatError: it is broken, or holds something else.
    """
    if adapter.config.task != REWARD:
        raise UnsupportedError(
            f"{adapter.name} is an adapter that writes answers, expected a reward model",
            hint="edgelm tune MODEL --data FILE --loss reward trains one from preferences",
        )
    path = adapter.directory / SCORE
    if not path.is_file():
        raise NotFoundError(
            f"{path} does not exist, so {adapter.name} is a reward model without its head",
            hint="copy the whole directory of the adapter, or train it again",
        )
    if adapter.config.score_sha256 not in (None, file_sha256(path)):
        raise FormatError(
            f"{path} is not the head that {adapter.name} was trained with",
            hint="copy the whole directory of the adapter, or train it again",
        )
    weight = load_safetensors(path).get(SCORE_WEIGHT)
    if weight is None or weight.ndim != 2 or weight.shape[0] != 1:
        shape = "nothing of that name" if weight is None else f"the shape {tuple(weight.shape)}"
        raise FormatError(f"{path} has {shape}, expected {SCORE_WEIGHT} of shape (1, hidden size)")
    if not mx.all(mx.isfinite(weight)).item():
        raise FormatError(
            f"{path}: {SCORE_WEIGHT} holds numbers that are not finite",
            hint="its training diverged: take an earlier step of the run",
        )
    return weight.astype(mx.float32)


def check_template(adapter: Adapter, tokenizer: Any, model: Path) -> None:
    """Refuse a reward adapter that was trained on conversations of another template than that of the model's tokenizer.

    Raises:
        UnsupportedError: it was. An adapter that does not say passes.
    """
    trained = adapter.config.template_sha256
    own = template_identity(tokenizer)
    if trained is not None and trained != own:
        raise UnsupportedError(
            f"{adapter.directory} was trained with another chat template ({trained[:12]}) than {model.name} has"
            f" ({own[:12] if own else 'none'})",
            hint=f"its scores would mean nothing: restore the template, or train it again on {shlex.quote(model.name)}",
        )
