"""How many tokens are trained: hand labels, edgelm's masks and mlx-lm's, on four chats in six template families.

    python tests/benchmarks/supervised_tokens.py

mlx-lm's figure is what its loss counts (`--mask-prompt`, tuner/trainer.py), padded to 32 as it pads.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

from chat_templates import make_tokenizer  # noqa: E402

from edgelm.tune.data.encoding.encode import RowEncoder  # noqa: E402
from edgelm.tune.data.records import ChatRecord  # noqa: E402
from edgelm.tune.data.rows import RowOrigin  # noqa: E402
from edgelm.tune.data.settings import DataSettings  # noqa: E402
from tests.tune.data.labelled import CHATS, LABELS, TOOLS  # noqa: E402


def edgelm_count(family: str, name: str) -> int | str:
    """Trained tokens, or "refused"."""
    tools = tuple(TOOLS) if name == "tool" else ()
    encoder = RowEncoder(make_tokenizer(family), DataSettings())
    rows, _ = encoder.encode(ChatRecord(tuple(CHATS[name]), tools, RowOrigin("made", 1)))
    return rows[0].target_count if rows else "refused"


def mlx_lm_count(family: str, name: str) -> int | str:
    """Positions that stock mlx-lm's loss counts for the row in a padded batch."""
    import mlx.core as mx
    from jinja2 import TemplateError
    from mlx_lm.tuner.datasets import CacheDataset, ChatDataset
    from mlx_lm.tuner.trainer import default_loss, iterate_batches

    row = {"messages": CHATS[name], **({"tools": TOOLS} if name == "tool" else {})}
    data = CacheDataset(ChatDataset([row], make_tokenizer(family), mask_prompt=True))
    try:
        batch, lengths = next(iterate_batches(data, 1, 2048))
    except TemplateError:
        return "error"
    _, count = default_loss(lambda ids: mx.zeros((*ids.shape, 300)), batch, lengths)
    return int(count.item())


def main() -> None:
    print(f"{'family':<10} {'chat':<12} {'by hand':>8} {'edgelm':>8} {'mlx-lm':>8}")
    right = {"edgelm": 0, "mlx-lm": 0}
    for family, labels in LABELS.items():
        for name, label in labels.items():
            by_hand = label if isinstance(label, str) else label[1]
            ours, theirs = edgelm_count(family, name), mlx_lm_count(family, name)
            right["edgelm"] += ours == by_hand
            right["mlx-lm"] += theirs == by_hand
            print(f"{family:<10} {name:<12} {by_hand:>8} {ours:>8} {theirs:>8}")
    total = sum(map(len, LABELS.values()))
    print(
        f"equal to the hand label: edgelm {right['edgelm']} of {total}, mlx-lm {right['mlx-lm']} of {total}"
    )


if __name__ == "__main__":
    main()
