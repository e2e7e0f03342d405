"""DPO and KTO teach SmolLM2 a planted preference: answers of fewer than 40 words that end in a question.

    python tests/benchmarks/runs/planted_preference.py --loss dpo
    python tests/benchmarks/runs/planted_preference.py --loss kto

The model answers questions. An answer as it came is the worse one; the better one is its first sentence and a question. DPO has
both sides of each question, KTO one of them with a thumb, as `/feedback FILE labels` writes it. Printed: how many answers to
questions about other topics have the form, before and after.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from smollm2 import HELD_OUT, Report, answers, arguments, prepare, questions

import edgelm

ENDINGS = (
    "Would you like to know more?", "What would you like to hear next?", "Shall I tell you more about it?",
    "Have you seen one yourself?", "Does that help you?",
)  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "dpo": {"learning_rate": 5e-4, "batch_tokens": 512, "layers": "-10", "sft_weight": 0.2},
    "kto": {"learning_rate": 1e-3, "batch_tokens": 384, "layers": "-10"},
}
"""The last ten layers alone, which halves what a step computes; the supervised term keeps chosen answers likely."""
ROWS = {"dpo": 64, "kto": 64}


def is_preferred(text: str) -> bool:
    return len(text.split()) < 40 and text.rstrip().endswith("?")


def better(text: str, dice: random.Random) -> str | None:
    """Return an answer's first sentence and a question; None where that sentence is too long, or has no end."""
    sentence = re.match(r"[^.!?\n]+[.!]", text)
    if sentence is None or len(sentence[0].split()) > 30:
        return None
    return f"{sentence[0]} {dice.choice(ENDINGS)}"


def rows(model: Path, loss: str, asked: list[str]) -> list[dict[str, object]]:
    dice = random.Random(0)
    dice.shuffle(asked)
    made: list[dict[str, object]] = []
    asked = asked[: ROWS[loss]]
    for question, text in zip(asked, answers(model, asked), strict=True):
        edited = better(text, dice)
        if edited is None or is_preferred(text):
            continue
        prompt = [{"role": "user", "content": question}]
        if loss == "dpo":
            made.append({"prompt": prompt, "chosen": edited, "rejected": text})
        else:
            thumb = len(made) % 2 == 0
            made.append({"prompt": prompt, "completion": edited if thumb else text, "label": thumb})
    return made


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--loss", choices=SETTINGS, default="dpo")
    parser.add_argument("--epochs", type=float, default=1.0)
    chosen = parser.parse_args()
    report = Report()
    model = prepare(chosen.folder, chosen.model)
    learnt, held_out = questions()
    held_out = held_out[:HELD_OUT]
    report.rate("before", answers(model, held_out, first_seed=1000), is_preferred)
    data = chosen.folder / f"planted-{chosen.loss}.jsonl"
    lines = rows(model, chosen.loss, learnt)
    data.write_text("".join(json.dumps(row) + "\n" for row in lines))
    print(f"{len(lines)} rows in {data}")
    report.cost()
    result = edgelm.tune(
        model,
        data,
        loss=chosen.loss,
        hold_out=0.05,
        epochs=chosen.epochs,
        on_event=report.events,
        answer_tokens=0,
        **SETTINGS[chosen.loss],
    )
    report.rate("after", answers(model, held_out, adapter=result.adapter, first_seed=1000), is_preferred)


if __name__ == "__main__":
    main()
