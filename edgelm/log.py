"""Logging to stderr: quiet by default, `--debug` says everything. Results never go through here."""

from __future__ import annotations

import logging
import sys
from typing import Final

logger = logging.getLogger("edgelm")


class KnownWarning(logging.Filter):
    """Keeps from one logger the messages that begin in one of some ways, unless edgelm's own log says everything."""

    def __init__(self, *beginnings: str) -> None:
        super().__init__()
        self._beginnings = beginnings

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` is to be shown."""
        return logger.isEnabledFor(logging.DEBUG) or not record.getMessage().startswith(self._beginnings)


_KNOWN: Final = {
    # Text is tokenized whole and cut into rows after; where a context ends is checked by edgelm itself.
    "transformers.tokenization_utils_base": KnownWarning("Token indices sequence length is longer than"),
    # No cleaning up is what is wanted.
    "transformers.tokenization_utils_tokenizers": KnownWarning(
        "Ignoring clean_up_tokenization_spaces=True for BPE tokenizer"
    ),
    # transformers takes the right class by itself.
    "transformers.models.auto.tokenization_auto": KnownWarning("`tokenizer_class` is `"),
    # Only mlx-lm runs the model, and edgelm checks its RoPE (`zoo/configs/normalise.py`).
    "transformers.modeling_rope_utils": KnownWarning(
        "Unrecognized keys in `rope_parameters`",
        "The explicitly set RoPE scaling factor",
        "This model config has set a `rope_parameters['original_max_position_embeddings']`",
    ),
    # edgelm needs no PyTorch.
    "transformers": KnownWarning("PyTorch was not found", "None of PyTorch, TensorFlow"),
    # Models that need no account need no token.
    "huggingface_hub.utils._http": KnownWarning(
        "You are sending unauthenticated requests", "Warning: You are sending unauthenticated requests"
    ),
}
"""Logger → what it says in the ordinary course of things that alarms and that nobody need act on."""


def silence_known() -> None:
    """Keep warnings of transformers and huggingface_hub that are known to mean nothing from being shown; all others stay.

    Must precede what warns; safe to call again.
    """
    for name, known in _KNOWN.items():
        logging.getLogger(name).addFilter(known)


def configure(*, debug: bool = False) -> None:
    """Send edgelm's own log to stderr; called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s" if debug else "%(message)s"))
    logger.handlers[:] = [handler]
    silence_known()
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
