"""Questions and a reward with which a tiny random network learns something within seconds: to write plain letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REWARD = """
def letters(completions):
    return [sum(c.isascii() and c.isalpha() for c in each) / max(1, len(each)) for each in completions]
"""

GRPO: dict[str, Any] = {
    "loss": "grpo", "group_size": 6, "prompts_per_step": 2, "rollout_tokens": 6, "steps": 6, "learning_rate": 0.03,
    "dropout": 0.0, "validate_every": 3,
}  # fmt: skip


def write_questions(path: Path, count: int = 8) -> Path:
    rows = ({"prompt": f"what is {n}{' or so' * (n % 3)}"} for n in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_reward(path: Path) -> str:
    """Write the function; returns what `reward` calls it."""
    path.write_text(REWARD)
    return f"{path}:letters"
